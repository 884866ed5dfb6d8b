"""How many registrations a second, against a bare Flask endpoint under gunicorn's own threads.

Eight connections, each with its next request when the last is answered; nobody polls meanwhile. A 201
says that the watch is on the disk. The runs alternate.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count

from bench import wrk
from bench.harness import KINDS, Bench
from bench.processes import python, started, wait_until_up
from bench.report import Goal, Row, ScenarioResult, Table, at_least, percentile, ratios
from bridge.web.thread_limits import THREADS
from demo.services import free_port

BARE = "bare Flask"
CALLBACK = "https://app.example.com/hooks/hubspot"
BATCH = 1000
CONNECTIONS = 8


class Served:
    """One server, and what a client sends to it."""

    def __init__(self, port: int, api_key: str) -> None:
        self._port = port
        self._api_key = api_key
        self._numbers = count()

    def single(self, seconds: float) -> wrk.Answered:
        """Register watches one by one."""
        return self._answered("/v1/watches", self._watch, 201, seconds)

    def batches(self, seconds: float) -> float:
        """Register watches a thousand at a time; return rows a second."""
        return BATCH * self._answered("/v1/watches/batch", self._batch, 200, seconds).per_second

    def _answered(self, path: str, body: Callable[[], object], status: int, seconds: float) -> wrk.Answered:
        load = wrk.Load(port=self._port, path=path, api_key=self._api_key, body=body, status=status)
        return load.drive(seconds=seconds, connections=CONNECTIONS)

    def _batch(self) -> object:
        return {"watches": [self._watch() for _ in range(BATCH)]}

    def _watch(self) -> dict[str, object]:
        return {
            "task_id": f"AAAAEZ{next(self._numbers)}",
            "callback_url": CALLBACK,
            "metadata": {"order": 17},
        }


def run(bench: Bench) -> ScenarioResult:
    """Alternate the bare endpoint and the bridge over each kind of database."""
    seconds = bench.pick(3, 1)
    singles: defaultdict[str, list[wrk.Answered]] = defaultdict(list)
    rows_per_second: defaultdict[str, list[float]] = defaultdict(list)
    with ExitStack() as stack:
        servers = {BARE: stack.enter_context(_bare(bench))}
        servers |= {kind: stack.enter_context(_bridge(bench, kind)) for kind in KINDS}
        for _ in range(bench.pick(5, 1)):
            for name, server in servers.items():
                singles[name].append(server.single(seconds))
            for kind in KINDS:
                rows_per_second[kind].append(servers[kind].batches(seconds))
    rates = {name: [answered.per_second for answered in of] for name, of in singles.items()}
    return ScenarioResult(
        rows=_rows(rates, rows_per_second), tables=[_table(singles), _batch_table(rates, rows_per_second)]
    )


def _rows(rates: Mapping[str, list[float]], batches: Mapping[str, list[float]]) -> list[Row]:
    bare = dict.fromkeys(KINDS, rates[BARE])
    return [
        *_over(f"POST /v1/watches per second over {BARE}", rates, bare, at_least(0.5, floor=0.05)),
        *_over(
            f"rows per second in batches of {BATCH} over one by one", batches, rates, at_least(20, floor=5)
        ),
    ]


def _over(
    name: str, above: Mapping[str, list[float]], below: Mapping[str, list[float]], goal: Goal
) -> list[Row]:
    return [
        Row(name=f"{name}: {kind}", figures=ratios(above[kind], below[kind]), goal=goal) for kind in KINDS
    ]


def _table(singles: Mapping[str, list[wrk.Answered]]) -> Table:
    lines: list[Sequence[str | float]] = []
    for name, runs in singles.items():
        waits = [wait * 1000 for run in runs for wait in run.waits]
        rate = percentile([run.per_second for run in runs], 50)
        lines.append((name, rate, *(percentile(waits, share) for share in (50, 95, 99))))
    columns = ("server", "requests/s", "p50 ms", "p95 ms", "p99 ms")
    return Table(title=f"Registrations one by one, {CONNECTIONS} connections", columns=columns, lines=lines)


def _batch_table(rates: Mapping[str, list[float]], batches: Mapping[str, list[float]]) -> Table:
    lines = [(kind, percentile(rates[kind], 50), percentile(batches[kind], 50)) for kind in KINDS]
    columns = ("database", "rows/s one by one", f"rows/s by {BATCH}")
    return Table(title=f"Registrations in batches, {CONNECTIONS} connections", columns=columns, lines=lines)


@contextmanager
def _bare(bench: Bench) -> Iterator[Served]:
    port = free_port()
    options = ["--bind", f"127.0.0.1:{port}", "--worker-class", "gthread", "--threads", str(THREADS)]
    # The project's own gunicorn.conf.py starts the bridge.
    command = python("-m", "gunicorn", "--config", "python:bench", *options, "bench.bare:app")
    with started(command, bench.folder / "bare.log"):
        wait_until_up(port)
        yield Served(port, "none")


@contextmanager
def _bridge(bench: Bench, kind: str) -> Iterator[Served]:
    port = free_port()
    system = bench.system(kind, PORT=str(port), WEB_CONCURRENCY="1")
    key = system.client_key()
    command = python("-m", "gunicorn", "--bind", f"127.0.0.1:{port}", "app:app")
    with started(command, system.log, system.env):
        wait_until_up(port)
        yield Served(port, key)
