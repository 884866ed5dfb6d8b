"""The pages agree with the code: tables, examples in JSON, names of all sorts, links."""

import json
import re
import shlex
from datetime import datetime

import pytest
from pydantic import BaseModel

import bridge
from bridge.commands import arguments
from bridge.core import operator_events
from bridge.core.delivery import payload
from bridge.core.kinds import KINDS
from bridge.core.operator_events import OperatorEvent, OperatorEventType
from bridge.core.watch import OPEN, TRANSITIONS, Outcome, State, Watch
from bridge.db.tables import watches
from bridge.settings import NAMES, Settings
from bridge.web.api.registrations import NewWatch
from bridge.web.problems import Problem
from bridge.web.request_models import Body, validated
from tests.docs import code
from tests.docs.markdown import PAGES, ROOT, Block, blocks, codes, functions, page, rows, section

README = page("README.md")
ARCHITECTURE = page("ARCHITECTURE.md")
OPERATING = page("docs/operating.md")
RECEIVING = page("docs/receiving.md")
HUBSPOT = page("docs/hubspot.md")
OPERATOR_WEBHOOKS = page("docs/operator-webhooks.md")
ALL = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in PAGES}
EXAMPLES = [block for text in ALL.values() for block in blocks(text, "json")]

each_page = pytest.mark.parametrize("name", ALL)


def test_the_table_of_settings_has_each_variable_once() -> None:
    named = [codes(row[0])[0] for row in rows(section(OPERATING, "Settings"))]
    assert sorted(named) == sorted(NAMES)


@pytest.mark.parametrize(
    ("name", "default"),
    [pytest.param(row[0].strip("`"), row[1], id=row[0]) for row in rows(section(OPERATING, "Settings"))],
)
def test_to_set_a_variable_to_its_documented_default_changes_nothing(name: str, default: str) -> None:
    if default == "none":
        assert not code.default_of(name)
    else:
        assert Settings.load({name: default.strip("`")}) == Settings.load({})


def test_the_table_of_log_events_has_all_that_the_bridge_logs() -> None:
    told = {
        codes(name)[0]: (level, set(codes(fields)))
        for name, level, fields, _ in rows(section(OPERATING, "Log lines"))
    }
    logged = {name: (" or ".join(event.levels), event.fields) for name, event in code.log_events().items()}
    assert told == logged


def test_the_table_of_commands_has_them_all() -> None:
    told = [codes(row[0])[0] for row in rows(section(OPERATING, "Commands"))]
    assert sorted(re.sub(r"python -m bridge | NAME| ID", "", command) for command in told) == sorted(
        code.commands()
    )


@each_page
def test_every_command_that_a_page_names_is_one(name: str) -> None:
    known = {tuple(command.split()) for command in code.commands()}
    for words in re.findall(r"python -m bridge ([a-z][a-z -]*)", ALL[name]):
        assert any(tuple(words.split()[: len(command)]) == command for command in known), words


@each_page
def test_every_command_that_a_page_writes_out_can_be_called_so(name: str) -> None:
    for block in blocks(ALL[name], "sh", "ini"):
        for line in re.findall(r"python -m bridge ([^<>)\n]+)", block.text):
            arguments.parser().parse_args(shlex.split(line))


@each_page
def test_every_setting_that_a_page_names_is_one(name: str) -> None:
    assert set(re.findall(r"\b(?:BRIDGE|HUBSPOT)_[A-Z]+(?:_[A-Z]+)*", ALL[name])) <= NAMES


@each_page
def test_every_request_that_a_page_names_is_one(name: str) -> None:
    requests = re.findall(r"\b(GET|POST|PUT|PATCH|DELETE) (/(?!sandbox|files/)[\w/{}-]+)", ALL[name])
    assert {(method, re.sub(r"{\w+}", "{}", path)) for method, path in requests} <= code.routes()


def test_the_tables_of_outcomes_have_them_all() -> None:
    for part in (section(README, "How it ends"), section(HUBSPOT, "What each outcome asks of you")):
        assert [codes(row[0])[0] for row in rows(part)] == list(Outcome)


def test_the_readme_names_every_state() -> None:
    assert set(State) <= set(codes(section(README, "How it ends")))


