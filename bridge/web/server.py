"""The HTTP server of the web processes: gunicorn manages the processes, waitress serves HTTP in them.

This module adds five things to waitress:

- time-outs for slow clients;
- buffers for long responses, so that no thread waits for a client that reads slowly;
- error responses in the form of RFC 9457;
- a late close of connections whose request was refused before all of it was sent, so that the client can read why;
- a shutdown that gives open requests time to finish.

waitress has no documented way to any of these. What each needs of waitress's own classes, and what fails without it, is
in docs/decisions/11-waitress-serves.md.
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

from bridge.web.bodies import LARGEST_BYTES, TOO_LARGE
from bridge.web.problems import Problem
from bridge.web.request_log import HEADER, record_server_response
from bridge.web.serving import respond

# A client must send a request within this time. A body has at most 1 MiB, and clients are servers with fast networks.
REQUEST_TIMEOUT_SECONDS = 10.0
# A connection is closed when the client reads nothing of a waiting response for so long.
SEND_TIMEOUT_SECONDS = 60.0
# When the process stops, it still accepts requests for so long, because some may be on their way already.
LAST_REQUEST_SECONDS = 1.0
# The longest that the loop waits for events. Connections are checked for time-outs about as often.
LOOP_SECONDS = 0.5
# A body that exceeds this is refused while it is being sent. A chunked body of 1 MiB is longer, because each chunk
# adds its framing.
MAX_FRAMED_BYTES = 2 * LARGEST_BYTES
MAX_HEADER_BYTES = 32 * 1024
# Beyond these sizes, bodies and unsent responses go to temporary files: 400 clients must not fill the memory, and
# ordinary responses must not need the disk.
BODY_IN_MEMORY_BYTES = 128 * 1024
ANSWER_IN_MEMORY_BYTES = 1024 * 1024
# A longer response continues in a new file or memory buffer, because what is sent is only freed with its whole buffer.
ANSWER_FILE_BYTES = 16 * 1024 * 1024
# The most that all clients together may leave unread, which also bounds the files: about 32 and one for each client.
MAX_UNSENT_BYTES = 512 * 1024 * 1024

# Whether gunicorn.conf.py has been read, in this process or before the fork. It migrates the database, and starts and
# stops the embedded worker, so app.py refuses to start without it.
is_configured = False

# Used instead of waitress's messages, which may quote the request, even an API key that was sent in the wrong place.
_ERROR_DETAILS = {
    400: "The request is not well-formed HTTP.",
    413: TOO_LARGE,
    431: "The address and the headers are too long: 32 KiB at most.",
    501: "The only transfer coding that is understood is chunked.",
}


class _ProblemTask(ErrorTask):  # type: ignore[misc] # waitress has no types
    """Sends a problem (RFC 9457) when waitress refuses a request, or an exception reaches waitress."""

    def execute(self) -> None:
        status = self.request.error.code
        problem = Problem(
            status=status, detail=_ERROR_DETAILS.get(status, "The request failed; the log says why.")
        )
        # Not `self.request`: for a 500, waitress makes another one. Headers that were not parsed are not there.
        sent_id = self.channel.requests[0].headers.get("X_REQUEST_ID", "")
        request_id = record_server_response(self.channel.server.application, status, sent_id)
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
    """Calls the application; while the process is stopping, the connection is closed after the response."""

    def build_response_header(self) -> bytes:
        if self.channel.server.is_stopping:
            self.set_close_on_finish()
        return bytes(super().build_response_header())


class _Channel(HTTPChannel):  # type: ignore[misc] # waitress has no types
    """A client's connection.

    Of the methods defined here, only `_flush_outbufs_below_high_watermark` runs in a request thread: the inherited
    `service` calls it there. All others run in the thread of waitress's loop.
    """

    task_class = _RequestTask
    error_task_class = _ProblemTask
    # True once a _ProblemTask has run; all bytes that the client still sends are then discarded.
    is_refused = False
    _is_lingering = False  # true while the client gets time to read an error response

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        # The connection is closed at this time.monotonic(), unless by then the first request has begun or the current
        # request is complete. None between requests.
        self._deadline: float | None = time.monotonic() + REQUEST_TIMEOUT_SECONDS

    def received(self, data: bytes) -> bool:
        """Process received bytes; return False when they are discarded."""
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
        """Close the connection; after an error response of waitress itself, first give the client 10 s to read it."""
        if self.is_refused and not self._is_lingering and not self.total_outbufs_len:
            # Closing with unread bytes resets the connection: the response may get lost (RFC 9112, 9.6).
            self._is_lingering, self.will_close = True, False
            self._deadline = time.monotonic() + REQUEST_TIMEOUT_SECONDS
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_WR)
                return
        super().handle_close()

    def _flush_outbufs_below_high_watermark(self) -> None:
        """Do nothing, so that no request thread waits for a client that reads a long response slowly.

        Replaces waitress's own method, which makes the thread wait while much of the response is unread.
        """

    @property
    def is_busy(self) -> bool:
        """Whether a request is being received or answered, or a response is not sent completely."""
        return bool(self.request or self.requests or self.total_outbufs_len or self.close_when_flushed)

    def close_if_late(self, now: float) -> None:
        """Close the connection if the client takes too long to send or to read; `now` is time.monotonic()."""
        if self._deadline and self.requests:
            # Nothing is read while a request is being answered, so the time for the next request starts afterwards.
            self._deadline = now + REQUEST_TIMEOUT_SECONDS
        is_late = self._deadline and now > self._deadline
        is_unread = self.total_outbufs_len and time.time() > self.last_activity + SEND_TIMEOUT_SECONDS
        if is_late or is_unread:
            self.handle_close()


class WaitressWorker(Worker):  # type: ignore[misc] # gunicorn has no types
    """The gunicorn worker class: gunicorn manages the process, and waitress serves HTTP in it."""

    def run(self) -> None:
        """Serve until the process is stopped; then give open requests `graceful_timeout` seconds to finish."""
        # This logger would warn of each request that waits for a thread.
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)
        # A connection takes two descriptors: its own, and one for what its request opens.
        self._limit = min(self.cfg.worker_connections, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
        # The sockets of waitress's loop, by descriptor.
        self._socket_map: dict[int, Any] = {}
        # When connections are next checked for time-outs (time.monotonic()).
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
            # All listeners share the threads of `_start_threads`.
            threads=0,
            backlog=self.cfg.backlog,
            connection_limit=self._limit,
            channel_timeout=self.cfg.keepalive,
            max_request_header_size=MAX_HEADER_BYTES,
            max_request_body_size=MAX_FRAMED_BYTES,
            inbuf_overflow=BODY_IN_MEMORY_BYTES,
            outbuf_overflow=ANSWER_IN_MEMORY_BYTES,
            outbuf_high_watermark=ANSWER_FILE_BYTES,
            # X-Forwarded-Proto must reach the application: it decides whether the session cookie is `Secure`.
            clear_untrusted_proxy_headers=False,
            # No Server header.
            ident=None,
            # A client that disconnects is not worth a log line.
            log_socket_errors=False,
        )
        server.channel_class, server.add_task, server.is_stopping = _Channel, add_task, False
        return server

    def _run_loop_once(self) -> None:
        """Wait up to LOOP_SECONDS for events and handle them; close the connections of clients that are too slow."""
        self.notify()  # tells gunicorn that the process is alive
        wasyncore.loop(timeout=LOOP_SECONDS, use_poll=True, map=self._socket_map, count=1)
        now = time.monotonic()
        if now > self._next_check_at:
            self._next_check_at = now + LOOP_SECONDS
            for channel in self._channels():
                channel.close_if_late(now)
            self._close_fullest()
        if len(self._socket_map) >= self._limit:
            self._close_longest_idle()

    def _close_fullest(self) -> None:
        """If all connections together have over MAX_UNSENT_BYTES unsent bytes, close the one with the most."""
        channels = self._channels()
        if sum(channel.total_outbufs_len for channel in channels) > MAX_UNSENT_BYTES:
            max(channels, key=lambda channel: channel.total_outbufs_len).handle_close()

    def _close_longest_idle(self) -> None:
        """Make room for a new connection: close the longest idle one if it has been idle for over 1 s."""
        oldest = min(self._idle(), key=lambda idle: idle.last_activity, default=None)
        if oldest and oldest.last_activity < time.time() - LAST_REQUEST_SECONDS:
            oldest.handle_close()

    def _stop(self, servers: list[Any]) -> None:
        """Stop serving within `graceful_timeout` seconds.

        First, the connections in the listeners' queues are accepted, and the listeners are closed. An idle connection
        may send one more request during the first LAST_REQUEST_SECONDS of the stop. After that, idle connections are
        closed. Requests that have begun to arrive are finished. Each response closes its connection.
        """
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
    """Start `count` threads for requests and one for `/healthz`; return the function that queues a request."""
    # `/healthz` must be answered while all other threads wait for the database.
    threads, liveness = ThreadedTaskDispatcher(), ThreadedTaskDispatcher()
    threads.set_thread_count(count)
    liveness.set_thread_count(1)

    def add_task(channel: _Channel) -> None:
        is_liveness = getattr(channel.requests[0], "path", "") == "/healthz"
        (liveness if is_liveness else threads).add_task(channel)

    return add_task
