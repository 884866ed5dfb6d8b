"""Logs callback attempts, ended tasks and dropped results, and counts jobs for the metrics, after each save."""

from collections.abc import Collection, Sequence

import structlog

from bridge.core.counters import (
    ACCOUNT_ERRORS,
    ACCOUNT_REQUESTS,
    ATTEMPTS,
    DELIVERY_DELAY,
    DETECTION_DELAY,
    ENDED,
    FIRST_ATTEMPT_DELAY,
    GIVEN_UP,
    LEASES_LOST,
    POLLS,
)
from bridge.core.watch import State, Watch
from bridge.db.claims import StepResult
from bridge.db.counters import Counters
from bridge.steps import deliver, poll
from bridge.worker.pool import Finished

log = structlog.get_logger()


def log_and_count(
    counters: Counters, done: Sequence[Finished], kept: Sequence[StepResult], withdrawn: Collection[str]
) -> None:
    """Log ended tasks, callback attempts and dropped results; count jobs for the metrics.

    `done` holds all finished jobs. `kept` holds the results that were saved; the results of the other jobs were
    dropped. `withdrawn` holds the ids of the watches that were withdrawn during their jobs. Every other dropped
    result had lost its lease.
    """
    saved = {result.watch.id: result.watch for result in kept}
    for d in done:
        watch = saved.get(d.job.watch.id)
        if isinstance(d, poll.FinishedPoll):
            account = d.job.account.name
            counters.inc(ACCOUNT_REQUESTS, account, by=d.call.requests)
            counters.inc(ACCOUNT_ERRORS, account, by=d.call.errors)
        if watch is None and d.job.watch.id in withdrawn:
            log.info("withdrawn_meanwhile", watch=d.job.watch.id, state=d.job.watch.state)
        elif watch is None:
            log.warning("lease_lost", watch=d.job.watch.id, state=d.job.watch.state)
            counters.inc(LEASES_LOST)
        elif isinstance(d, poll.FinishedPoll):
            _log_and_count_poll(counters, d, watch)
        else:
            _log_and_count_attempt(counters, d, watch)


def _log_and_count_poll(counters: Counters, done: poll.FinishedPoll, watch: Watch) -> None:
    counters.inc(POLLS, done.decision.result)
    if done.decision.delay_seconds is not None:
        counters.observe(DETECTION_DELAY, done.decision.delay_seconds, done.job.account.name)
    if watch.outcome is not None:
        log.info("task_ended", watch=watch.id, outcome=watch.outcome, polls=watch.polls)
        counters.inc(ENDED, watch.outcome)


def _log_and_count_attempt(counters: Counters, done: deliver.FinishedAttempt, watch: Watch) -> None:
    attempt = done.decision.attempt
    log.info(
        "callback_attempted",
        watch=watch.id,
        number=attempt.number,
        status_code=attempt.status_code,
        error=attempt.error,
        state=watch.state,
    )
    counters.inc(ATTEMPTS, _result(done), attempt.trigger)
    if attempt.number == 1 and watch.ended_at:
        counters.observe(FIRST_ATTEMPT_DELAY, (attempt.started_at - watch.ended_at).total_seconds())
    if watch.state is State.UNDELIVERED:
        log.warning(
            "callback_given_up",
            watch=watch.id,
            host=watch.callback_host,
            status_code=attempt.status_code,
            error=attempt.error,
            hint=f"python -m bridge watches redeliver {watch.id}",
        )
        counters.inc(GIVEN_UP)
    # Redeliveries are left out: their delay would include the time until somebody requested them.
    was_redelivered = watch.tries < watch.attempts
    if watch.state is State.DELIVERED and watch.settled_at and watch.ended_at and not was_redelivered:
        counters.observe(DELIVERY_DELAY, (watch.settled_at - watch.ended_at).total_seconds())


def _result(done: deliver.FinishedAttempt) -> str:
    code = done.decision.attempt.status_code
    if code is not None:
        return f"{code // 100}xx"
    return "not_sent" if done.decision.signal is None else "no_answer"
