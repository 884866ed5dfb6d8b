"""The HTTP server of a web process: waitress, in the processes that gunicorn keeps.

waitress reads and writes in one loop that waits for nobody, and gives a request to a thread when all of it has
come. So slow clients hold up no thread. What is added here: clients that take too long are cut, a refusal is a
problem and reaches a client that is still sending, and a stop loses no answer.
"""

import logging
import os
import resource
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from select import select
from typing import Any

from gunicorn.workers.base import Worker
from waitress import create_server, wasyncore
from waitress.channel import HTTPChannel
from waitress.task import ErrorTask, ThreadedTaskDispatcher, WSGITask

from bridge.web.problems import Problem
from bridge.web.request_log import HEADER, new_request_id
from bridge.web.serving import respond
from bridge.web.strict_json import LARGEST_BYTES, TOO_LARGE

# A request is at most 1 MiB, and comes from a server: this is plenty for one.
REQUEST_TIMEOUT_SECONDS = 10.0
# For this long a client may take nothing of an answer that waits for it.
SEND_TIMEOUT_SECONDS = 60.0
# At a stop, open connections may send one more request for this long: it may be on its way already.
LAST_REQUEST_SECONDS = 1.0
LOOP_SECONDS = 0.5
# What the framing of many small chunks adds to a body of 1 MiB; more is refused before all of it has come.
MAX_FRAMED_BYTES = 2 * LARGEST_BYTES
MAX_HEADER_BYTES = 32 * 1024
# Where a request's body or an answer goes to a temporary file: 400 clients must not fill the memory, and an
# answer must not depend on the disk.
BODY_IN_MEMORY_BYTES = 128 * 1024
ANSWER_IN_MEMORY_BYTES = 16 * 1024 * 1024

# Whether gunicorn.conf.py has been read, in this process or before it was forked: it migrates the database, and
# starts and stops the embedded worker. app.py refuses to be served without it.
is_configured = False

# What waitress says may repeat what was sent, perhaps a key in the wrong place.
_ERROR_DETAILS = {
    400: "The request is not well-formed HTTP.",
    413: TOO_LARGE.detail,
    431: "The address and the headers are too long: 32 KiB at most.",
    501: "The only transfer coding that is understood is chunked.",
}


class _ProblemTask(ErrorTask):  # type: ignore[misc] # waitress has no types
    """Answers what is no HTTP, or too large, in the same form as every other refusal."""

    def execute(self) -> None:
        status = self.request.error.code
        problem = Problem(
            status=status, detail=_ERROR_DETAILS.get(status, "The request failed; the log says why.")
        )
        request_id = new_request_id()
        answer = respond(problem, request_id)
        answer.headers[HEADER] = request_id
        body = answer.get_data()
        self.status = f"{status} {HTTPStatus(status).phrase}"
        self.response_headers.extend(answer.headers)
        self.content_length = len(body)
        self.set_close_on_finish()
        self.channel.is_refused = True
        self.write(body)


class _RequestTask(WSGITask):  # type: ignore[misc] # waitress has no types
    """Hands the path over as it was sent, and ends the connection when the process is to stop."""

    def get_environment(self) -> dict[str, Any]:
        # waitress makes one slash of several at the beginning.
        return {**super().get_environment(), "PATH_INFO": self.request.path}

    def build_response_header(self) -> bytes:
        if self.channel.server.is_stopping:
            self.set_close_on_finish()
        return bytes(super().build_response_header())


class _Channel(HTTPChannel):  # type: ignore[misc] # waitress has no types
    """One connection. All but `service` runs in the loop."""

    task_class = _RequestTask
    error_task_class = _ProblemTask
    # Whether what comes now is what is left of a refused request.
    is_refused = False
    _is_lingering = False

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        # The monotonic instant until which what is awaited must have come: the first request, or all of one.
        self._deadline: float | None = time.monotonic() + REQUEST_TIMEOUT_SECONDS

    def received(self, data: bytes) -> bool:
        """Take what has come."""
        if self.is_refused:
            return False
        before = self.request
        taken = super().received(data)
        if not self.request:
            self._deadline = None
        elif self.request is not before:
            self._deadline = time.monotonic() + REQUEST_TIMEOUT_SECONDS
        return bool(taken)

    def handle_close(self) -> None:
        """Close the connection; after a refusal, not before the client has read it.

        To close while bytes are unread resets the connection, and the client may lose the answer (RFC 9112, 9.6).
        """
        if self.is_refused and not self._is_lingering and not self.total_outbufs_len:
            self._is_lingering, self.will_close = True, False
            self._deadline = time.monotonic() + REQUEST_TIMEOUT_SECONDS
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_WR)
                return
        super().handle_close()

    @property
    def is_busy(self) -> bool:
        """Whether a request is coming, or an answer is not out yet."""
        return bool(self.request or self.requests or self.total_outbufs_len or self.close_when_flushed)

    def close_if_late(self, now: float) -> None:
        """Close the connection when the client takes too long to send a request, or to read an answer."""
        if self._deadline and self.requests:
            # Nothing is read while a request is being answered: the next one's time begins when it is.
            self._deadline = now + REQUEST_TIMEOUT_SECONDS
        is_late = self._deadline and now > self._deadline
        is_unread = self.total_outbufs_len and time.time() > self.last_activity + SEND_TIMEOUT_SECONDS
        if is_late or is_unread:
            self.handle_close()


