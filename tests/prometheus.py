"""A real Prometheus for tests, and its tool, where they are installed."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import requests

from tests.ports import free_port
from tests.reliability.waiting import until

ROOT = Path(__file__).parents[1]
RULES = ROOT / "deploy" / "prometheus" / "rules.yml"
PROGRAM = shutil.which("prometheus")
TOOL = shutil.which("promtool")

CONFIGURATION = """
global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}
rule_files: [{rules}]
scrape_configs:
  - job_name: bridge
    authorization: {{credentials: {key}}}
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


def check(*arguments: str, text: str = "") -> str:
    """Run `promtool` with this standard input; returns what it says. AssertionError when it finds a fault."""
    assert TOOL
    ran = subprocess.run(
        [TOOL, *arguments], input=text, capture_output=True, text=True, check=False, timeout=60
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


@contextmanager
def scraping(port: int, key: str, folder: Path) -> Iterator["Prometheus"]:
    """Run a Prometheus that scrapes a bridge on this port of loopback, with an admin's key, and has the rules."""
    assert PROGRAM
    configuration, own_port = folder / "prometheus.yml", free_port()
    configuration.write_text(CONFIGURATION.format(rules=RULES, key=key, port=port))
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [
                PROGRAM,
                f"--config.file={configuration}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{own_port}",
            ],
            cwd=folder,
            env=os.environ,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        prometheus = Prometheus(own_port, process, folder / "prometheus.log")
        until(prometheus.is_ready)
        yield prometheus
    finally:
        process.kill()
        process.wait()


class Prometheus:
    """A Prometheus that runs."""

    def __init__(self, port: int, process: subprocess.Popen[bytes], log: Path) -> None:
        self._url = f"http://127.0.0.1:{port}"
        self._process = process
        self._log = log

    def is_ready(self) -> bool:
        """Tell whether it answers; fails at once when it has died."""
        assert self._process.poll() is None, self._log.read_text()
        with suppress(requests.ConnectionError):
            return requests.get(f"{self._url}/-/ready", timeout=10).ok
        return False

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the samples of an instant query. AssertionError when Prometheus does not understand it."""
        answer = requests.get(f"{self._url}/api/v1/query", {"query": expression}, timeout=30).json()
        assert answer["status"] == "success", (expression, answer)
        result = answer["data"]["result"]
        assert isinstance(result, list), (expression, answer)
        return result

    def value(self, expression: str) -> float:
        """Return the value of a query whose result is one sample; 0 when it has none yet."""
        return sum(float(sample["value"][1]) for sample in self.query(expression))

    def labels(self, label: str, series: str) -> list[str]:
        """Return the values that a label has in some series."""
        given = {"match[]": series}
        found: list[str] = requests.get(f"{self._url}/api/v1/label/{label}/values", given, timeout=30).json()[
            "data"
        ]
        return found

    def rules(self) -> list[dict[str, Any]]:
        """Return the rules, each with its health and its alerts."""
        groups = requests.get(f"{self._url}/api/v1/rules", timeout=30).json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]
