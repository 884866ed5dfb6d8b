"""Gives the same imports to all tools, one after the other, kills a worker half-way, and compares what came of it."""

import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import requests

from bench import chart
from bench.harness import Bench
from bench.imports import load
from bench.imports.figures import Figures, figures
from bench.imports.load import Import
from bench.imports.server import Ledger
from bench.imports.tools import BRIDGE, SHARES, TOOLS, Contestant
from bench.peers.tools import Missing
from bench.processes import ROOT, STOP_SECONDS, end
from bench.report import Row, ScenarioResult, Table, at_most, number, one_line

WARM_UP_SECONDS = 10.0
# Longer than the longest wait of a back-off, so that the last polls and callbacks count.
GRACE_SECONDS = 90.0
LOOK_SECONDS = 1.0


def run(bench: Bench) -> ScenarioResult:
    """Measure all that can run here; the others are named."""
    found: dict[str, Figures] = {}
    missing: list[tuple[str, str]] = []
    for name, start in TOOLS.items():
        try:
            with start(bench) as contestants:
                measured = _measured(contestants, bench)
            # The next one takes some minutes.
            print(*(f"{one}: {_caption(of)}" for one, of in measured.items()), sep="\n", flush=True)
            found |= measured
        except Missing as reason:
            missing.append((name, one_line(reason)))
    tables = [_table(found)]
    if missing:
        tables.append(Table(title="Not measured", columns=("tool", "why"), lines=missing))
    return ScenarioResult(rows=_rows(found), tables=tables, picture=_picture(found))


def _measured(contestants: Sequence[Contestant], bench: Bench) -> dict[str, Figures]:
    """Let each get through the same imports at the same time; kill the first worker of each half-way."""
    scale = load.SHORT if bench.short else load.FULL
    began_at = time.time() + WARM_UP_SECONDS
    imports = load.imports(scale, began_at)
    plan = bench.folder / f"imports-{began_at}.json"
    plan.write_text(load.dump(imports))
    for one in contestants:
        requests.put(one.far_side.url(), data=plan.read_bytes(), timeout=30).raise_for_status()
    with ExitStack() as stack:
        enqueuing = [stack.enter_context(_enqueuing(one, plan)) for one in contestants]
        _sleep_until(began_at)
        cpu_before = [_cpu_seconds(one) for one in contestants]
        _sleep_until(began_at + scale.seconds / 2)
        for one in contestants:
            one.workers[0].kill()
        _wait_for_callbacks(contestants, imports)
        for one, process in zip(contestants, enqueuing, strict=True):
            # Whoever was not given all imports, or cannot do the job at all, would seem to have lost them.
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
            if process.poll() != 0 or not _ledger(one).seen_at:
                raise Missing(f"{one.name} did not work: {_last_logged(one.log)}")
    return {
        one.name: figures(
            imports, _ledger(one), until=time.time(), cpu_seconds=_cpu_seconds(one) - cpu_seconds
        )
        for one, cpu_seconds in zip(contestants, cpu_before, strict=True)
    }


@contextmanager
def _enqueuing(contestant: Contestant, plan: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [*contestant.enqueue, str(plan)]
    with contestant.log.open("ab") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=contestant.env, stdout=output, stderr=output)
    try:
        yield process
    finally:
        end(process)


def _wait_for_callbacks(contestants: Sequence[Contestant], imports: Sequence[Import]) -> None:
    """Wait until each import has been called back by all, or GRACE_SECONDS after the last of them has ended."""
    give_up_at = max(one.ends_at for one in imports) + GRACE_SECONDS
    while time.time() < give_up_at:
        if all(len(_ledger(one).called_back_at) == len(imports) for one in contestants):
            return
        for one in contestants:
            if any(worker.has_ended() for worker in one.workers):
                raise Missing(f"a worker of {one.name} has ended by itself: {_last_logged(one.log)}")
        time.sleep(LOOK_SECONDS)


def _ledger(contestant: Contestant) -> Ledger:
    return Ledger(**requests.get(f"{contestant.far_side.url()}/ledger", timeout=30).json())


def _cpu_seconds(contestant: Contestant) -> float:
    return sum(worker.cpu_seconds for worker in contestant.workers)


def _last_logged(log: Path) -> str:
    return log.read_text()[-500:]


def _sleep_until(instant: float) -> None:
    time.sleep(max(instant - time.time(), 0))


def _rows(found: Mapping[str, Figures]) -> list[Row]:
    own = found.get(BRIDGE)
    if own is None:
        return []
    others = {name: of for name, of in found.items() if name not in SHARES}
    return [
        *(
            Row(
                name=f"imports: p95 of detection over {name}",
                figures=[own.p95_seconds / of.p95_seconds],
                goal=at_most(0.5, floor=2),
            )
            for name, of in others.items()
        ),
        *(
            Row(
                name=f"imports: requests per task over {name}",
                figures=[own.requests_per_task / of.requests_per_task],
                goal=at_most(1, floor=2),
            )
            for name, of in others.items()
        ),
        Row(
            name="imports: 429s of the bridge",
            figures=[own.throttled_share],
            goal=at_most(1, floor=5),
            unit="% of requests",
        ),
        Row(name="imports: tasks that the bridge lost", figures=[own.lost], goal=at_most(0, floor=0)),
    ]


def _table(found: Mapping[str, Figures]) -> Table:
    lines = [
        (
            name,
            of.mean_seconds,
            of.p95_seconds,
            of.quiet_p95_seconds,
            of.requests_per_task,
            f"{of.throttled:,}",
            f"{of.error_share:.1f} %",
            str(of.lost),
            of.cpu_milliseconds,
        )
        for name, of in found.items()
    ]
    columns = (
        "",
        "detection, s, mean",
        "p95",
        "p95 of quiet accounts",
        "requests per task",
        "429s",
        "errors, of all requests",
        "lost",
        "CPU ms per task, workers",
    )
    return Table(title="Imports as they are, a worker killed half-way", columns=columns, lines=lines)


def _picture(found: Mapping[str, Figures]) -> str:
    return chart.compare(
        "p95 of the seconds from an import's end to the poll that sees it; a worker killed half-way",
        [
            (
                name,
                of.p95_seconds,
                _caption(of),
            )
            for name, of in found.items()
        ],
    )


def _caption(of: Figures) -> str:
    return (
        f"{number(of.p95_seconds)} s, {number(of.requests_per_task)} requests a task, "
        f"{of.throttled_share:.1f} % 429s, {of.lost} lost"
    )
