"""The patient worker itself, without a loop: what it still waits for, forgets and counts."""

import errno
import logging
import os
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from selectors import DefaultSelector

import pytest
from gunicorn.config import Config
from gunicorn.workers.gthread import TConn, ThreadWorker

from bridge.web.patience import PatientWorker
from tests.web.wire import HALF, LAST


@pytest.fixture
def patient() -> Iterator[PatientWorker]:
    """A worker as the arbiter makes it, without a loop."""
    worker = PatientWorker(0, os.getppid(), [], None, 30, Config(), logging.getLogger())
    worker._gatherings, worker._handed = {}, {}
    worker.poller = DefaultSelector()
    worker.method_queue.init()
    yield worker
    worker.method_queue.close()
    worker.poller.close()
    worker.tmp.close()


def test_at_the_stop_those_who_have_sent_nothing_are_hardly_waited_for(patient: PatientWorker) -> None:
    with ExitStack() as open_clients:
        conns = []
        for sent in (b"", HALF):
            client, ours = (open_clients.enter_context(end) for end in socket.socketpair())
            client.sendall(sent)
            conns.append(TConn(patient.cfg, ours, "", ""))
            patient.enqueue_req(conns[-1])
        silent, half = conns
        promised = half.timeout
        patient._cap_keepalive(1.0)
        assert silent.timeout == 1.0
        assert half.timeout == promised > 1.0


class Unreachable(socket.socket):
    """A client whose network went away."""

    def recv(self, *_: int) -> bytes:
        raise OSError(errno.EHOSTUNREACH, "No route to host")


def test_a_client_whose_network_goes_away_after_its_answer_is_forgotten(patient: PatientWorker) -> None:
    client, other = socket.socketpair()
    ours = Unreachable(fileno=client.detach())
    with ours, other:
        conn = TConn(patient.cfg, ours, "", "")
        patient.nr_conns = 1
        patient._handed[conn] = 0
        answered: Future[bool] = Future()
        answered.set_result(False)
        patient.finish_request(conn, answered)
        patient._lingering(conn, ours)
        assert patient.nr_conns == len(patient.pending_conns) == 0


def test_a_failure_outside_of_requests_is_logged(
    patient: PatientWorker, caplog: pytest.LogCaptureFixture
) -> None:
    client, other = socket.socketpair()
    with client, other:
        conn = TConn(patient.cfg, client, "", "")
        patient._handed[conn] = 0
        failed: Future[bool] = Future()
        failed.set_exception(OSError("Too many open files"))
        patient.finish_request(conn, failed)
    assert "Too many open files" in caplog.text


def test_whole_requests_that_wait_for_a_thread_count_as_held(patient: PatientWorker) -> None:
    client, ours = socket.socketpair()
    with client, ours, ThreadPoolExecutor(1) as patient.tpool:
        answering = threading.Event()
        patient.tpool.submit(answering.wait)
        client.sendall(LAST)
        patient.enqueue_req(TConn(patient.cfg, ours, "", ""))
        held = patient._held_bytes()
        answering.set()
    assert held == len(LAST)


def test_gunicorn_still_calls_what_the_worker_puts_in_its_place() -> None:
    replaced = {name for name in vars(PatientWorker) if not name.startswith("_")}
    for name in replaced | {"_keepalive_after", "_cap_keepalive"}:
        assert callable(getattr(ThreadWorker, name))
