"""The operator in the tests of operator webhooks: a server on loopback, and the events that are kept for it."""

from typing import Any

from sqlalchemy import func, select

from bridge.core.operator_events import OperatorEventType, new_event
from bridge.db.tables import operator_events
from bridge.http.callbacks import CallbackSender
from bridge.steps.operator_events import OperatorOutbox, OperatorWebhooks
from bridge.worker.loop import Worker
from tests.makers import SECRET
from tests.senders import a_sender
from tests.steps.peers import Peer, Scripts
from tests.steps.rig import LEASE_SECONDS, POLICY, Rig

HOST = "app.example.com"


class Operator:
    """The server at BRIDGE_OPERATOR_URL; `replies` are its replies, to any event."""

    def __init__(self, rig: Rig, peer: Peer, replies: Scripts) -> None:
        self.outbox = OperatorOutbox(is_enabled=True)
        self.replies = replies
        self.peer = peer
        self._rig = rig

    def webhooks(self, callbacks: CallbackSender | None = None) -> OperatorWebhooks:
        callbacks = callbacks or a_sender()
        self._rig.closing.callback(callbacks.close)
        return OperatorWebhooks(
            engine=self._rig.engine,
            callbacks=callbacks,
            url=self.peer.url("ops.example.com", "/ops"),
            secret=SECRET,
            policy=POLICY,
            lease_seconds=LEASE_SECONDS,
            clock=self._rig.clock,
            jitter=lambda: 0.0,
        )

    def worker(self, **others: Any) -> Worker:
        return self._rig.worker(outbox=self.outbox, **others)

    def keep(self, type_: OperatorEventType, subject: str = HOST) -> None:
        with self._rig.engine.begin() as connection:
            self.outbox.add(connection, [new_event(type_, subject, "It failed.", self._rig.clock())])

    def send_due(self, webhooks: OperatorWebhooks | None = None) -> list[dict[str, Any]]:
        """Send the events that are due, and return all that the operator has got since the test began."""
        sender = webhooks or self.webhooks()
        while sender.send_next():
            pass
        return [request.json for request in self.peer.requests]

    def send_due_counts(self) -> list[tuple[str, str, int]]:
        """As `send_due`, with each event's type, subject and count alone."""
        return [(said["type"], said["data"]["subject"], said["data"]["count"]) for said in self.send_due()]


def kept(rig: Rig) -> int:
    with rig.engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(operator_events)).scalar_one()
