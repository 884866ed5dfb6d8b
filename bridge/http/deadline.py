"""A deadline for a whole HTTP request: name look-up, connection, TLS, request, headers and body."""

import contextlib
import errno
import os
import queue
import socket
import threading
from collections.abc import Callable, Sequence
from time import monotonic, sleep
from typing import Self, TypeAlias

from bridge.http.addresses import literal_address

# How late a socket may be shut down; ten scans a second cost under 0.1 % of a core.
TICK_SECONDS = 0.1

# Lookups in flight per resolver: two for each request at the largest concurrency. A lookup without an answer takes glibc
# up to 30 s (two tries of 5 s at each of three name servers, resolv.conf(5)). Within 30 s a slot of the pool begins at
# most two attempts that last the default time-out of 20 s. A thread takes about 20 kB, and ends with its lookup.
RESOLVER_THREADS = 2048

Lookup: TypeAlias = Callable[[str], Sequence[str]]
SocketOptions: TypeAlias = Sequence[tuple[int, int, int | bytes]]


class Unreachable(Exception):
    """The request could not be sent; the message says why."""


class Blocked(Unreachable):
    """The bridge, not the network, is the reason why no connection was opened.

    Either it refuses all addresses of the host, and the message says why it refuses the first one; or look-ups of
    other host names kept all threads of `Resolver` busy until the deadline.
    """


# A socket's own time-out starts anew with every byte: a slow server could hold a request for hours.
class Watchdog:
    """One daemon thread that shuts down the connections of overdue requests."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._awake = threading.Event()
        self._watched: set[Deadline] = set()
        self._thread: threading.Thread | None = None

    def watch(self, deadline: "Deadline") -> None:
        """Begin to watch `deadline`: when `deadline` has passed, the request's connection is shut down."""
        with self._lock:
            self._watched.add(deadline)
            if not self._awake.is_set():
                self._wake()

    def release(self, deadline: "Deadline") -> None:
        """Stop watching `deadline`.

        If `deadline` passed just before, the thread may call its `shut_down` even after `release` has returned.
        """
        with self._lock:
            self._watched.discard(deadline)

    def _wake(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="deadline-watchdog", daemon=True)
            self._thread.start()
        self._awake.set()

    def _run(self) -> None:
        while True:
            self._awake.wait()
            sleep(TICK_SECONDS)
            for deadline in self._overdue():
                deadline.shut_down()

    def _overdue(self) -> list["Deadline"]:
        with self._lock:
            if not self._watched:
                self._awake.clear()
            return [deadline for deadline in self._watched if deadline.passed]


WATCHDOG = Watchdog()


class Deadline:
    """A context manager that shuts down the connection of one request when the request takes too long.

    The limit is `seconds`, counted from the construction of the Deadline. After the `with` block no connection is
    shut down. Thread-safe.
    """

    __slots__ = ("_ends", "_held", "_lock", "seconds")

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._ends = monotonic() + seconds
        self._held: int | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        WATCHDOG.watch(self)
        return self

    def __exit__(self, *_: object) -> None:
        WATCHDOG.release(self)
        self._replace(None)

    def __str__(self) -> str:
        return f"timed out after {self.seconds:g} s"

    @property
    def left_seconds(self) -> float:
        """The seconds that are left; zero or less when the time is over."""
        return self._ends - monotonic()

    @property
    def spent_seconds(self) -> float:
        """The seconds since the construction."""
        return self.seconds - self.left_seconds

    @property
    def passed(self) -> bool:
        """Whether the time is over."""
        return self.left_seconds <= 0

    def attach(self, connection: socket.socket) -> None:
        """Attach the connection that the Deadline shuts down when the time is over.

        Only the connection that was attached last is shut down.
        """
        # A duplicate, because a TLS handshake detaches the original socket.
        self._replace(os.dup(connection.fileno()))

    def shut_down(self) -> None:
        """Shut down the attached connection, if any, without closing it: a read or write that waits ends at once."""
        with self._lock, contextlib.suppress(OSError):  # The peer may have closed it first.
            if self._held is None:
                return
            connection = socket.socket(fileno=self._held)
            try:
                connection.shutdown(socket.SHUT_RDWR)
            finally:
                connection.detach()

    def _replace(self, descriptor: int | None) -> None:
        with self._lock:
            before, self._held = self._held, descriptor
        if before is not None:
            os.close(before)


