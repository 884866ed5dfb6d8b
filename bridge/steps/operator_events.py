"""Saves events for the operator, such as the pause of an account, and POSTs them to the operator's URL."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta

import structlog
from sqlalchemy import Connection, Engine

from bridge.core.circuit_breaker import CircuitBreaker
from bridge.core.delivery import RetryPolicy, attempt_error, wait_seconds
from bridge.core.http_results import HttpResponse, NoResponse, NotSent
from bridge.core.operator_events import OperatorEvent, OperatorEventType, new_event, payload
from bridge.db import heartbeats
from bridge.db import operator_events as store
from bridge.db.engine import reading
from bridge.http.callbacks import CallbackSender

log = structlog.get_logger()

# The longest time-out of an attempt, even if BRIDGE_CALLBACK_TIMEOUT is longer: a worker that stops waits so long.
ATTEMPT_SECONDS = 10.0
SILENCE = "It gave no sign of life for a minute, and did not say that it stops: it was killed, or hangs."


class OperatorOutbox:
    """Saves events for the operator, in the transaction of the change that causes them.

    Saves nothing unless `is_enabled`, which means that BRIDGE_OPERATOR_URL is set.
    """

    def __init__(self, *, is_enabled: bool) -> None:
        self._is_enabled = is_enabled

    def add(self, connection: Connection, events: Iterable[OperatorEvent]) -> None:
        """Save the events. Call this last in a transaction: the saved rows stay locked until the commit."""
        if self._is_enabled:
            store.add(connection, events)


NO_OPERATOR = OperatorOutbox(is_enabled=False)


class OperatorWebhooks:
    """Sends saved events to the operator's URL, signed and retried like callbacks.

    Several processes may send at the same time.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        callbacks: CallbackSender,
        url: str,
        secret: str,
        policy: RetryPolicy,
        lease_seconds: float,
        clock: Callable[[], datetime],
        jitter: Callable[[], float],
    ) -> None:
        """`lease_seconds` must exceed an attempt's time-out; `jitter` returns a random number from -1 to 1."""
        self._engine = engine
        self._callbacks = callbacks
        self._url = url
        self._secret = secret
        self._policy = policy
        self._lease = timedelta(seconds=lease_seconds)
        self._clock = clock
        self._jitter = jitter

    def send_next(self) -> bool:
        """Try to send the event that has been due longest and may be sent now.

        Returns False if there is no such event; otherwise True, even if the attempt fails or another process is
        faster.
        """
        now = self._clock()
        with reading(self._engine) as connection:
            due_id = store.next_due(connection, now)
        if due_id is None:
            return False
        with self._engine.begin() as connection:
            claimed = store.claim(connection, due_id, now, lease_ends_at=now + self._lease)
        if claimed is not None:
            answer = self._post(claimed, now)
            self._save(claimed, answer)
        return True

    def _post(self, claimed: store.ClaimedEvent, now: datetime) -> HttpResponse | NoResponse | NotSent:
        return self._callbacks.send(
            self._url,
            claimed.id,
            payload(claimed.event),
            secrets=[self._secret],
            at=now,
            within_seconds=ATTEMPT_SECONDS,
        )

    def _save(self, claimed: store.ClaimedEvent, answer: HttpResponse | NoResponse | NotSent) -> None:
        """Save and log the result of an attempt."""
        now, event, error = self._clock(), claimed.event, attempt_error(answer)
        due_at = self._next_attempt_at(claimed, answer, now) if error else None
        with self._engine.begin() as connection:
            store.save(connection, claimed, due_at=due_at, now=now)
        if error:
            # A failure adds no event for the operator: it would be sent to the same URL.
            log.warning(
                "operator_webhook_failed",
                type=event.type,
                subject=event.subject,
                error=error,
                next_attempt_at=due_at,
            )
        else:
            log.info("operator_webhook_sent", type=event.type, subject=event.subject, count=event.count)

    def _next_attempt_at(
        self, claimed: store.ClaimedEvent, answer: HttpResponse | NoResponse | NotSent, now: datetime
    ) -> datetime | None:
        wait = wait_seconds(claimed.attempts - 1, answer, self._policy, now=now, jitter=self._jitter())
        return None if wait is None else now + timedelta(seconds=wait)


def silent_workers(connection: Connection, now: datetime) -> list[OperatorEvent]:
    """Return an event for each worker that has newly fallen silent, and mark these workers as reported."""
    found = heartbeats.newly_silent(connection, now)
    return [new_event(OperatorEventType.WORKER_SILENT, name, SILENCE, at) for name, at in found.items()]


def pauses_over(pruned: Mapping[str, CircuitBreaker], now: datetime) -> list[OperatorEvent]:
    """Return a HOST_RESUMED event for each host whose breaker in `pruned` was still paused.

    `pruned` holds deleted breakers, by host. Each was deleted because its host has no callback left to send. Without a
    callback there is no trial request that could end the pause; the deletion has ended it.
    """
    over = (host for host, breaker in pruned.items() if breaker.paused)
    why = "No callback is left to be sent to it."
    return [new_event(OperatorEventType.HOST_RESUMED, host, why, now) for host in over]
