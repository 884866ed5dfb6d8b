"""A worker: fills its seats with due steps and saves what comes of them, in small batches.

Only what will start in a moment is claimed, and what does not start is given back. One thread
claims and saves; the seats only talk, and no transaction is open while they do.
"""

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

import structlog
from sqlalchemy import Connection, Engine

from bridge.core import fairness as sharing
from bridge.core.fairness import Lane
from bridge.core.watch import State, Watch
from bridge.db import claims, lost_leases
from bridge.db.engine import AWAY, reading
from bridge.steps import deliver, poll
from bridge.worker.pool import Done, Job, Seats

log = structlog.get_logger()

# While seats are busy, due work is looked for as often as the clock ticks.
TICK_SECONDS = 0.25
# While rounds fail, most likely because the database is away, there are fewer; what is done waits to be saved.
AWAY_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0)
# No host may hold more than this share of the seats.
HOST_SHARE = 4
# What could not start in this time is given back: whoever has a seat may have it. It is less than the
# quota's slack, so that what has waited cannot burst.
PATIENCE_SECONDS = 0.4


class Worker:
    """Polls and delivers with `concurrency` requests in flight. `shift` and `stop` may race."""

    def __init__(
        self,
        *,
        engine: Engine,
        polls: poll.Polls,
        deliveries: deliver.Deliveries,
        worker_id: str,
        concurrency: int,
        clock: Callable[[], datetime],
    ) -> None:
        self.id = worker_id
        self._engine = engine
        self._polls = polls
        self._deliveries = deliveries
        self._clock = clock
        self._at_once = {State.WATCHING: concurrency, State.DELIVERING: max(1, concurrency // HOST_SHARE)}
        self._seats = Seats(concurrency, self._work, at_once=self._at_once, patience_seconds=PATIENCE_SECONDS)
        self._unsaved: list[Done] = []
        self._unstarted: list[Watch] = []
        self._failures = 0
        self._shift = threading.Lock()
        self._stopping = threading.Event()
        self._stop_at = math.inf
        self._round_at = time.monotonic()

    @property
    def idle_seconds(self) -> float:
        """How long ago the last round ended well: much more than a tick means that something is stuck."""
        return time.monotonic() - self._round_at

    def shift(self) -> None:
        """Work until nothing is due and nobody is at work. One shift at a time."""
        with self._shift:
            while self._round() and time.monotonic() < self._stop_at:
                pass

    def wind_down(self, grace_seconds: float) -> None:
        """Claim nothing more, and end the shift when what is in flight is done or the grace is over."""
        # A second signal may come while the first one is at the Event: it must not touch it.
        if self._stop_at == math.inf:
            self._stop_at = time.monotonic() + grace_seconds
            self._stopping.set()

    def stop(self, grace_seconds: float) -> None:
        """Wind down, and give back what could not be finished. Counts from the first wind-down."""
        self.wind_down(grace_seconds)
        self.shift()
        with self._shift:
            self._seats.close()
            self._unstarted += [job.watch for job in self._seats.seated]
            if given := self._give_back():
                log.warning("leases_given_back", watches=given)

    def _round(self) -> bool:
        """Collect, save, claim. False when there is nothing more to wait for."""
        self._unsaved += self._seats.collect(TICK_SECONDS)
        self._unstarted += [job.watch for job in self._seats.take_back(everything=self._stopping.is_set())]
        wait = AWAY_SECONDS[min(self._failures, len(AWAY_SECONDS) - 1)]
        try:
            self._save_all()
            self._give_back()
            if not self._stopping.is_set():
                self._seat(self._claim())
        except AWAY as error:
            # Its first line is the driver's own; the SQL with its parameters follows below.
            log.warning("database_away", error=str(error).splitlines()[0], retry_in_seconds=wait)
            self._back_off(wait)
        except Exception:
            log.exception("round_crashed", retry_in_seconds=wait)
            self._back_off(wait)
        else:
            self._failures = 0
            self._round_at = time.monotonic()
        return bool(self._seats.seated or self._unsaved or self._unstarted)

    def _give_back(self) -> int:
        if not self._unstarted:
            return 0
        with self._engine.begin() as connection:
            given = claims.give_back(connection, self._unstarted, self.id, self._clock())
        self._unstarted = []
        return given

    def _seat(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            self._seats.seat(job)

    def _back_off(self, seconds: float) -> None:
        self._failures += 1
        if self._stopping.wait(seconds):
            # A worker that stops has no time for long waits, and still must not ask without any.
            time.sleep(AWAY_SECONDS[0])

    def _work(self, job: Job) -> Done | None:
        """Do a job, unless its lease is over: a process that was stopped comes back to what others do now."""
        if job.watch.due_at is None or job.watch.due_at <= self._clock():
            log.warning("lease_lost", watch=job.watch.id, state=job.watch.state)
            return None
        return self._polls.work(job) if isinstance(job, poll.Job) else self._deliveries.work(job)

    def _claim(self) -> list[Job]:
        if self._seats.room <= 0:
            return []
        now = self._clock()
        with reading(self._engine) as connection:
            due = {
                (step.state, name): lane
                for step in (self._deliveries, self._polls)
                for name, lane in step.lanes(connection, self._seats.room_of, now).items()
            }
        if not due:
            return []
        probes = sum(isinstance(job, deliver.Job) and job.probes for job in self._seats.seated)
        more = sharing.longest_first(due, recovering=self._at_once[State.DELIVERING] - probes)
        most = {lane: self._seats.held[lane] + count for lane, count in more.items()}
        shares = sharing.share(self._seats.room, self._seats.held, most)
        with self._engine.begin() as connection:
            return [
                *self._deliveries.claim(connection, _of(State.DELIVERING, shares), now),
                *self._polls.claim(connection, _of(State.WATCHING, shares), now),
            ]

    def _save_all(self) -> None:
        """Save all that is done in one transaction, and seat the callbacks that may start at once."""
        if not self._unsaved:
            return
        try:
            self._seat(self._save(self._unsaved))
            self._unsaved = []
        except AWAY:
            raise
        except Exception:  # noqa: BLE001 -- told for the one result that causes it, below
            self._save_each()

    def _save_each(self) -> None:
        """One result that cannot be saved, for whatever reason, must not take the others with it."""
        while self._unsaved:
            done = self._unsaved[0]
            try:
                self._seat(self._save([done]))
            except AWAY:
                raise
            except Exception:
                log.exception("result_refused", watch=done.job.watch.id)
            self._unsaved.pop(0)

    def _save(self, done: Sequence[Done]) -> list[Job]:
        polled = [d for d in done if isinstance(d, poll.Done)]
        attempted = [d for d in done if isinstance(d, deliver.Done)]
        now = self._clock()
        with self._engine.begin() as connection:
            results = [*self._handed_on(connection, polled, now), *(d.result for d in attempted)]
            kept = claims.save(connection, results, self.id)
            # Hosts before accounts, as in a claim: two workers must not wait for each other in a circle.
            if attempted:
                self._deliveries.learn(connection, attempted, now)
            if polled:
                self._polls.learn(connection, polled, now)
            lost_leases.count(connection, now.date(), len(results) - len(kept))
            jobs = self._next_jobs(connection, kept, now)
        _tell(done, kept)
        return list(jobs)

    def _handed_on(
        self, connection: Connection, polled: Sequence[poll.Done], now: datetime
    ) -> list[claims.Result]:
        """Claim the callbacks of tasks that have just ended in the commit that says so."""
        results = [d.result for d in polled]
        ended = [r.watch for r in results if r.watch.state is State.DELIVERING]
        if not ended or self._stopping.is_set():
            return results
        hosts = ((State.DELIVERING, watch.callback_host) for watch in ended)
        most = {host: self._seats.held[host] + self._seats.room_of(host) for host in hosts}
        shares = _of(State.DELIVERING, sharing.share(self._seats.room, self._seats.held, most))
        claimed = self._deliveries.claimed(connection, ended, shares, now)
        return [replace(r, watch=claimed.get(r.watch.id, r.watch)) for r in results]

    def _next_jobs(
        self, connection: Connection, kept: Sequence[claims.Result], now: datetime
    ) -> Sequence[Job]:
        mine = [r for r in kept if r.watch.claimed_by == self.id]
        hubspot = {r.watch.id: r.hubspot for r in mine if r.hubspot is not None}
        return self._deliveries.jobs(connection, [r.watch for r in mine], hubspot, now)


def _of(state: State, shares: dict[Lane, int]) -> dict[str, int]:
    return {name: count for (of, name), count in shares.items() if of is state}


def _tell(done: Sequence[Done], kept: Sequence[claims.Result]) -> None:
    ids = {result.watch.id for result in kept}
    for late in (d.job.watch for d in done if d.job.watch.id not in ids):
        log.warning("lease_lost", watch=late.id, state=late.state)
    for result in kept:
        watch = result.watch
        if result.attempt is not None:
            log.info(
                "callback_attempted",
                watch=watch.id,
                number=result.attempt.number,
                status_code=result.attempt.status_code,
                error=result.attempt.error,
                state=watch.state,
            )
        elif watch.outcome is not None:
            log.info("task_ended", watch=watch.id, outcome=watch.outcome, polls=watch.polls)
