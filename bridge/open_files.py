"""Raises a process's soft limit of open file descriptors when the settings require more."""

import resource
import sys

# Idle connections to receivers, of all threads together; the usual soft limit of a process is 1,024 descriptors.
IDLE_CONNECTIONS = 400
# Connections of clients that a web process keeps open at a time, most of them idle.
CLIENT_CONNECTIONS = 400
# Everything else: connections to the database (three files each with SQLite), listeners, logs, code.
OTHER_DESCRIPTORS = 64
# For each request in flight: its socket, the deadline's duplicate of the socket, an idle connection to HubSpot.
PER_REQUEST_DESCRIPTORS = 3


def ensure(concurrency: int, *, works: bool = True, clients: int = 0) -> None:
    """Raise this process's soft limit of file descriptors to the number that the process may need.

    If the system does not allow that number, write why to standard error, and exit with status 2. `works` says
    whether the process has a worker, whose pool has `concurrency` threads; without a worker, `concurrency` is
    ignored. `clients` is the largest number of client connections that a web process keeps open; 0 for a process that
    serves no clients.
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
