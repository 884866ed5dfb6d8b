"""The worker's loop: collect results, save them in one transaction, claim due watches, submit them to the pool.

One thread at a time runs the loop. The pool's threads send the requests, outside any transaction.
"""

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import structlog
from sqlalchemy import Connection, Engine

from bridge.core import fairness
from bridge.core.fairness import Lane
from bridge.core.watch import State, Watch
from bridge.db import claims
from bridge.db.counters import Counters
from bridge.db.engine import UNAVAILABLE, reading
from bridge.steps import deliver, poll
from bridge.steps.operator_events import NO_OPERATOR, OperatorOutbox
from bridge.worker.pool import Finished, Job, WorkerPool
from bridge.worker.reporting import log_and_count

log = structlog.get_logger()

# While the pool has room, the loop looks for due watches at least this often, and at once when results come.
TICK_SECONDS = 0.25
# How long the loop waits after the first, second, … failure in a row; the last wait repeats. Most failures are of the
# database. While it is away, results that could not be saved are kept.
BACK_OFF_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0)
# A loop that has not succeeded for this long hangs or fails. An error or two, as of a failover, are no such break.
HANGS_AFTER = timedelta(seconds=30)
# A host's callbacks may use at most one in HOST_SHARE of the pool's threads.
HOST_SHARE = 4
# A job that has not started in this time is given back, so that a worker with a free thread can claim it. The quota's
# slack is longer (`core.quota.SLACK_SECONDS`), so polls that have waited cannot reach HubSpot as too large a burst.
START_WITHIN_SECONDS = 0.4


