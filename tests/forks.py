"""Commands as forks of one process that has imported the bridge: the imports alone take a second."""

import multiprocessing

# The fork server is one for the whole run, and so is the list of what it imports first.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        *(
            f"bridge.commands.{name}"
            for name in ("accounts", "clients", "doctor", "processes", "status", "watches")
        ),
        "tests.commands.conftest",
        "tests.reliability.fault_points",
    ]
)
