"""Runs the worker's loop and its chores at intervals, with APScheduler."""

from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial

import structlog
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from sqlalchemy import Connection, Engine

from bridge.core.counters import ENDED, LOG_LINES_DROPPED
from bridge.core.watch import Outcome
from bridge.db import (
    counters,
    daily_stats,
    heartbeats,
    housekeeping,
    idempotent_requests,
    operator_events,
    watch_counts,
)
from bridge.db.counters import Counters
from bridge.db.engine import UNAVAILABLE
from bridge.steps.operator_events import OperatorWebhooks, pauses_over, silent_workers
from bridge.steps.poll import time_out_overdue
from bridge.worker.loop import TICK_SECONDS, Worker

log = structlog.get_logger()

STOP_SECONDS = 22.0  # gunicorn kills its workers 25 s after SIGTERM, Heroku 30 s
OVERDUE_SECONDS = 1
FLUSH_SECONDS = 1
HEARTBEAT_SECONDS = 10
RECOUNT_SECONDS = 15
OPERATOR_SECONDS = 1
# After an outage of the database every worker seems silent until its next heartbeat. So a worker reports others
# only when BEATS_TO_REPORT heartbeats of its own, in a row, fell within BEATS_WITHIN.
BEATS_TO_REPORT = 7
BEATS_WITHIN = timedelta(seconds=90)
PRUNE_SECONDS = 600
DAYS_KEPT = timedelta(days=90)
PRUNE_BATCH = 500  # rows deleted in a transaction: a longer one would delay the workers


class Scheduler:
    """Runs one worker's loop and its chores; `start` and `stop` may each be called once."""

    def __init__(
        self,
        *,
        worker: Worker,
        engine: Engine,
        now: Callable[[], datetime],
        retention_days: int,
        has_credentials: bool,
        counters: Counters,
        operator: OperatorWebhooks | None = None,
    ) -> None:
        """`has_credentials` is true when the environment has credentials of the account `default`.

        `operator` sends the events saved for the operator's webhook; None when BRIDGE_OPERATOR_URL is not set.
        """
        self.worker_id = worker.id
        self._worker = worker
        self._engine = engine
        self._now = now
        self._retention = timedelta(days=retention_days)
        self._has_credentials = has_credentials
        self._counters = counters
        self._operator = operator
        self._beats: deque[datetime] = deque(maxlen=BEATS_TO_REPORT)
        self._stopping = False
        jobs = {
            worker.drain: TICK_SECONDS,
            self._time_out: OVERDUE_SECONDS,
            self._beat: HEARTBEAT_SECONDS,
            lambda: watch_counts.recount_if_due(engine, now()): RECOUNT_SECONDS,
            self._prune: PRUNE_SECONDS,
        }
        if operator:
            jobs[self._send_operator_events] = OPERATOR_SECONDS
        # A thread for each job, so that no job waits for another.
        self._executor = ThreadPoolExecutor(len(jobs))
        self._scheduler = _scheduler(jobs, self._executor, now)

    def start(self) -> None:
        """Start the loop and the chores, in threads of their own."""
        log.info("worker_started", worker=self.worker_id)
        self._scheduler.start()

    def wind_down(self) -> None:
        """Stop claiming; requests in flight go on. May be called in a signal handler."""
        # Not an Event: the thread that the signal interrupts might hold its lock.
        self._stopping = True
        self._worker.wind_down(STOP_SECONDS)

    def stop(self) -> None:
        """Stop claiming, wait for the requests in flight, and give back the watches of unfinished requests.

        The wait ends no later than STOP_SECONDS after the first call of `wind_down` or `stop`.
        """
        self.wind_down()
        self._scheduler.shutdown(wait=False)
        try:
            self._worker.stop(STOP_SECONDS)
            # Chores must end first: a late heartbeat would add the worker to the list of workers again.
            self._executor.shutdown(wait=True)
            with self._engine.begin() as connection:
                heartbeats.remove(connection, self.worker_id)
        except UNAVAILABLE as error:
            # Nothing is lost: other workers claim the watches when the leases end.
            log.warning("leases_not_given_back", worker=self.worker_id, error=type(error).__name__)
        log.info("worker_stopped", worker=self.worker_id)

    def _time_out(self) -> None:
        while not self._stopping and (ended := self._time_out_batch(self._now())):
            self._counters.inc(ENDED, Outcome.TIMED_OUT, by=ended)

    def _time_out_batch(self, now: datetime) -> int:
        # While this worker cannot poll, it ends no watch for want of a poll.
        steady_since = self._worker.steady_since(now)
        return time_out_overdue(self._engine, now, steady_since=steady_since) if steady_since else 0

    def _beat(self) -> None:
        """Save this worker's heartbeat, and report silent workers to the operator.

        While this worker's loop hangs or fails, nothing is saved or reported. Silent workers are reported only if an
        operator's webhook is set, and this worker's own latest heartbeats came at regular intervals.
        """
        now = self._now()
        if not self._worker.steady_since(now):
            return  # the loop hangs or fails: without heartbeats, other workers report this one as silent
        with self._engine.begin() as connection:
            heartbeats.record(connection, self.worker_id, now, has_credentials=self._has_credentials)
            if self._operator and self._may_report_silence(now):
                operator_events.add(connection, silent_workers(connection, now))
        self._beats.append(now)

    def _may_report_silence(self, now: datetime) -> bool:
        """Return whether this worker may report silent workers to the operator.

        The result is true when this worker itself made at least BEATS_TO_REPORT heartbeats in the time BEATS_WITHIN
        (a timedelta) before `now`.
        """
        return len(self._beats) == BEATS_TO_REPORT and now - self._beats[0] <= BEATS_WITHIN

    def _send_operator_events(self) -> None:
        while self._operator and not self._stopping and self._operator.send_next():
            pass

    def _prune(self) -> None:
        self._in_batches(partial(housekeeping.prune, retention=self._retention))
        self._in_batches(self._prune_breakers)
        self._in_batches(idempotent_requests.prune)
        with self._engine.begin() as connection:
            daily_stats.prune(connection, (self._now() - DAYS_KEPT).date())
            counters.prune(connection, self._now())
            operator_events.prune(connection, self._now())

    def _prune_breakers(self, connection: Connection, now: datetime, *, limit: int) -> int:
        pruned = housekeeping.prune_breakers(connection, now, limit=limit)
        if self._operator:
            operator_events.add(connection, pauses_over(pruned, now))
        return len(pruned)

    def _in_batches(self, prune: Callable[..., int]) -> None:
        """Delete old rows by `prune`, a batch in each transaction, until none is left or the worker stops."""
        deleted = PRUNE_BATCH
        while deleted == PRUNE_BATCH and not self._stopping:
            with self._engine.begin() as connection:
                deleted = prune(connection, self._now(), limit=PRUNE_BATCH)