class Worker:
    """Polls HubSpot and delivers callbacks, with up to `concurrency` requests in flight.

    One thread may call `stop` while another runs `drain`.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        polls: poll.Polls,
        deliveries: deliver.Deliveries,
        worker_id: str,
        concurrency: int,
        clock: Callable[[], datetime],
        counters: Counters,
        outbox: OperatorOutbox = NO_OPERATOR,
    ) -> None:
        self.id = worker_id
        self._counters = counters
        self._engine = engine
        self._polls = polls
        self._deliveries = deliveries
        self._clock = clock
        self._outbox = outbox
        self._max_per_lane = {
            State.WATCHING: concurrency,
            State.DELIVERING: max(1, concurrency // HOST_SHARE),
        }
        self._concurrency = concurrency
        self._pool = WorkerPool(
            concurrency,
            self._work,
            max_per_lane=self._max_per_lane,
            start_within_seconds=START_WITHIN_SECONDS,
        )
        self._unsaved: list[Finished] = []
        self._unstarted: list[Watch] = []
        self._failures = 0
        self._draining = threading.Lock()
        self._stopping = threading.Event()
        self._stop_at = math.inf
        self._succeeded_at = self._steady_since = clock()

    def steady_since(self, now: datetime) -> datetime | None:
        """Return the instant since which the loop has run without long breaks; None during a long break.

        A long break is a time of HANGS_AFTER or more without a successful pass of the loop. The next successful pass
        ends the break. A break can have any cause: the database was away, the loop hung, the process or the machine
        was suspended.
        """
        return self._steady_since if self._is_steady(now) else None

    def _is_steady(self, now: datetime) -> bool:
        # By the clock that also tells deadlines: a jump of that clock, in either direction, is a break, too.
        return abs(now - self._succeeded_at) < HANGS_AFTER

    def drain(self) -> None:
        """Claim and do jobs until there is none left to claim, no request is in flight and no result is unsaved.

        After `wind_down`, claims nothing more, and returns when its `grace_seconds` are over at the latest.
        """
        with self._draining:
            while self._iterate() and time.monotonic() < self._stop_at:
                pass

    def wind_down(self, grace_seconds: float) -> None:
        """Stop claiming; `drain` then returns when nothing is in flight or unsaved, or after `grace_seconds`.

        May be called in a signal handler. Calls after the first change nothing.
        """
        # A second signal may interrupt the first one's handler inside `set`, which holds a lock.
        if self._stop_at == math.inf:
            self._stop_at = time.monotonic() + grace_seconds
            self._stopping.set()

    def stop(self, grace_seconds: float) -> None:
        """Stop claiming, wait for the requests in flight, and give back the watches of unfinished requests.

        The wait takes up to `grace_seconds`. The first call of `wind_down` or `stop` sets the end of the wait; in
        later calls `grace_seconds` is ignored. May raise one of the errors in UNAVAILABLE, when the database is away.
        """
        self.wind_down(grace_seconds)
        self.drain()
        with self._draining:
            self._pool.close()
            self._unstarted += [job.watch for job in self._pool.jobs]
            if given := self._give_back():
                log.warning("leases_given_back", watches=given)

    def _iterate(self) -> bool:
        """Make one pass: collect the results of jobs, save them, and claim due watches.

        Returns whether anything is left to finish: jobs, unsaved results, or watches to give back.
        """
        self._unsaved += self._pool.collect(TICK_SECONDS)
        self._unstarted += [job.watch for job in self._pool.take_back(everything=self._stopping.is_set())]
        wait = BACK_OFF_SECONDS[min(self._failures, len(BACK_OFF_SECONDS) - 1)]
        try:
            self._save_all()
            self._give_back()
            if not self._stopping.is_set():
                self._submit(self._claim())
        except UNAVAILABLE as error:
            # The first line is the driver's message; the lines after it hold the SQL and its parameters.
            log.warning("database_away", error=str(error).splitlines()[0], retry_in_seconds=wait)
            self._back_off(wait)
        except Exception:
            log.exception("worker_loop_crashed", retry_in_seconds=wait)
            self._back_off(wait)
        else:
            self._record_success(self._clock())
        return bool(self._pool.jobs or self._unsaved or self._unstarted)

    def _record_success(self, now: datetime) -> None:
        self._failures = 0
        # In this order: another thread may call `steady_since` in between.
        if not self._is_steady(now):
            self._steady_since = now
        self._succeeded_at = now

    def _give_back(self) -> int:
        if not self._unstarted:
            return 0
        with self._engine.begin() as connection:
            given = claims.give_back(connection, self._unstarted, self.id, self._clock())
        self._unstarted = []
        return given

    def _submit(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            self._pool.submit(job)

    def _back_off(self, seconds: float) -> None:
        self._failures += 1
        if self._stopping.wait(seconds):
            # A worker that is stopping has no time for a long wait, but must not retry without any.
            time.sleep(BACK_OFF_SECONDS[0])

    def _work(self, job: Job) -> Finished | None:
        """Do a job, in a thread of the pool; if the job's lease is over, return None instead."""
        # After a suspension of the process, another worker may have claimed the watch.
        if job.watch.due_at is None or job.watch.due_at <= self._clock():
            log.warning("lease_lost", watch=job.watch.id, state=job.watch.state)
            return None
        return self._polls.work(job) if isinstance(job, poll.PollJob) else self._deliveries.work(job)

    def _claim(self) -> list[Job]:
        """Claim due watches, at most as many as fit in the pool; return their jobs.

        The pool's room is shared fairly among the accounts with due polls and the hosts with due callbacks.
        """
        if self._pool.room <= 0:
            return []
        now = self._clock()
        pool = self._pool
        with reading(self._engine) as connection:
            callbacks = self._deliveries.lanes(connection, pool.room_of, pool.jobs_per_lane, now)
            polls = self._polls.lanes(connection, pool.room_of, now)
        due = {(State.DELIVERING, host): lane for host, lane in callbacks.items()}
        due |= {(State.WATCHING, account): lane for account, lane in polls.items()}
        if not due:
            return []
        recovering = sum(
            isinstance(job, deliver.DeliveryJob) and job.host_recovering for job in self._pool.jobs
        )
        more = fairness.longest_first(due, recovering_slots=self._max_per_lane[State.DELIVERING] - recovering)
        shares = self._share(more)
        with self._engine.begin() as connection:
            return [
                *self._deliveries.claim(connection, _shares_of(State.DELIVERING, shares), now),
                *self._polls.claim(connection, _shares_of(State.WATCHING, shares)),
            ]

    def _share(self, more: Mapping[Lane, int]) -> dict[Lane, int]:
        """Divide the pool's `room` among lanes; return how many jobs to claim for each lane.

        `more` maps each lane to the largest number of its jobs that may be claimed. The lanes take one slot each in
        turn, in the order of `more`. `fairness.share` has further limits, so some slots may stay free. Lanes without
        a slot are left out of the result.
        """
        # A lane that has just freed some slots will probably free as many again soon: as many of its jobs may wait.
        held = self._pool.jobs_per_lane.copy()
        held.subtract(self._pool.recently_freed)
        most = {lane: held[lane] + count for lane, count in more.items()}
        return fairness.share(self._concurrency, held, most)

    def _save_all(self) -> None:
        """Save all results in one transaction.

        If that fails, or if two results belong to the same watch, saves each result in a transaction of its own. When
        the database is unavailable, raises its error, and keeps the results that are not saved yet.
        """
        if not self._unsaved:
            return
        if len({done.job.watch.id for done in self._unsaved}) < len(self._unsaved):
            # Of two results of one watch, the one claimed earlier has lost its lease. What follows goes by the watch's
            # id, so they must not be saved together.
            self._save_each()
            return
        try:
            self._submit(self._save(self._unsaved))
            self._unsaved = []
        except UNAVAILABLE:
            raise
        except Exception:  # noqa: BLE001 -- `_save_each` logs it for the result that causes it
            self._save_each()

    def _save_each(self) -> None:
        """Save each result in its own transaction; a result that cannot be saved is logged and dropped.

        When the database is unavailable, raises its error, and keeps the results that are not saved yet.
        """
        while self._unsaved:
            done = self._unsaved[0]
            try:
                self._submit(self._save([done]))
            except UNAVAILABLE:
                raise
            except Exception:
                log.exception("result_not_saved", watch=done.job.watch.id)
            self._unsaved.pop(0)

    def _save(self, done: Sequence[Finished]) -> list[Job]:
        polled = [d for d in done if isinstance(d, poll.FinishedPoll)]
        attempted = [d for d in done if isinstance(d, deliver.FinishedAttempt)]
        now = self._clock()
        with self._engine.begin() as connection:
            # The hand-off (ARCHITECTURE.md): a callback is claimed in the commit that says that its task has ended.
            results = [*self._claim_callbacks(connection, polled, now), *(d.result for d in attempted)]
            kept = claims.save(connection, results, self.id)
            dropped = {r.claimed.id for r in results} - {r.claimed.id for r in kept}
            withdrawn = claims.withdrawn(connection, dropped)
            # Others have done the work of a lost lease, and know better how its account or host is.
            lost = dropped - withdrawn
            timely = [d for d in attempted if d.job.watch.id not in lost]
            events = deliver.given_up_events(kept)
            # Hosts before accounts, as in a claim, so that two workers cannot deadlock.
            if timely:
                events += self._deliveries.record_attempts(connection, timely, now)
            if polled:
                events += self._polls.record_calls(connection, polled, now, lost=lost)
            jobs = self._next_jobs(connection, kept, now)
            self._outbox.add(connection, events)
        # After the commit: only what is saved is logged and counted.
        log_and_count(self._counters, done, kept, withdrawn)
        return list(jobs)

    def _claim_callbacks(
        self, connection: Connection, polled: Sequence[poll.FinishedPoll], now: datetime
    ) -> list[claims.StepResult]:
        """Return the results of all polls, and claim some watches in them to send their callbacks at once.

        To claim a watch is to set `due_at` and `claimed_by` in the result's `watch`. The caller saves the results, and
        the claims with them. Only watches whose tasks have just ended are claimed, and no more than the pool has room
        for. A stopping worker claims none.
        """
        results = [d.result for d in polled]
        ended = [r.watch for r in results if r.watch.state is State.DELIVERING]
        if not ended or self._stopping.is_set():
            return results
        hosts = ((State.DELIVERING, watch.callback_host) for watch in ended)
        shares = _shares_of(State.DELIVERING, self._share({host: self._pool.room_of(host) for host in hosts}))
        claimed = self._deliveries.claim_ended(connection, ended, shares, now)
        return [replace(r, watch=claimed.get(r.watch.id, r.watch)) for r in results]

    def _next_jobs(
        self, connection: Connection, kept: Sequence[claims.StepResult], now: datetime
    ) -> Sequence[Job]:
        """Return a delivery job for each saved result in `kept` whose watch `_claim_callbacks` has just claimed."""
        # Nothing else sets `claimed_by` in a result.
        mine = [r for r in kept if r.watch.claimed_by == self.id]
        bodies = {r.watch.id: r.hubspot_body for r in mine if r.hubspot_body is not None}
        return self._deliveries.jobs(connection, [r.watch for r in mine], bodies, now)


def _shares_of(state: State, shares: dict[Lane, int]) -> dict[str, int]:
    return {name: count for (of, name), count in shares.items() if of is state}