def test_the_table_of_kinds_has_their_paths_and_words() -> None:
    table = {codes(row[0])[0]: row[1:] for row in rows(section(HUBSPOT, "Kinds"))}
    assert list(table) == list(KINDS)
    for name, (v3, dated, field, running, ends) in table.items():
        kind = KINDS[name]
        assert codes(v3) == [kind.v3]
        assert (codes(dated) or [kind.v3]) == [kind.dated]
        assert codes(field) == [kind.field]
        assert set(codes(running)) == kind.running
        assert kind.ends.keys() <= set(codes(ends)) or "as `file-import`" in ends


def test_the_table_of_a_registrations_fields_has_them_all() -> None:
    assert [codes(row[0])[0] for row in rows(section(RECEIVING, "Register"))] == list(NewWatch.model_fields)


def test_the_waits_that_receivers_are_told_are_the_schedule() -> None:
    told = re.search(r"The waits between attempts are ([^:]+) h, each", RECEIVING)
    assert told
    units = {"s": 1, "min": 60, "h": 3600}
    waits = [int(count) * units[unit] for count, unit in re.findall(r"(\d+) (s|min|h)", f"{told[1]} h")]
    assert tuple(waits) == code.default_of("BRIDGE_RETRY_SCHEDULE")


def test_the_map_shows_every_module_at_the_top() -> None:
    [drawn] = blocks(section(ARCHITECTURE, "The map"), "text")[:1]
    shown = set(re.findall(r"^  (?:\w+(?:\.py|/) )+", drawn.text, re.MULTILINE))
    named = {name for names in shown for name in names.split()}
    files = {path.name for path in ROOT.glob("bridge/*.py") if not path.name.startswith("__")}
    folders = {f"{path.parent.name}/" for path in ROOT.glob("bridge/*/__init__.py")}
    assert named == files | folders


def test_the_architecture_links_functions_that_are_there() -> None:
    named = functions(ARCHITECTURE)
    assert len(named) >= 15
    for function, file in named:
        text = file.read_text(encoding="utf-8")
        assert re.search(rf"^ *def {function}\(", text, re.MULTILINE), (function, file)


def test_the_table_of_columns_has_them_all() -> None:
    told = [name for row in rows(section(ARCHITECTURE, "The columns of `watches`")) for name in codes(row[0])]
    assert sorted(told) == sorted(column.name for column in watches.columns)


def test_the_diagram_of_states_is_in_step() -> None:
    current = f"<!-- states -->\n```mermaid\n{diagram()}\n```\n<!-- /states -->\n"
    assert current in ARCHITECTURE, f"the diagram in ARCHITECTURE.md is out of date; it must be:\n{current}"


def diagram() -> str:
    """Return the states of a watch as a Mermaid diagram; events that lead the same way share an arrow."""
    events: dict[tuple[State, State], list[str]] = {}
    for (before, event), after in TRANSITIONS.items():
        events.setdefault((before, after), []).append(event)
    arrows = [
        f"[*] --> {State.WATCHING}: registered",
        *(f"{before} --> {after}: {', '.join(names)}" for (before, after), names in events.items()),
        *(f"{state} --> [*]" for state in State if state not in OPEN),
    ]
    return "\n    ".join(["stateDiagram-v2", *arrows])


def test_the_diagram_of_states_has_every_transition_and_both_ends() -> None:
    lines = [line.strip() for line in diagram().splitlines()]
    assert "[*] --> watching: registered" in lines
    for (before, event), after in TRANSITIONS.items():
        [labels] = [line.partition(": ")[2] for line in lines if line.startswith(f"{before} --> {after}:")]
        assert event in labels.split(", ")
    ends = {line.removesuffix(" --> [*]") for line in lines if line.endswith("[*]")}
    assert ends == {State.DELIVERED, State.UNDELIVERED, State.WITHDRAWN}


@pytest.mark.parametrize("block", EXAMPLES, ids=[str(block.tag) for block in EXAMPLES])
def test_an_example_is_what_the_api_takes_or_gives(block: Block) -> None:
    given = json.loads(block.text)
    if block.tag not in {"Callback", "OperatorEvent"}:
        assert fault_of(code.models()[block.tag or ""], given) is None


