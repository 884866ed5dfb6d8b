"""How many files and sockets a process may have open at a time: its limit is raised to what its settings need."""

import resource
import sys

# Idle connections to receivers, of all threads together: a process has 1,024 descriptors at first.
IDLE_CONNECTIONS = 400
# What a web process accepts at a time, most of them idle.
CLIENT_CONNECTIONS = 400
# What else a process has open: the database's connections (three files each with SQLite), listeners, log, code.
OTHER_DESCRIPTORS = 64
# For each request in flight: its socket, the deadline's duplicate of it, and an idle connection to HubSpot.
PER_REQUEST_DESCRIPTORS = 3


def ensure(concurrency: int, *, works: bool = True, clients: int = 0) -> None:
    """Raise this process's limit of descriptors (getrlimit(2)) to what it may need; its children inherit the limit.

    `works`: it has a worker with so much `concurrency`. `clients` is how many connections a web process accepts.
    When the hard limit forbids it, the process writes so to standard error, and ends with status 2.
    """
    at_work = PER_REQUEST_DESCRIPTORS * concurrency + max(IDLE_CONNECTIONS, concurrency)
    needed = OTHER_DESCRIPTORS + clients + (at_work if works else 0)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    except (ValueError, OSError):
        sys.stderr.write(
            f"The bridge does not start, because it needs {needed:,} open files with BRIDGE_CONCURRENCY="
            f"{concurrency}, and the system allows {hard:,}: raise the hard limit (`ulimit -Hn`, or "
            "systemd's LimitNOFILE=); with less concurrency it needs fewer.\n"
        )
        sys.exit(2)
