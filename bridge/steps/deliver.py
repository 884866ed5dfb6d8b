"""The third step of a watch: claim its due callback, sign and POST it, and decide what follows."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import structlog
from sqlalchemy import Connection

from bridge import tracing
from bridge.core import circuit_breaker, delivery
from bridge.core.circuit_breaker import CircuitBreaker
from bridge.core.fairness import DueLane, Lane
from bridge.core.http_results import HttpResponse, NoResponse, NotSent
from bridge.core.operator_events import OperatorEvent, OperatorEventType, new_event
from bridge.core.watch import State, Watch
from bridge.db import breakers as store
from bridge.db import claims, clients
from bridge.db import watches as store_watches
from bridge.db.due_lanes import DueLanes
from bridge.db.encryption import Cipher, WrongSecretKey
from bridge.http.callbacks import CallbackSender

log = structlog.get_logger()

UNREADABLE = (
    "The signing secret of {!r} cannot be read with the keys in BRIDGE_SECRET_KEY. Add the key that it was "
    "encrypted with, or give the client a new secret: python -m bridge clients rotate-secret NAME."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class DeliveryJob:
    """A claimed watch in the state `delivering`, with the data for its callback.

    `hubspot_body` is HubSpot's last answer with a status of the task, as JSON text; None when HubSpot gave no such
    answer. `encrypted_secrets` holds the client's valid signing secrets, newest first. `host_recovering` is true when
    the host is paused, or in slow start.
    """

    watch: Watch
    hubspot_body: str | None
    encrypted_secrets: tuple[str, ...]
    claimed_at: datetime
    host_recovering: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class FinishedAttempt:
    """An attempt that was made, and what follows from it."""

    job: DeliveryJob
    decision: delivery.AttemptDecision

    @property
    def may_follow(self) -> bool:
        """Whether callbacks to the same host that wait in the pool may start; false after a Failure."""
        return isinstance(self.decision.signal, circuit_breaker.Success | None)

    @property
    def result(self) -> claims.StepResult:
        """The result for `claims.save`: the watch after the attempt, and the attempt."""
        return claims.StepResult(
            claimed=self.job.watch, watch=self.decision.watch, attempt=self.decision.attempt
        )


class Deliveries:
    """Claims due callbacks, sends them, and updates the circuit breakers of their hosts."""

    state = State.DELIVERING

    def __init__(
        self,
        *,
        callbacks: CallbackSender,
        cipher: Cipher,
        policy: delivery.RetryPolicy,
        claimant: claims.Claimant,
        clock: Callable[[], datetime],
        jitter: Callable[[], float],
    ) -> None:
        """`jitter` returns a random number from -1 to 1."""
        self._callbacks = callbacks
        self._cipher = cipher
        self._policy = policy
        self._claimant = claimant
        self._clock = clock
        self._jitter = jitter
        self._due = DueLanes(self.state)

    def lanes(
        self,
        connection: Connection,
        room: Callable[[Lane], int],
        in_flight: Mapping[Lane, int],
        now: datetime,
    ) -> dict[str, DueLane]:
        """Return a DueLane for each host with due callbacks, by the host's name.

        Hosts whose pause goes on are left out. `room` returns how many more jobs of a lane the worker's pool takes;
        `in_flight` holds how many jobs of each lane the pool has already.
        """
        due = self._due.look(connection, now)
        known = store.read_hosts(connection, due) if due else {}
        lanes = {}
        for name, since in due.items():
            breaker, lane = known.get(name, CircuitBreaker()), (self.state, name)
            lanes[name] = _due(since, breaker, room=room(lane), in_flight=in_flight.get(lane, 0))
        return lanes

    def claim(self, connection: Connection, shares: Mapping[str, int], now: datetime) -> list[DeliveryJob]:
        """Claim due callbacks, at most `shares[host]` to each host; return a job for each callback.

        During a host's pause, none of its callbacks is claimed; after the pause, only one at first: the trial.
        """
        if not shares:
            return []
        trial_shares = {}
        lease_ends_at = self._claimant.lease_ends_at(now)
        known = store.read_hosts(connection, shares)
        # In alphabetical order, as everywhere, so that workers that lock several rows cannot deadlock.
        for name, breaker in sorted(known.items()):
            if breaker.paused_until is not None:
                over = breaker.paused_until <= now
                trial_shares[name] = int(
                    over
                    and store.take_trial(connection, name, seen=breaker.paused_until, until=lease_ends_at)
                )
        watches = claims.claim(connection, self.state, {**shares, **trial_shares}, self._claimant, now)
        # The host's last due watch may have been withdrawn: then there is no callback for the trial.
        unused = {name for name, taken in trial_shares.items() if taken} - {w.callback_host for w in watches}
        store.release_trials(connection, self.state, {(name, lease_ends_at) for name in unused}, now)
        recovering = {name for name, breaker in known.items() if breaker.recovering}
        return self.jobs(connection, watches, {}, now, recovering=recovering)

    def claim_ended(
        self, connection: Connection, ended: Sequence[Watch], shares: Mapping[str, int], now: datetime
    ) -> dict[str, Watch]:
        """Choose, from `ended`, the watches to be delivered at once; return them by id, marked as claimed.

        `ended` holds watches whose tasks have just ended. At most `shares[host]` watches of a host are chosen. Hosts
        that are failing or recovering are skipped. Writes nothing: the caller saves the chosen watches, in the
        transaction of `connection`.
        """
        troubled = store.read_hosts(connection, {watch.callback_host for watch in ended})
        lease_ends_at = self._claimant.lease_ends_at(now)
        taken: Counter[str] = Counter()
        claimed = {}
        for watch in ended:
            host = watch.callback_host
            if host not in troubled and taken[host] < shares.get(host, 0):
                taken[host] += 1
                claimed[watch.id] = replace(watch, due_at=lease_ends_at, claimed_by=self._claimant.worker)
        return claimed

    def jobs(
        self,
        connection: Connection,
        watches: Sequence[Watch],
        bodies: Mapping[str, str],
        now: datetime,
        *,
        recovering: Collection[str] = (),
    ) -> list[DeliveryJob]:
        """Return a job for each claimed watch.

        `bodies` holds HubSpot's answers as JSON text, by watch id; missing answers are read from the database.
        `recovering` names the hosts that are paused or in slow start, for `DeliveryJob.host_recovering`.
        """
        if not watches:
            return []
        older = [watch.id for watch in watches if watch.id not in bodies]
        answers = {**store_watches.answers_of(connection, older), **bodies} if older else bodies
        secrets = clients.secrets_of(connection, {watch.client for watch in watches}, now)
        return [
            DeliveryJob(
                watch=watch,
                hubspot_body=answers.get(watch.id),
                encrypted_secrets=tuple(secrets.get(watch.client, ())),
                claimed_at=now,
                host_recovering=watch.callback_host in recovering,
            )
            for watch in watches
        ]

    def work(self, job: DeliveryJob) -> FinishedAttempt:
        """Sign and POST a callback, and decide what follows. Runs in a pool thread, outside any transaction."""
        started_at = self._clock()
        answer = self._answer(job, started_at)
        decision = delivery.after_attempt(
            job.watch,
            answer,
            started_at=started_at,
            now=self._clock(),
            policy=self._policy,
            jitter=self._jitter(),
        )
        return FinishedAttempt(job=job, decision=decision)

    def _answer(self, job: DeliveryJob, at: datetime) -> HttpResponse | NoResponse | NotSent:
        body = delivery.payload(job.watch, job.hubspot_body)
        try:
            # Decrypted here: a secret that cannot be decrypted fails only the callbacks of its own client.
            secrets = [self._cipher.decrypt(secret) for secret in job.encrypted_secrets]
        except WrongSecretKey:
            return NotSent(reason=UNREADABLE.format(job.watch.client))
        watch = job.watch
        with tracing.span("deliver", watch.traceparent, watch=watch.id) as traceparent:
            answer = self._callbacks.send(
                watch.callback_url, watch.id, body, secrets=secrets, at=at, traceparent=traceparent
            )
            tracing.record_answer(answer)
        return answer

    def record_attempts(
        self, connection: Connection, done: Sequence[FinishedAttempt], now: datetime
    ) -> list[OperatorEvent]:
        """Update hosts' circuit breakers from finished attempts; return the events for the operator."""
        by_host: dict[str, list[FinishedAttempt]] = defaultdict(list)
        for d in done:
            by_host[d.job.watch.callback_host].append(d)
        # Only hosts that have a row or have just failed are locked: mostly none.
        failed = {
            d.job.watch.callback_host for d in done if isinstance(d.decision.signal, circuit_breaker.Failure)
        }
        breakers = store.lock_hosts(connection, failed | store.read_hosts(connection, by_host).keys())
        after = {name: _breaker_after(breaker, by_host[name], now) for name, breaker in breakers.items()}
        store.save_hosts(connection, after)
        unsent = [d.job.watch for d in done if d.decision.signal is None]
        leases = {(watch.callback_host, watch.due_at) for watch in unsent if watch.due_at}
        store.release_trials(connection, self.state, leases, now)
        events = [_log_change(name, breaker, after[name], now) for name, breaker in breakers.items()]
        return [event for event in events if event]


