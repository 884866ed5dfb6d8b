"""The rules and the dashboard under `deploy`: of a real Prometheus that scrapes a real bridge."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from bridge.sandbox import Sandbox
from tests import prometheus
from tests.docs.markdown import ROOT, anchors, page
from tests.ports import free_port
from tests.prometheus import RULES, Prometheus, check, scraping
from tests.reliability.api import Api
from tests.reliability.conftest import NewInstallation
from tests.reliability.processes import processes
from tests.reliability.receiver import Receiver
from tests.reliability.waiting import until

KEY = "an-admin-key-from-the-environment"
DASHBOARD = ROOT / "deploy" / "grafana" / "dashboard.json"
# What Grafana puts in their place.
VARIABLES = {"$__rate_interval": "30s", "$account": ".*"}

pytestmark = pytest.mark.skipif(
    prometheus.PROGRAM is None, reason="Debian's package prometheus is not installed"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Monitored:
    """A bridge at work, by a worker and a web process without one, and the Prometheus that scrapes it."""

    url: str
    prometheus: Prometheus

    def scraped(self) -> str:
        answer = requests.get(f"{self.url}/metrics", headers={"Authorization": f"Bearer {KEY}"}, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.text


@pytest.fixture(scope="module")
def monitored(
    new_installation: NewInstallation,
    hubspot: Sandbox,
    receiver: Receiver,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Monitored]:
    installation, port, folder = new_installation("sqlite"), free_port(), tmp_path_factory.mktemp("monitored")
    env = installation.env(hubspot.url, BRIDGE_ADMIN_KEY=KEY, BRIDGE_EMBEDDED_WORKER="false")
    with processes(env, folder) as started:
        started.worker()
        started.web(port)
        with scraping(port, KEY, folder) as running:
            # A rise is seen only after the first scrape.
            until(lambda: running.query("bridge_watches"))
            api = Api(installation, port)
            for behaviour in ("ok", "flaky", "gone"):
                for task_id in hubspot.state.add_tasks(tasks=2):
                    api.register(task_id, receiver.url(installation, behaviour))
            until(lambda: running.value("bridge_callbacks_given_up_total") == 2)
            until(lambda: running.value('bridge_callback_attempts_total{result="2xx"}') == 4)
            yield Monitored(url=f"http://127.0.0.1:{port}", prometheus=running)


def panels() -> list[dict[str, Any]]:
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def queries() -> list[str]:
    """Every query of the dashboard, as Grafana sends it."""
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    found = [target["expr"] for panel in panels() for target in panel["targets"]]
    found += [annotation["expr"] for annotation in dashboard["annotations"]["list"]]
    for variable, value in VARIABLES.items():
        found = [query.replace(variable, value) for query in found]
    return found


def named(text: str) -> set[str]:
    """The bridge's metrics in a query, without what Prometheus adds for histograms."""
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"\bbridge_\w+", text)}


def test_the_metrics_are_as_prometheus_wants_them(monitored: Monitored) -> None:
    assert check("check", "metrics", text=monitored.scraped()) == ""


def test_the_rules_can_be_read_and_do_what_their_tests_say() -> None:
    check("check", "rules", str(RULES))
    check("test", "rules", str(RULES.with_name("rules_test.yml")))


def test_the_dashboard_draws_no_rate_across_two_processes(tmp_path: Path) -> None:
    """Two web processes answer the scrapes in turn, each with what is its own."""
    of_process = [query for query in queries() if re.search(r"rate\((process|python)_", query)]
    assert of_process
    series = {
        "bridge_build_info": "1x20",
        "process_cpu_seconds_total": " ".join(f"{1000 + n} {2000 + n}" for n in range(10)),
        "process_start_time_seconds": " ".join(["500 501"] * 10),
    }
    given = [{"series": name, "values": values} for name, values in series.items()]
    nothing = [{"expr": query, "eval_time": "2m"} for query in of_process]
    tests = {"tests": [{"interval": "10s", "input_series": given, "promql_expr_test": nothing}]}
    (tmp_path / "test.yml").write_text(json.dumps(tests))  # JSON is YAML, too
    check("test", "rules", str(tmp_path / "test.yml"))


@pytest.mark.parametrize("query", queries())
def test_every_query_of_the_dashboard_finds_something(monitored: Monitored, query: str) -> None:
    assert "$" not in query
    assert until(lambda: monitored.prometheus.query(query)), query


def test_the_dashboard_offers_the_accounts(monitored: Monitored) -> None:
    variables = json.loads(DASHBOARD.read_text(encoding="utf-8"))["templating"]["list"]
    [query] = [variable["definition"] for variable in variables if variable["type"] == "query"]
    found = re.fullmatch(r"label_values\((\w+), (\w+)\)", query)
    assert found
    assert monitored.prometheus.labels(found[2], found[1]) == ["default"]


def test_the_rules_are_evaluated_and_a_callback_that_was_given_up_is_told(monitored: Monitored) -> None:
    def firing() -> set[str]:
        rules = monitored.prometheus.rules()
        assert [rule["lastError"] for rule in rules if rule.get("lastError")] == []
        return {rule["name"] for rule in rules if rule["state"] == "firing"}

    assert until(firing) == {"BridgeCallbacksGivenUp"}
    assert {rule["health"] for rule in monitored.prometheus.rules()} == {"ok"}


def test_rules_and_dashboard_name_metrics_that_are_there(monitored: Monitored) -> None:
    exposed = set(re.findall(r"^# TYPE (\w+)", monitored.scraped(), re.MULTILINE))
    rules = "\n".join(rule["query"] for rule in monitored.prometheus.rules())
    assert named(rules) <= exposed
    # What is worth to be counted is worth to be seen.
    shown = named("\n".join(queries()))
    assert {name for name in exposed if name.startswith("bridge_")} == shown


def test_every_alert_leads_to_what_is_to_be_done(monitored: Monitored) -> None:
    for rule in monitored.prometheus.rules():
        name, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert anchor in anchors(page(name)), rule["name"]


def test_the_panels_have_names_of_their_own_and_do_not_lie_on_each_other() -> None:
    titles = [panel["title"] for panel in panels()]
    assert len(set(titles)) == len(titles)
    cells = [
        (x, y)
        for panel in panels()
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24