def fault_of(model: type[BaseModel], given: object) -> str | None:
    if issubclass(model, Body):
        found = validated(model, given)
        return found.text() if isinstance(found, Problem) else None
    model.model_validate_json(json.dumps(given))
    return None


def test_the_callback_that_receivers_are_shown_is_what_the_bridge_sends() -> None:
    [block] = [block for block in EXAMPLES if block.tag == "Callback"]
    shown = json.loads(block.text)
    sent = json.loads(payload(ended(shown["data"]), json.dumps(shown["data"]["hubspot"])))
    assert sent == shown
    assert (list(sent), list(sent["data"])) == (list(shown), list(shown["data"]))


def ended(data: dict[str, str]) -> Watch:
    created_at, ended_at = (datetime.fromisoformat(data[name]) for name in ("created_at", "ended_at"))
    return Watch(
        id=data["id"],
        client="cms",
        account=data["account"],
        kind=data["kind"],
        task_id=data["task_id"],
        callback_url="https://app.example.com/hooks/hubspot",
        callback_host="app.example.com",
        metadata=json.dumps(data["metadata"]),
        created_at=created_at,
        deadline_at=ended_at,
        state=State.DELIVERING,
        outcome=Outcome(data["outcome"]),
        due_at=ended_at,
        ended_at=ended_at,
        age_zero_at=created_at,
    )


def test_the_event_that_operators_are_shown_is_what_the_bridge_sends() -> None:
    [block] = blocks(OPERATOR_WEBHOOKS, "json")
    shown = json.loads(block.text)
    data = shown["data"]
    event = OperatorEvent(
        type=OperatorEventType(shown["type"]),
        subject=data["subject"],
        reason=data["reason"],
        since=datetime.fromisoformat(data["since"]),
        last_at=datetime.fromisoformat(shown["timestamp"]),
        count=data["count"],
    )
    assert operator_events.payload(event).decode() == json.dumps(shown)
    fields = ["type", "timestamp", *(f"data.{name}" for name in shown["data"])]
    told = rows(section(OPERATOR_WEBHOOKS, "The events").partition("<!-- OperatorEvent -->")[2])
    assert [codes(row[0])[0] for row in told] == fields


def test_the_table_of_the_operator_s_events_has_them_all() -> None:
    told = [codes(row[0])[0] for row in rows(section(OPERATOR_WEBHOOKS, "The events"))]
    assert told == list(OperatorEventType)


def test_the_settings_of_operator_webhooks_can_be_loaded() -> None:
    [block] = blocks(OPERATOR_WEBHOOKS, "dotenv")
    assert Settings.load(dict(line.split("=", 1) for line in block.text.splitlines())).operator_url


def test_the_table_of_a_callbacks_fields_has_them_all() -> None:
    [block] = [block for block in EXAMPLES if block.tag == "Callback"]
    shown = json.loads(block.text)
    fields = [name for name in shown if name != "data"] + [f"data.{name}" for name in shown["data"]]
    told = rows(section(RECEIVING, "The callback").partition("<!-- Callback -->")[2])
    assert [codes(row[0])[0] for row in told] == [*fields, "data.truncated"]


@pytest.mark.parametrize(
    "part", [section(RECEIVING, "No callback came"), section(OPERATING, "What to do when")]
)
def test_a_message_that_is_to_be_looked_for_is_one_that_the_bridge_writes(part: str) -> None:
    messages = re.findall(r"\*((?:HubSpot|No|The) [^*]+?)(?: \d{3})?\*", " ".join(part.split()))
    assert messages
    texts = code.texts()
    assert [message for message in messages if message not in texts] == []


def test_whoever_misses_a_callback_finds_every_state() -> None:
    told = {codes(row[0])[0] for row in rows(section(RECEIVING, "No callback came")) if codes(row[0])}
    assert told == set(State)


def test_the_changelog_has_this_version() -> None:
    assert re.search(
        rf"^## \[{re.escape(bridge.__version__)}\] - \d{{4}}-\d\d-\d\d$", ALL["CHANGELOG.md"], re.MULTILINE
    )
