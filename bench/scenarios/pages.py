"""What the operators' pages and a scrape cost with many watches, against few.

The requests are Flask's own, without sockets, as an admin who is signed in; the sizes take turns. Compared is each
page's quickest request: on a busy machine the others tell of the machine.
"""

import logging
import re
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from flask.testing import FlaskClient

from bench.bulk import Load, fill
from bench.harness import KINDS, Bench
from bench.report import Row, ScenarioResult, Table, at_most
from bench.system import CLIENT, System
from bridge import logs
from bridge.core.watch import State
from bridge.web.app import create_app

ADMIN_KEY = "an-admin-key-for-the-bench-of-the-pages"
FEW = 1_000
HOSTS = 10
HOST = "host-3.app.example.com"
# How many of ten watches are in each state.
TENTHS = {State.WATCHING: 3, State.DELIVERING: 1, State.UNDELIVERED: 1, State.DELIVERED: 5}
METRICS = "/metrics"
# `{watch}` stands for the id of a watch.
PAGES = (
    "/admin",
    "/admin/watches",
    "/admin/watches?state=undelivered",
    "/admin/watches?state=watching,delivering",
    "/admin/watches?outcome=rejected",
    f"/admin/watches?client={CLIENT}&order=ended_at",
    f"/admin/watches?callback_host={HOST}",
    "/admin/watches?last_attempt_after=2026-11-05T13:00:00Z",
    f"/admin/search?q={HOST}",
    "/admin/watches/{watch}",
    "/admin/watches/redeliver?state=undelivered",
    "/admin/accounts",
    "/admin/clients",
    "/admin/hosts",
    METRICS,
)

# Milliseconds of each page's requests.
Timings = Mapping[str, Sequence[float]]


def run(bench: Bench) -> ScenarioResult:
    """Compare the pages of a bridge with many watches with those of one with few, for each kind of database."""
    logs.configure(level=logging.ERROR)  # not a line for each request
    many, rounds = bench.pick(1_000_000, 20_000), bench.pick(11, 5)
    found = [_compared(bench, kind, many, rounds) for kind in KINDS]
    return ScenarioResult(
        rows=[row for one in found for row in one.rows],
        tables=[table for one in found for table in one.tables],
    )


def _compared(bench: Bench, kind: str, many: int, rounds: int) -> ScenarioResult:
    systems = [_filled(bench, kind, count) for count in (FEW, many)]
    few, most = _timed(systems, rounds)
    for system in systems:
        system.engine.dispose()
    ratios = {page: min(most[page]) / min(few[page]) for page in PAGES}
    slowest = max(ratios, key=lambda page: ratios[page])
    return ScenarioResult(
        rows=[
            Row(
                name=f"{slowest}, the slowest page, {many:,} watches over {FEW:,}: {kind}",
                figures=[ratios[slowest]],
                goal=at_most(1.5, floor=4),
            ),
            Row(
                name=f"a scrape of {METRICS} with {many:,} watches: {kind}",
                figures=most[METRICS],
                goal=at_most(50, floor=500),
                unit="ms",
            ),
        ],
        tables=[
            Table(
                title=f"The operators' pages, {kind}: milliseconds",
                columns=("", f"{FEW:,} watches", f"{many:,} watches", "ratio"),
                lines=[(page, min(few[page]), min(most[page]), ratios[page]) for page in PAGES],
            )
        ],
    )


def _filled(bench: Bench, kind: str, count: int) -> System:
    system = bench.system(kind, BRIDGE_ADMIN_KEY=ADMIN_KEY)
    due_at = datetime.now(UTC) + timedelta(hours=12)
    for state, tenths in TENTHS.items():
        fill(
            system,
            Load(
                stem=state.value,
                count=count * tenths // 10,
                due_at=due_at,
                spread=timedelta(hours=1),
                state=state,
                host="app.example.com",
                hosts=HOSTS,
            ),
        )
    return system


def _timed(systems: Sequence[System], rounds: int) -> list[Timings]:
    clients = [_signed_in(system) for system in systems]
    watches = [_some_watch(client) for client in clients]
    timings: list[dict[str, list[float]]] = [{page: [] for page in PAGES} for _ in systems]
    for _ in range(rounds):
        for page in PAGES:
            for client, watch, of in zip(clients, watches, timings, strict=True):
                began_at = time.perf_counter()
                _get(client, page.format(watch=watch))
                of[page].append((time.perf_counter() - began_at) * 1000)
    return [*timings]


def _signed_in(system: System) -> FlaskClient:
    client = create_app(system.bridge.web_dependencies).test_client()
    token = re.search(r'name="csrf_token" value="([^"]+)"', _get(client, "/admin/sign-in"))
    client.post("/admin/sign-in", data={"csrf_token": token and token[1], "key": ADMIN_KEY})
    return client


def _some_watch(client: FlaskClient) -> str:
    found = re.search(r"/admin/watches/(wat_\w+)", _get(client, "/admin/watches"))
    if not found:
        raise RuntimeError("the list of watches is empty")
    return found[1]


def _get(client: FlaskClient, path: str) -> str:
    response = client.get(path, headers={"Authorization": f"Bearer {ADMIN_KEY}"}, follow_redirects=True)
    if response.status_code != 200:
        raise RuntimeError(f"{path} was answered with {response.status_code}")
    return response.text
