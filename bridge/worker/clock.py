"""The clock: APScheduler drives the steps. What is due is in the tables, never in its job store."""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial

import structlog
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from sqlalchemy import Engine

from bridge.db import daily_stats, housekeeping, keyed_requests, lost_leases
from bridge.db.engine import AWAY
from bridge.steps.poll import time_out_overdue
from bridge.worker.loop import TICK_SECONDS, Worker

log = structlog.get_logger()

STOP_SECONDS = 22.0  # gunicorn kills its workers 25 s after SIGTERM, Heroku 30 s
OVERDUE_SECONDS = 1
HEARTBEAT_SECONDS = 10
PRUNE_SECONDS = 600
DAYS_KEPT = timedelta(days=90)
PRUNE_BATCH = 500  # a long transaction would hold up the others


class Clock:
    """Ticks for one worker: start once, stop once."""

    def __init__(
        self,
        *,
        worker: Worker,
        engine: Engine,
        now: Callable[[], datetime],
        retention_days: int,
        has_credentials: bool,
    ) -> None:
        """`has_credentials`: whether this process's environment has those of the account `default`."""
        self._worker = worker
        self._engine = engine
        self._now = now
        self._retention = timedelta(days=retention_days)
        self._has_credentials = has_credentials
        self._stopping = False
        # Each job has a thread of its own, so that none waits for another.
        jobs = {
            worker.drain: TICK_SECONDS,
            self._unless_away(self._time_out): OVERDUE_SECONDS,
            self._unless_away(self._beat): HEARTBEAT_SECONDS,
            self._unless_away(self._prune): PRUNE_SECONDS,
        }
        self._scheduler = BackgroundScheduler(
            executors={"default": ThreadPoolExecutor(len(jobs))},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
            timezone="UTC",
        )
        for job, seconds in jobs.items():
            self._scheduler.add_job(job, "interval", seconds=seconds, next_run_time=self._now())

    def start(self) -> None:
        """Begin to tick."""
        log.info("worker_started", worker=self._worker.id)
        self._scheduler.start()

    def wind_down(self) -> None:
        """Take no new work; what is in flight goes on. Safe in a signal handler."""
        # No event: its lock could be held by the very thread that the signal interrupts.
        self._stopping = True
        self._worker.wind_down(STOP_SECONDS)

    def stop(self) -> None:
        """Take no new work, finish what is in flight, give back the leases.

        Takes 22 s at the most, counted from the first call of `wind_down`.
        """
        self.wind_down()
        self._scheduler.shutdown(wait=False)
        try:
            self._worker.stop(STOP_SECONDS)
            with self._engine.begin() as connection:
                housekeeping.leave(connection, self._worker.id)
        except AWAY as error:
            # Nothing is lost: the leases run out by themselves.
            log.warning("leases_left", worker=self._worker.id, error=type(error).__name__)
        log.info("worker_stopped", worker=self._worker.id)

    def _unless_away(self, job: Callable[[], None]) -> Callable[[], None]:
        """The shifts tell that the database is away; the chores just come again."""

        def chore() -> None:
            with suppress(*AWAY):
                job()

        return chore

    def _time_out(self) -> None:
        while not self._stopping and time_out_overdue(self._engine, self._now()):
            pass

    def _beat(self) -> None:
        """Tell the others that this worker is alive: only while its shifts really go on."""
        if self._worker.idle_seconds < HEARTBEAT_SECONDS * 3:
            with self._engine.begin() as connection:
                housekeeping.beat(
                    connection, self._worker.id, self._now(), has_credentials=self._has_credentials
                )

    def _prune(self) -> None:
        self._in_batches(partial(housekeeping.prune, retention=self._retention))
        self._in_batches(housekeeping.prune_breakers)
        self._in_batches(keyed_requests.prune)
        with self._engine.begin() as connection:
            before = (self._now() - DAYS_KEPT).date()
            daily_stats.prune(connection, before)
            lost_leases.prune(connection, before)

    def _in_batches(self, prune: Callable[..., int]) -> None:
        """Prune until nothing is left to, or until the clock is to stop: the rest can wait."""
        deleted = PRUNE_BATCH
        while deleted == PRUNE_BATCH and not self._stopping:
            with self._engine.begin() as connection:
                deleted = prune(connection, self._now(), limit=PRUNE_BATCH)
