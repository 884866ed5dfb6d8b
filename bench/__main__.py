"""`python -m bench`: run the scenarios, print what they found, write it to bench/results."""

import argparse
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence

from bench import chart, report
from bench.harness import Bench, bench_of
from bench.imports import scenario as imports
from bench.peers import measure
from bench.processes import machine
from bench.scenarios import (
    accounts,
    commands,
    latency,
    neighbours,
    order,
    pages,
    registration,
    scaling,
    slots,
    soak,
    throughput,
)

Scenario = Callable[[Bench], report.ScenarioResult]

PEERS, IMPORTS, SOAK = "peers", "imports", "soak"
SCENARIOS: dict[str, Scenario] = {
    "throughput": throughput.run,
    "slots": slots.run,
    "registration": registration.run,
    "latency": latency.run,
    "neighbours": neighbours.run,
    "scaling": scaling.run,
    "accounts": accounts.run,
    "pages": pages.run,
    "order": order.run,
    "commands": commands.run,
    PEERS: measure.run,
    IMPORTS: imports.run,
    SOAK: soak.run,
}
# What fits into a minute.
SHORT = ("throughput", "registration", "latency", "order", "commands")


def main() -> int:
    """Run what the arguments ask for; 1 when a scenario fails, or a short run is beyond a floor."""
    arguments = _arguments()
    # The server that plays all peers inherits the limit: it has a connection for each request in flight, and idle ones.
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
    # As Ctrl-C does: what was started is ended, instead of being left behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    chosen = _chosen(arguments)
    about = machine()
    results = _found(chosen, short=arguments.short)
    about["load average afterwards"] = machine()["load average"]
    stem = next((name for name in ("only", PEERS, IMPORTS, "short") if getattr(arguments, name)), "latest")
    picture = results[0].picture if len(results) == 1 else ""
    report.write(results, about, picture or chart.draw(results), stem)
    print(f"\nwritten to {report.RESULTS}/{stem}.md")
    fallen = [row for found in results for row in found.rows if row.fell] if arguments.short else []
    for row in fallen:
        print(f"beyond its floor of {report.number(row.goal.floor)}: {row.name}")
    return 1 if fallen or len(results) < len(chosen) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument("--short", action="store_true", help="under a minute; fails when a ratio is far off")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--peers", action="store_true", help="the same job with other tools, installed for it")
    which.add_argument(
        "--imports", action="store_true", help="imports as they are, with the bridge and with other tools"
    )
    which.add_argument("--only", action="append", choices=SCENARIOS, help="run one scenario; may be repeated")
    return parser.parse_args()


def _chosen(arguments: argparse.Namespace) -> Sequence[str]:
    if arguments.only:
        return tuple(arguments.only)
    if arguments.peers or arguments.imports:
        return (PEERS,) if arguments.peers else (IMPORTS,)
    if arguments.short:
        return SHORT
    return tuple(name for name in SCENARIOS if name not in (PEERS, IMPORTS, SOAK))


def _found(chosen: Sequence[str], *, short: bool) -> list[report.ScenarioResult]:
    results = []
    with bench_of(short=short) as bench:
        for name in chosen:
            began_at = time.monotonic()
            try:
                found = SCENARIOS[name](bench)
            except Exception:  # noqa: BLE001 -- what the others find must not be lost with this one
                print(f"\n{name} failed:\n{traceback.format_exc()}", flush=True)
                continue
            print(f"\n{name} ({time.monotonic() - began_at:.0f} s)")
            for row in found.rows:
                what, *cells = row.cells
                print(f"  {what:<76} " + "  ".join(cells), flush=True)
            results.append(found)
    return results


if __name__ == "__main__":
    sys.exit(main())
