"""Ports of loopback for the servers that tests start."""

import os
import random
import socket
from collections.abc import Iterator
from itertools import cycle, islice

# Below the ports that systems give to clients and to servers that ask for any (32,768 and up on Linux). Each process
# of pytest-xdist has a part of its own, and uses its ports in turn: one that was chosen is not chosen by another test
# before its server has started.
FIRST, LAST = 10_000, 32_000

_processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_size = (LAST - FIRST) // _processes
_begin = FIRST + _number * _size
# Another run of the tests may be under way.
_start = random.SystemRandom().randrange(_size)
_ports: Iterator[int] = cycle([*range(_begin + _start, _begin + _size), *range(_begin, _begin + _start)])


def free_port() -> int:
    """Return a port that is not in use, and that no other test is given soon. Raises RuntimeError without one."""
    for port in islice(_ports, _size):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("all ports for tests are in use")
