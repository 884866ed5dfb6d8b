"""HubSpot and receivers on real sockets, with the replies of a test."""

import json
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One request, as it came; `headers` has lower-case names."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """What a peer answers."""

    status_code: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


def reply(status_code: int, **headers: str) -> Reply:
    """Return a reply whose body is not JSON; a header's name has `_` for `-`."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status_code=status_code, body=b"said so\x00", headers=names)


def saying(said: Any, status_code: int = 200, **headers: str) -> Reply:
    """Return a reply whose body is JSON; a header's name has `_` for `-`."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status_code=status_code, body=json.dumps(said).encode(), headers=names)


class Server(ThreadingHTTPServer):
    request_queue_size = 256  # as many may knock at once
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that was killed, and hung up so."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Peer:
    """Listens on loopback. `answer` returns the reply to a request, in a thread for each connection; None hangs up.

    `requests` holds what came, in order; `most_at_once` how many were answered at the same time, at the most.
    """

    def __init__(self, answer: Callable[[Request], Reply | None]) -> None:
        self.answer = answer
        self.requests: list[Request] = []
        self.most_at_once = 0
        self._at_once = 0
        self._came = threading.Condition()
        self._server = Server(("127.0.0.1", 0), self._handler())
        self.port = self._server.server_address[1]

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def url(self, host: str = "app.example.com", path: str = "/hook") -> str:
        """The address for callbacks; every name leads here."""
        return f"http://{host}:{self.port}{path}"

    def wait_for(self, count: int) -> None:
        """Wait until so many requests have come."""
        with self._came:
            assert self._came.wait_for(lambda: len(self.requests) >= count, TIMEOUT_SECONDS)

    def count(self, path: str) -> int:
        """How many requests there were for this path."""
        return Counter(request.path for request in self.requests)[path]

    @contextmanager
    def listening(self) -> Iterator["Peer"]:
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()

    def stop_listening(self) -> None:
        """From now on connections are refused."""
        self._server.socket.close()

    def _take(self, request: Request) -> Reply | None:
        with self._came:
            self.requests.append(request)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            self._came.notify_all()
        try:
            return self.answer(request)
        finally:
            with self._came:
                self._at_once -= 1

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        take = self._take

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except OSError:
                    self.close_connection = True  # the client has gone

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                body = self.rfile.read(length)
                request = Request(method=self.command, path=self.path, headers=headers, body=body)
                # A sender that died in the middle has sent no request.
                reply = take(request) if len(body) == length else None
                if reply is None:
                    self.close_connection = True
                    return
                self.send_response(reply.status_code)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                self.wfile.write(reply.body)

            def do_GET(self) -> None:
                self.do_POST()

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        return Handler


class Scripts:
    """Replies by name: the next one of a list each time; the last one is repeated."""

    def __init__(self, default: Reply) -> None:
        self._default = default
        self._replies: dict[str, list[Reply]] = defaultdict(list)
        self._lock = threading.Lock()

    def set(self, name: str, *replies: Reply) -> None:
        with self._lock:
            self._replies[name] = list(replies)

    def next(self, name: str) -> Reply:
        with self._lock:
            replies = self._replies[name]
            if not replies:
                return self._default
            return replies.pop(0) if len(replies) > 1 else replies[0]
