"""A real worker with little time to stop, as the real 25 s are too long for a test.

Run it with `python -m tests.reliability.short_stop_worker`.
"""

import sys

from bridge import cli
from bridge.commands import processes
from bridge.worker import scheduler

GRACE_SECONDS = 1.5
# Long enough to give leases back on a loaded machine; shorter than the 10 s that a statement waits for a locked database.
EXIT_SECONDS = 7.0

if __name__ == "__main__":
    scheduler.STOP_SECONDS = GRACE_SECONDS
    processes.EXIT_SECONDS = EXIT_SECONDS
    sys.exit(cli.main(["worker"]))
