"""`python -m tests.chaos [--seed N] [--seconds 60] [--database sqlite|postgresql|failover|all]`: no watch may be lost.

Processes die, stop and go on, databases go away, HubSpot and receivers fail, all at random. In the end
every promise is compared with the tables and with what arrived. Exits 0 only when all of it adds up.
"""

import argparse
import secrets
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from random import Random

from demo.printer import Printer
from tests.chaos.databases import DATABASES, world
from tests.chaos.events import act
from tests.chaos.world import World

STEP_SECONDS = 0.2


def main(arguments: Sequence[str]) -> int:
    """Run one world after the other; return 0 when each ledger is exact."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument(
        "--seed", type=int, default=secrets.randbelow(2**32), help="the same seed draws the same events"
    )
    parser.add_argument("--seconds", type=float, default=60, help="how long things happen to each database")
    parser.add_argument("--database", choices=[*DATABASES, "all"], default="all")
    given = parser.parse_args(arguments)
    # Unwinds the stack, as Ctrl-C does: nothing that was started may stay.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    databases = DATABASES if given.database == "all" else [given.database]
    return max(_run(database, given.seed, given.seconds) for database in databases)


def _run(database: str, seed: int, seconds: float) -> int:
    printer = Printer()
    printer.say(f"chaos on {database}: seed {seed}, {seconds:g} s")
    with world(database, Random(seed)) as made:  # noqa: S311 -- random events are no secrets
        made.tend()
        end_at = time.monotonic() + seconds
        while time.monotonic() < end_at:
            act(made)
            made.tend()
            time.sleep(STEP_SECONDS * made.random.random())
        made.settle()
        return _report(printer, made)


def _report(printer: Printer, made: World) -> int:
    printer.table(
        ["what happened", "times"], [[what, str(times)] for what, times in sorted(made.done.items())]
    )
    printer.say("")
    printer.table(
        ["outcome", "promised", "delivered", "undelivered", "withdrawn", "attempts", "arrived"], _rows(made)
    )
    problems = made.problems()
    printer.say("".join(f"\nPROBLEM: {problem}" for problem in problems) or "\nThe ledger is exact.\n")
    return 1 if problems else 0


def _rows(made: World) -> list[list[str]]:
    arrived = Counter(arrival.webhook_id for arrival in made.receiver.arrivals(made.installation))
    sums: dict[str, Counter[str]] = {}
    for row in made.ledger.rows():
        counted = Counter({"promised": 1, row.state: 1, "attempts": row.attempts, "arrived": arrived[row.id]})
        for outcome in (row.outcome or "none", "all"):
            sums[outcome] = sums.get(outcome, Counter()) + counted
    names = ("promised", "delivered", "undelivered", "withdrawn", "attempts", "arrived")
    return [
        [outcome, *(str(sums[outcome][name]) for name in names)] for outcome in sorted(sums, key=_all_last)
    ]


def _all_last(outcome: str) -> tuple[bool, str]:
    return outcome == "all", outcome


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
