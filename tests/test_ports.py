"""Ports for tests: none is given to two of them."""

import os
import socket
import subprocess
import sys
from itertools import cycle

import pytest

from demo.services import ROOT
from tests import ports
from tests.ports import free_port

MANY = "from tests.ports import free_port; print(*(free_port() for _ in range(3_000)))"


def test_two_processes_of_one_run_are_given_different_ports() -> None:
    given = [ports_of(worker) for worker in ("gw0", "gw1", "gw2")]
    assert len(set().union(*given)) == 9_000


def ports_of(worker: str) -> set[int]:
    env = os.environ | {"PYTEST_XDIST_WORKER": worker, "PYTEST_XDIST_WORKER_COUNT": "3"}
    told = subprocess.run(
        [sys.executable, "-c", MANY], cwd=ROOT, env=env, capture_output=True, text=True, check=True
    )
    return {int(port) for port in told.stdout.split()}


def test_a_port_in_use_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    free = free_port()
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        monkeypatch.setattr(ports, "_ports", cycle([server.getsockname()[1], free]))
        assert free_port() == free
