"""One result that cannot be saved, whatever is wrong with it, holds up no other."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from bridge.db import watches
from bridge.sandbox import Sandbox
from bridge.steps import deliver
from bridge.worker.loop import Worker
from bridge.worker.pool import Finished, Job
from tests.reliability.conftest import KINDS, NewInstallation
from tests.reliability.receiver import Receiver
from tests.reliability.scenarios import idle_worker

# No encoding has half of a pair: the driver fails before the database sees it.
HALF_A_CHARACTER = "\ud800"


def worked(worker: Worker, jobs: Sequence[Job]) -> list[Finished]:
    return [done for job in jobs if (done := worker._work(job))]


def bad(done: deliver.FinishedAttempt) -> deliver.FinishedAttempt:
    attempt = replace(done.decision.attempt, response_excerpt=HALF_A_CHARACTER)
    return replace(done, decision=replace(done.decision, attempt=attempt))


@pytest.mark.parametrize("kind", KINDS)
def test_a_result_that_no_database_takes_holds_up_no_other(
    new_installation: NewInstallation, hubspot: Sandbox, receiver: Receiver, kind: str
) -> None:
    installation = new_installation(kind)
    ids = installation.register(hubspot.state.add_tasks(tasks=2), receiver.url(installation))
    with idle_worker(installation, hubspot) as worker, capture_logs() as logged:
        callbacks = worker._save(worked(worker, worker._claim()))
        first, second = worked(worker, callbacks)
        assert isinstance(first, deliver.FinishedAttempt)
        worker._unsaved = [bad(first), second]
        worker._save_all()
        assert not worker._unsaved
    refused = [line["watch"] for line in logged if line["event"] == "result_not_saved"]
    assert refused == [first.job.watch.id]
    with installation.engine.connect() as connection:
        states = {watch.id: watch.state for watch in watches.lock(connection, ids)}
    assert states == {first.job.watch.id: "delivering", second.job.watch.id: "delivered"}