class WaitressWorker(Worker):  # type: ignore[misc] # gunicorn has no types
    """A process that gunicorn starts, watches and stops, and in which waitress serves."""

    def run(self) -> None:
        """Serve until told to stop; then until nothing is in flight, for `graceful_timeout` seconds at most."""
        # It would tell of each request that waits for a thread.
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)
        # A connection and what is done for it take two descriptors.
        self._limit = min(self.cfg.worker_connections, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
        # What waitress's loop looks after, by descriptor.
        self._socket_map: dict[int, Any] = {}
        # When connections are looked at next, as an instant of time.monotonic().
        self._next_check_at = 0.0
        add_task = _start_threads(self.cfg.threads)
        servers = [self._create_server(listener.sock, add_task) for listener in self.sockets]
        while self.alive and os.getppid() == self.ppid:
            self._run_loop_once()
        self._stop(servers)

    def _create_server(self, listener: socket.socket, add_task: Callable[[_Channel], None]) -> Any:
        server = create_server(
            self.wsgi,
            map=self._socket_map,
            sockets=[listener],
            # All listeners share those of `_start_threads`.
            threads=0,
            backlog=self.cfg.backlog,
            connection_limit=self._limit,
            channel_timeout=self.cfg.keepalive,
            max_request_header_size=MAX_HEADER_BYTES,
            max_request_body_size=MAX_FRAMED_BYTES,
            inbuf_overflow=BODY_IN_MEMORY_BYTES,
            outbuf_overflow=ANSWER_IN_MEMORY_BYTES,
            # Whom X-Forwarded-For is believed from, bridge/web/proxies.py decides.
            clear_untrusted_proxy_headers=False,
            # No answer tells what serves.
            ident=None,
            # A client that goes away is no news.
            log_socket_errors=False,
        )
        server.channel_class, server.add_task, server.is_stopping = _Channel, add_task, False
        return server

    def _run_loop_once(self) -> None:
        """Wait for what comes next, do it, and cut who takes too long."""
        self.notify()
        wasyncore.loop(timeout=LOOP_SECONDS, use_poll=True, map=self._socket_map, count=1)
        now = time.monotonic()
        if now > self._next_check_at:
            self._next_check_at = now + LOOP_SECONDS
            for channel in self._channels():
                channel.close_if_late(now)
        if len(self._socket_map) >= self._limit:
            self._close_longest_idle()

    def _close_longest_idle(self) -> None:
        """Close the connection that is idle for the longest, unless it is new."""
        oldest = min(self._idle(), key=lambda idle: idle.last_activity, default=None)
        if oldest and oldest.last_activity < time.time() - LAST_REQUEST_SECONDS:
            oldest.handle_close()

    def _stop(self, servers: list[Any]) -> None:
        """Answer what is in flight, and what the kernel has accepted already; then close."""
        now = time.monotonic()
        last_request_at, end_at = now + LAST_REQUEST_SECONDS, now + self.cfg.graceful_timeout
        for server in servers:
            server.is_stopping = True
        while select(self.sockets, (), (), 0)[0] and time.monotonic() < last_request_at:
            self._run_loop_once()
        for server in servers:
            server.accepting = False
        for listener in self.sockets:
            listener.close()
        while self._channels() and time.monotonic() < end_at:
            self._run_loop_once()
            for channel in self._idle() if time.monotonic() > last_request_at else ():
                channel.handle_close()

    def _channels(self) -> list[_Channel]:
        return [part for part in self._socket_map.values() if isinstance(part, _Channel)]

    def _idle(self) -> list[_Channel]:
        return [channel for channel in self._channels() if not channel.is_busy]


def _start_threads(count: int) -> Callable[[_Channel], None]:
    """Start threads, and return what gives a request to one of them.

    `/healthz` has one of its own, so that it is answered while all others wait for the database.
    """
    threads, liveness = ThreadedTaskDispatcher(), ThreadedTaskDispatcher()
    threads.set_thread_count(count)
    liveness.set_thread_count(1)

    def add_task(channel: _Channel) -> None:
        is_liveness = getattr(channel.requests[0], "path", "") == "/healthz"
        (liveness if is_liveness else threads).add_task(channel)

    return add_task