def _due(since: datetime, breaker: CircuitBreaker, *, room: int, in_flight: int) -> DueLane:
    # A host's wait counts from the end of its pause, so that many dead hosts get their trials in turn.
    waits_since = max(since, breaker.paused_until or since)
    more = circuit_breaker.limit(breaker, room=room, in_flight=in_flight)
    return DueLane(since=waits_since, more=more, recovering=breaker.recovering)


def given_up_events(results: Sequence[claims.StepResult]) -> list[OperatorEvent]:
    """Return an event for the operator for each saved attempt after which the callback was given up."""
    return [
        new_event(
            OperatorEventType.CALLBACK_GIVEN_UP,
            result.watch.callback_host,
            result.watch.last_error,
            result.watch.settled_at,
        )
        for result in results
        if result.watch.settled_at and result.watch.state is State.UNDELIVERED
    ]


def _breaker_after(breaker: CircuitBreaker, done: Sequence[FinishedAttempt], now: datetime) -> CircuitBreaker:
    """Return the `breaker` of a host after the finished attempts `done`, taken one after the other.

    The signal of each attempt is applied to the breaker. An attempt that was not sent has no signal and changes
    nothing.
    """
    for d in done:
        if (signal := d.decision.signal) is not None:
            breaker = circuit_breaker.after_signal(
                breaker,
                signal,
                asked_at=d.job.claimed_at,
                now=now,
                policy=circuit_breaker.HOST_POLICY,
            )
    return breaker


def _log_change(
    host: str, before: CircuitBreaker, after: CircuitBreaker, now: datetime
) -> OperatorEvent | None:
    """Log that a host's pause began or ended; return the event for the operator, None when neither happened."""
    if after.paused and not before.paused:
        log.warning("host_paused", host=host, reason=after.reason)
        return new_event(OperatorEventType.HOST_PAUSED, host, after.reason, now)
    if before.paused and not after.paused:
        log.info("host_resumed", host=host)
        return new_event(OperatorEventType.HOST_RESUMED, host, "The receiver answers again.", now)
    return None
