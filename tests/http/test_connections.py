"""Connections: which are kept, and when a stale one leads to a second try."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bridge.core.http_results import HttpResponse, NoResponse
from bridge.http.connections import STALE_WITHIN_SECONDS
from bridge.http.transport import Transport
from tests.http.receiver import OK, Authority, Receiver, Visit, answering, answering_once
from tests.http.transports import HEADERS, a_transport


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_a_connection_is_kept_for_the_next_request(transport: Transport) -> None:
    with Receiver(answering(OK)) as receiver:
        for _ in range(5):
            assert isinstance(transport.send("POST", receiver.url(), HEADERS, b"{}"), HttpResponse)
    assert (receiver.connections, len(receiver.requests)) == (1, 5)


def test_a_tls_connection_is_kept_for_the_next_request(authority: Authority) -> None:
    transport = a_transport(tls=authority.trust())
    with Receiver(answering(OK), tls=authority.server("127.0.0.1")) as receiver:
        for _ in range(5):
            assert isinstance(transport.send("POST", receiver.url(), HEADERS, b"{}"), HttpResponse)
        transport.close()
    assert (receiver.connections, len(receiver.requests)) == (1, 5)


def test_a_connection_whose_answer_was_not_read_whole_is_not_kept(transport: Transport) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
    with Receiver(answering(head + b"x" * 100_000)) as receiver:
        for _ in range(2):
            transport.send("GET", receiver.url(), HEADERS)
    assert receiver.connections == 2


def test_the_next_address_of_a_name_is_dialled_when_one_refuses() -> None:
    transport = a_transport(lookup=lambda _: ["127.0.0.3", "127.0.0.1"])
    with Receiver(answering(OK)) as receiver:
        assert isinstance(transport.send("GET", receiver.url("app.example"), HEADERS), HttpResponse)
        transport.close()


def test_a_final_dot_of_a_name_is_looked_up_too() -> None:
    asked: list[str] = []

    def lookup(host: str) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    transport = a_transport(lookup=lookup)
    with Receiver(answering(OK)) as receiver:
        assert isinstance(transport.send("GET", receiver.url("app.example."), HEADERS), HttpResponse)
        transport.close()
    assert asked == ["app.example."]


def test_each_thread_has_its_own_connection(transport: Transport) -> None:
    barrier = threading.Barrier(4)

    def send(url: str) -> HttpResponse | NoResponse:
        barrier.wait()
        return transport.send("GET", url, HEADERS)

    with Receiver(answering(OK)) as receiver, ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(send, [receiver.url()] * 40))
        assert all(isinstance(answer, HttpResponse) for answer in answers)
        assert receiver.connections == 4
        transport.close()


def test_closing_lets_every_idle_connection_go(transport: Transport) -> None:
    before = open_descriptors()
    with Receiver(answering(OK)) as receiver:
        transport.send("GET", receiver.url(), HEADERS)
        transport.close()
        assert isinstance(transport.send("GET", receiver.url(), HEADERS), HttpResponse)
        transport.close()
    assert receiver.connections == 2
    assert open_descriptors() <= before


def test_what_follows_an_answer_is_not_taken_for_the_next(transport: Transport) -> None:
    more = b"HTTP/1.1 500 Later\r\nContent-Length: 0\r\n\r\n"
    both = threading.Barrier(2, timeout=30)

    def script(receiver: Receiver, visit: Visit) -> None:
        while receiver.read(visit):
            visit.send(OK, more)
            both.wait()
            visit.send(more)
            both.wait()

    with Receiver(script) as receiver:
        for _ in range(4):
            answer = transport.send("GET", receiver.url(), HEADERS)
            # The first barrier: the answer was read. The second: more of it has come.
            both.wait()
            both.wait()
            assert isinstance(answer, HttpResponse)
            assert answer.status_code == 200


def stale(
    second: bytes = b"", *, after_seconds: float = 0, then: bytes = OK
) -> Callable[[Receiver, Visit], None]:
    """A peer that answers once, sends `second` to the second request and closes; other connections get `then`."""

    def script(receiver: Receiver, visit: Visit) -> None:
        receiver.read(visit)
        if visit.number > 1:
            visit.send(then)
            return
        visit.send(OK)
        receiver.read(visit)
        time.sleep(after_seconds)
        visit.send(second)

    return script


def test_a_stale_connection_is_worth_one_more_try(transport: Transport) -> None:
    with Receiver(stale()) as receiver:
        answers = [transport.send("POST", receiver.url(), HEADERS, b"{}") for _ in range(2)]
    assert all(isinstance(answer, HttpResponse) for answer in answers)
    assert (receiver.connections, len(receiver.requests)) == (2, 3)
    assert receiver.requests[1] == receiver.requests[2]


def test_a_stale_connection_is_worth_no_third_try(transport: Transport) -> None:
    with Receiver(stale(then=b"")) as receiver:
        answers = [transport.send("POST", receiver.url(), HEADERS, b"{}") for _ in range(2)]
    assert answers[1] == NoResponse(reason="the server closed the connection without an answer")
    assert len(receiver.requests) == 3


@pytest.mark.parametrize("second", [b"H", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: y\r\n"])
def test_there_is_no_second_try_once_an_answer_began(transport: Transport, second: bytes) -> None:
    with Receiver(stale(second)) as receiver:
        for _ in range(2):
            transport.send("POST", receiver.url(), HEADERS, b"{}")
    assert len(receiver.requests) == 2


def test_there_is_no_second_try_when_the_failure_took_its_time(transport: Transport) -> None:
    with Receiver(stale(after_seconds=STALE_WITHIN_SECONDS + 0.2)) as receiver:
        answers = [transport.send("POST", receiver.url(), HEADERS, b"{}") for _ in range(2)]
    assert isinstance(answers[1], NoResponse)
    assert len(receiver.requests) == 2


def test_there_is_no_second_try_on_a_new_connection(transport: Transport) -> None:
    with Receiver(answering_once(b"")) as receiver:
        assert isinstance(transport.send("POST", receiver.url(), HEADERS, b"{}"), NoResponse)
    assert len(receiver.requests) == 1


def test_a_connection_that_the_peer_closed_while_idle_is_replaced(transport: Transport) -> None:
    with Receiver(answering_once(OK)) as receiver:
        for _ in range(3):
            assert isinstance(transport.send("POST", receiver.url(), HEADERS, b"{}"), HttpResponse)
            time.sleep(0.05)
    assert len(receiver.requests) == 3
