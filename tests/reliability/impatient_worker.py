"""A real worker with little time to stop: `python -m tests.reliability.impatient_worker`. The real 25 s are too long for a test."""

import sys

from bridge import cli
from bridge.commands import processes
from bridge.worker import scheduler

GRACE_SECONDS = 1.5

if __name__ == "__main__":
    scheduler.STOP_SECONDS = GRACE_SECONDS
    processes.EXIT_SECONDS = 2 * GRACE_SECONDS
    sys.exit(cli.main(["worker"]))
