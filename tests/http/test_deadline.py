"""The deadline: it shuts connections in time, and bounds name look-ups and the opening of connections."""

import errno
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from bridge.http.deadline import (
    Blocked,
    Deadline,
    Lookup,
    Resolver,
    Unreachable,
    Watchdog,
    _why_unconnected,
    connect,
    system_lookup,
)
from tests.http.receiver import Receiver, answering_once

GENEROUS_SECONDS = 5
DEFAULT_CONCURRENCY = 32


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket.socketpair()
    near.settimeout(GENEROUS_SECONDS)
    with near, far:
        yield near, far


@contextmanager
def silent_listener() -> Iterator[tuple[str, int]]:
    """A listener whose queue is full: the system ignores further connections."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.2", 0), backlog=0))
        address: tuple[str, int] = listener.getsockname()
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(address)
        yield address


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_a_held_connection_is_cut_when_the_time_is_over(pair: tuple[socket.socket, socket.socket]) -> None:
    with Deadline(0.2) as deadline:
        deadline.attach(pair[0])
        assert pair[0].recv(1) == b""
        assert deadline.passed


def test_a_connection_that_is_held_too_late_is_cut_all_the_same(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    with Deadline(0) as deadline:
        time.sleep(0.3)
        deadline.attach(pair[0])
        assert pair[0].recv(1) == b""


def test_a_connection_is_left_alone_once_its_request_is_over(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    with Deadline(0.1) as deadline:
        deadline.attach(pair[0])
    time.sleep(0.4)
    pair[1].sendall(b"x")
    assert pair[0].recv(1) == b"x"


def test_holding_another_connection_lets_the_first_go(pair: tuple[socket.socket, socket.socket]) -> None:
    other, _far = socket.socketpair()
    with other, _far, Deadline(0.2) as deadline:
        deadline.attach(pair[0])
        deadline.attach(other)
        other.settimeout(GENEROUS_SECONDS)
        assert other.recv(1) == b""
        pair[1].sendall(b"x")
        assert pair[0].recv(1) == b"x"


def test_no_descriptor_is_left_open(pair: tuple[socket.socket, socket.socket]) -> None:
    before = open_descriptors()
    for _ in range(20):
        with Deadline(1) as deadline:
            deadline.attach(pair[0])
            deadline.attach(pair[0])
    assert open_descriptors() == before


def test_a_deadline_without_a_connection_passes_quietly() -> None:
    with Deadline(0) as deadline:
        deadline.shut_down()
        assert deadline.passed
        assert deadline.spent_seconds >= 0


def test_the_watchdog_sleeps_while_nothing_is_watched_and_wakes_for_the_next() -> None:
    watchdog = Watchdog()
    for _ in range(2):
        deadline = Deadline(60)
        watchdog.watch(deadline)
        assert watchdog._awake.is_set()
        watchdog.release(deadline)
        until = time.monotonic() + GENEROUS_SECONDS
        while watchdog._awake.is_set() and time.monotonic() < until:
            time.sleep(0.01)
        assert not watchdog._awake.is_set()


def test_one_thread_watches_every_request() -> None:
    with ExitStack() as stack:
        for _ in range(50):
            stack.enter_context(Deadline(60))
        watchdogs = [thread for thread in threading.enumerate() if thread.name == "deadline-watchdog"]
    assert len([thread for thread in watchdogs if thread.is_alive()]) <= 2  # the test above made its own


@pytest.mark.parametrize("spelling", ["127.0.0.1", "127.1", "2130706433", "0x7f.1", "0177.0.0.1"])
def test_an_address_in_any_spelling_is_not_looked_up(spelling: str) -> None:
    resolver = Resolver(lambda host: pytest.fail(f"{host} was looked up"))
    assert resolver.addresses(spelling, Deadline(1)) == ["127.0.0.1"]


def test_an_ipv6_address_is_not_looked_up() -> None:
    resolver = Resolver(lambda host: pytest.fail(f"{host} was looked up"))
    assert resolver.addresses("0:0::1", Deadline(1)) == ["::1"]


def test_a_name_has_the_addresses_that_the_system_knows() -> None:
    assert "127.0.0.1" in Resolver(system_lookup).addresses("localhost", Deadline(GENEROUS_SECONDS))


def test_no_lookup_is_remembered() -> None:
    answers = iter([["192.0.2.1"], ["192.0.2.2"]])
    resolver = Resolver(lambda _: next(answers))
    assert resolver.addresses("a.example", Deadline(1)) == ["192.0.2.1"]
    assert resolver.addresses("a.example", Deadline(1)) == ["192.0.2.2"]


def test_a_lookup_that_hangs_ends_at_the_deadline() -> None:
    over = threading.Event()
    resolver = Resolver(lambda _: [str(over.wait(60))])
    began = time.monotonic()
    with pytest.raises(Unreachable, match=r"^DNS timed out after 0\.3 s$"):
        resolver.addresses("slow.example", Deadline(0.3))
    assert time.monotonic() - began < GENEROUS_SECONDS
    over.set()


def slow_or_fast(over: threading.Event) -> Lookup:
    """A lookup that hangs for one name until `over`, and answers for all others."""
    return lambda host: [str(over.wait(60))] if host == "slow.example" else ["192.0.2.1"]


def hang(resolver: Resolver, lookups: int) -> None:
    for _ in range(lookups):
        with pytest.raises(Unreachable, match=r"^DNS timed out"):
            resolver.addresses("slow.example", Deadline(0.001))


def test_two_hanging_lookups_of_each_request_hold_up_no_other_name() -> None:
    over = threading.Event()
    resolver = Resolver(slow_or_fast(over))
    hang(resolver, 2 * DEFAULT_CONCURRENCY)
    assert resolver.addresses("fast.example", Deadline(GENEROUS_SECONDS)) == ["192.0.2.1"]
    over.set()


def test_a_name_for_which_no_thread_is_free_is_not_to_blame_and_is_looked_up_again_after() -> None:
    over = threading.Event()
    resolver = Resolver(slow_or_fast(over), threads=2)
    before = threading.active_count()
    hang(resolver, 2)
    with pytest.raises(Blocked, match=r"^too many look-ups of other names wait for their name servers$"):
        resolver.addresses("fast.example", Deadline(0.2))
    assert threading.active_count() <= before + 2
    over.set()
    assert resolver.addresses("fast.example", Deadline(GENEROUS_SECONDS)) == ["192.0.2.1"]


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (socket.gaierror(socket.EAI_NONAME, "unknown"), "the host name does not resolve"),
        (
            socket.gaierror(socket.EAI_AGAIN, "later"),
            "the host name could not be looked up: the name server failed",
        ),
        (UnicodeError("label too long"), "the host name is not valid"),
    ],
)
def test_a_failed_lookup_says_why(error: Exception, sentence: str) -> None:
    def lookup(_: str) -> list[str]:
        raise error

    with pytest.raises(Unreachable, match=f"^{sentence}$"):
        Resolver(lookup).addresses("a.example", Deadline(1))


def test_a_name_without_an_address_is_unreachable() -> None:
    with pytest.raises(Unreachable, match="the host name has no address"):
        Resolver(lambda _: []).addresses("a.example", Deadline(1))


def test_a_host_that_cannot_be_encoded_is_not_valid() -> None:
    with pytest.raises(Unreachable, match="the host name is not valid"):
        Resolver(system_lookup).addresses("a" * 64 + ".example", Deadline(1))


def test_the_next_address_is_dialled_when_one_refuses() -> None:
    with Receiver(answering_once(b"hello")) as receiver:
        connect(["127.0.0.3", "127.0.0.1"], receiver.port, (), Deadline(GENEROUS_SECONDS)).close()


def test_a_silent_address_leaves_time_for_the_next() -> None:
    with silent_listener() as (silent, port), socket.create_server(("127.0.0.1", port)):
        deadline = Deadline(2)
        connect([silent, "127.0.0.1"], port, (), deadline).close()
    assert not deadline.passed


def test_connecting_ends_at_the_deadline() -> None:
    with (
        silent_listener() as (silent, port),
        pytest.raises(Unreachable, match=r"^timed out after 0\.3 s while connecting$"),
    ):
        connect([silent], port, (), Deadline(0.3))


def test_nothing_is_dialled_after_the_deadline() -> None:
    with Receiver(answering_once(b"hello")) as receiver, pytest.raises(Unreachable, match="timed out"):
        connect(["127.0.0.1"], receiver.port, (), Deadline(0))
    assert receiver.connections == 0


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (errno.ECONNREFUSED, "connection refused"),
        (errno.ENETUNREACH, "there is no route to the host"),
        (errno.EHOSTUNREACH, "there is no route to the host"),
        (errno.EMFILE, "the bridge could not connect: Too many open files"),
    ],
)
def test_a_failed_connection_says_why(number: int, sentence: str) -> None:
    assert _why_unconnected(OSError(number, "in the system's words"), Deadline(1)) == sentence
