"""A receiver that keeps a ledger: what arrived, whether its signature verifies, what was answered."""

import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from standardwebhooks import Webhook, WebhookVerificationError

from tests.reliability.database import Site

ACCEPTED = 204

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Reaction:
    """What a receiver does about one attempt: after `seconds` it answers, or hangs up with None."""

    status_code: int | None = ACCEPTED
    seconds: float = 0.0
    headers: Headers = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrival:
    """One attempt as the receiver saw it. `signed_at`: epoch seconds, the attempt's own."""

    client: str
    watch_id: str
    webhook_id: str
    signed_at: int
    verified: bool
    body: bytes
    outcome: str
    accepted: bool  # it was answered with a 2xx, unless the sender hung up first


# How a path answers a watch's first attempt, as the receiver counts, and the later ones.
GOOD = Reaction()
BEHAVIOURS = {
    "ok": (GOOD, GOOD),
    "slow": (Reaction(seconds=1.2), Reaction(seconds=1.2)),
    "flaky": (Reaction(status_code=500), GOOD),
    "silent-first": (Reaction(status_code=None), GOOD),
    "hangs-first": (Reaction(seconds=30), GOOD),
    "later": (Reaction(status_code=503, headers=(("Retry-After", "2"),)), GOOD),
    "gone": (Reaction(status_code=410), Reaction(status_code=410)),
    "refuses": (Reaction(status_code=400), Reaction(status_code=400)),
}


class Receiver:
    """Listens on loopback. The first part of a URL's path names the behaviour. Thread-safe."""

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self._secrets: dict[str, Webhook] = {}
        self._lock = threading.Lock()
        self._arrivals: list[Arrival] = []
        self._met: set[str] = set()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def url(self, site: Site, behaviour: str = "ok", host: str = "127.0.0.1") -> str:
        """Return a callback URL of the site's client that behaves so."""
        self._secrets[site.client] = Webhook(site.secret)
        return f"http://{host}:{self._server.server_port}/{behaviour}/{site.client}"

    def arrivals(self, site: Site) -> list[Arrival]:
        """Return what has arrived; an attempt counts as soon as it is read, whatever it is answered."""
        with self._lock:
            return [arrival for arrival in self._arrivals if arrival.client == site.client]

    def receive(self, path: str, body: bytes, headers: dict[str, str]) -> Reaction:
        """Note one attempt; return what to answer, when it is time to."""
        _, behaviour, client = path.split("/")[:3]
        watch_id, outcome, verified = self._read(client, body, headers)
        with self._lock:
            first, later = BEHAVIOURS[behaviour]
            reaction = later if watch_id in self._met else first
            self._met.add(watch_id)
            self._arrivals.append(
                Arrival(
                    client=client,
                    watch_id=watch_id,
                    webhook_id=headers["webhook-id"],
                    signed_at=int(headers["webhook-timestamp"]),
                    verified=verified,
                    body=body,
                    outcome=outcome,
                    accepted=reaction.status_code == ACCEPTED,
                )
            )
        self._stopping.wait(reaction.seconds)
        return reaction

    def _read(self, client: str, body: bytes, headers: dict[str, str]) -> tuple[str, str, bool]:
        try:
            data = self._secrets[client].verify(body, headers)["data"]
        except WebhookVerificationError:
            return headers["webhook-id"], "", False
        return data["id"], data["outcome"], True


class _Server(ThreadingHTTPServer):
    # A burst of callbacks must not wait for the system to try again: the default is 5.
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a process that is killed hangs up."""


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            body = self.rfile.read(length)
            if len(body) < length:
                # Whoever sent it died in the middle: nothing has arrived.
                self.close_connection = True
                return
            reaction = receiver.receive(self.path, body, {n.lower(): v for n, v in self.headers.items()})
            if reaction.status_code is None:
                self.close_connection = True
                return
            self.send_response(reaction.status_code)
            for name, value in (*reaction.headers, ("Content-Length", "0")):
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """The ledger tells."""

    return Handler