class CounterFlusher:
    """Adds this process's counts to the database, every second and in `stop`."""

    def __init__(
        self,
        *,
        counters: Counters,
        engine: Engine,
        now: Callable[[], datetime],
        take_dropped_lines: Callable[[], int],
    ) -> None:
        """`take_dropped_lines` returns how many log lines were dropped since the function was last called."""
        self._counters, self._engine, self._now = counters, engine, now
        self._take_dropped_lines = take_dropped_lines
        self._scheduler = _scheduler({self.flush: FLUSH_SECONDS}, ThreadPoolExecutor(1), now)

    def start(self) -> None:
        """Start the thread that saves the counts."""
        self._scheduler.start()

    def stop(self) -> None:
        """Stop the thread, and save the remaining counts; to be called when nothing is counted any more."""
        if self._scheduler.running:
            self._scheduler.shutdown()
        self.flush()

    def flush(self) -> None:
        """Add the counts to the database now.

        If the database is unavailable, `flush` raises no error. The counts stay in memory, and the next call adds
        them.
        """
        self._counters.inc(LOG_LINES_DROPPED, by=self._take_dropped_lines())
        with suppress(*UNAVAILABLE):
            self._counters.flush(self._engine, self._now())


def _scheduler(
    jobs: Mapping[Callable[[], None], float], executor: ThreadPoolExecutor, now: Callable[[], datetime]
) -> BackgroundScheduler:
    """Return a scheduler; once started, it runs each job at once, and then at the job's interval in seconds.

    A job's error is ignored when it says that the database is unavailable.
    """
    scheduler = BackgroundScheduler(
        executors={"default": executor},
        job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        timezone="UTC",
    )
    for job, seconds in jobs.items():
        name = getattr(job, "__qualname__", None)  # which APScheduler logs when the job fails
        scheduler.add_job(_run, "interval", args=[job], name=name, seconds=seconds, next_run_time=now())
    return scheduler


def _run(job: Callable[[], None]) -> None:
    # The worker's loop logs that the database is unavailable.
    with suppress(*UNAVAILABLE):
        job()