def system_lookup(host: str) -> list[str]:
    """Return the addresses of `host` in the order to be tried (RFC 6724). Raises OSError or UnicodeError."""
    return [str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]


class Resolver:
    """Looks up host names in at most `threads` daemon threads, because getaddrinfo has no time-out."""

    def __init__(self, lookup: Lookup = system_lookup, *, threads: int = RESOLVER_THREADS) -> None:
        self._lookup = lookup
        self._slots = threading.BoundedSemaphore(threads)

    def addresses(self, host: str, deadline: Deadline) -> Sequence[str]:
        """Return the addresses of `host`, or raise Unreachable.

        Raises Blocked, a kind of Unreachable, if other look-ups keep all threads busy until the deadline. Raises
        RuntimeError if the system cannot start a thread.
        """
        try:
            address = literal_address(host)
            found = [address] if address else self._within(host, deadline)
        except (OSError, UnicodeError) as error:
            raise Unreachable(_why_unresolved(error)) from error
        if not found:
            raise Unreachable("the host name has no address")
        return found

    def _within(self, host: str, deadline: Deadline) -> Sequence[str]:
        if not self._slots.acquire(timeout=max(0, deadline.left_seconds)):
            raise Blocked("too many look-ups of other names wait for their name servers")
        results: queue.SimpleQueue[Sequence[str] | Exception] = queue.SimpleQueue()
        self._start_looking_up(host, results)
        try:
            result = results.get(timeout=max(0, deadline.left_seconds))
        except queue.Empty:
            raise Unreachable(f"DNS {deadline}") from None
        if isinstance(result, Exception):
            raise result
        return result

    def _start_looking_up(self, host: str, results: "queue.SimpleQueue[Sequence[str] | Exception]") -> None:
        try:
            threading.Thread(target=self._look_up, args=(host, results), name="resolver", daemon=True).start()
        except RuntimeError:  # No thread was started, so none will release the slot.
            self._slots.release()
            raise

    def _look_up(self, host: str, results: "queue.SimpleQueue[Sequence[str] | Exception]") -> None:
        try:
            results.put(self._lookup(host))
        except Exception as error:  # noqa: BLE001 - it is raised again in the thread that waits
            results.put(error)
        finally:
            self._slots.release()


def _why_unresolved(error: OSError | UnicodeError) -> str:
    if isinstance(error, UnicodeError):
        return "the host name is not valid"
    if error.errno == socket.EAI_AGAIN:
        return "the host name could not be looked up: the name server failed"
    return "the host name does not resolve"


def connect(addresses: Sequence[str], port: int, options: SocketOptions, deadline: Deadline) -> socket.socket:
    """Return a TCP connection to the first of `addresses` that accepts one, or raise Unreachable."""
    failure: OSError | None = None
    for index, address in enumerate(addresses):
        # Equal shares of the time that is left, so that one dead address leaves time for the others.
        share_seconds = deadline.left_seconds / (len(addresses) - index)
        if share_seconds <= 0:
            break
        try:
            return _connected(address, port, options, share_seconds)
        except OSError as error:
            failure = failure or error
    raise Unreachable(_why_unconnected(failure, deadline)) from failure


def _connected(address: str, port: int, options: SocketOptions, seconds: float) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        for option in options:
            connection.setsockopt(*option)
        connection.settimeout(seconds)
        connection.connect((address, port))
    except BaseException:
        connection.close()
        raise
    return connection


def _why_unconnected(failure: OSError | None, deadline: Deadline) -> str:
    if failure is None or isinstance(failure, TimeoutError):
        return f"{deadline} while connecting"
    if isinstance(failure, ConnectionRefusedError):
        return "connection refused"
    if failure.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH):
        return "there is no route to the host"
    return f"the bridge could not connect: {os.strerror(failure.errno or 0)}"
