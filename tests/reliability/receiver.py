"""A receiver that keeps a ledger: what arrived, whether its signature verifies, what was answered."""

import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from standardwebhooks import Webhook, WebhookVerificationError

from tests.reliability.database import Installation
from tests.steps.peers import Peer, Reply, Request

ACCEPTED = Reply(status_code=204)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reaction:
    """What a receiver does about one attempt: after `seconds` it answers, or hangs up with None."""

    reply: Reply | None = ACCEPTED
    seconds: float = 0.0


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
    "slow": (Reaction(seconds=1.2),) * 2,
    "flaky": (Reaction(reply=Reply(status_code=500)), GOOD),
    "silent-first": (Reaction(reply=None), GOOD),
    "hangs-first": (Reaction(seconds=30), GOOD),
    "later": (Reaction(reply=Reply(status_code=503, headers={"Retry-After": "2"})), GOOD),
    "gone": (Reaction(reply=Reply(status_code=410)),) * 2,
    "refuses": (Reaction(reply=Reply(status_code=400)),) * 2,
}


class Receiver:
    """Listens on loopback. The first part of a URL's path names the behaviour. Thread-safe."""

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self._secrets: dict[str, Webhook] = {}
        self._lock = threading.Lock()
        self._arrivals: list[Arrival] = []
        self._met: set[str] = set()
        self._peer = Peer(self._react)
        self._listening = self._peer.listening()

    def __enter__(self) -> Self:
        self._listening.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._listening.__exit__(kind, error, at)

    def url(self, installation: Installation, behaviour: str = "ok", host: str = "127.0.0.1") -> str:
        """Return a callback URL of the installation's client that behaves so."""
        self._secrets[installation.client] = Webhook(installation.secret)
        return f"http://{host}:{self._peer.port}/{behaviour}/{installation.client}"

    def arrivals(self, installation: Installation) -> list[Arrival]:
        """Return what has arrived; an attempt counts as soon as it is read, whatever it is answered."""
        with self._lock:
            return [arrival for arrival in self._arrivals if arrival.client == installation.client]

    def _react(self, request: Request) -> Reply | None:
        """Note one attempt; return what to answer, when it is time to."""
        _, behaviour, client = request.path.split("/")[:3]
        watch_id, outcome, verified = self._read(client, request)
        with self._lock:
            first, later = BEHAVIOURS[behaviour]
            reaction = later if watch_id in self._met else first
            self._met.add(watch_id)
            self._arrivals.append(
                Arrival(
                    client=client,
                    watch_id=watch_id,
                    webhook_id=request.headers["webhook-id"],
                    signed_at=int(request.headers["webhook-timestamp"]),
                    verified=verified,
                    body=request.body,
                    outcome=outcome,
                    accepted=reaction.reply is ACCEPTED,
                )
            )
        self._stopping.wait(reaction.seconds)
        return reaction.reply

    def _read(self, client: str, request: Request) -> tuple[str, str, bool]:
        try:
            data = self._secrets[client].verify(request.body, dict(request.headers))["data"]
        except WebhookVerificationError:
            return request.headers["webhook-id"], "", False
        return data["id"], data["outcome"], True
