"""Celery 5 over Redis: two tasks, acknowledged late, taken up again two minutes after their worker has died.

`celery -A bench.imports.celery_app worker`; `python -m bench.imports.celery_app FILE` enqueues.
"""
# mypy: disable-error-code="import-not-found, untyped-decorator"
# Celery is installed for the measurement alone.

import os
import sys
from typing import Any

import requests
from celery import Celery

from bench.imports import load
from bench.peers import job

LONGEST_WAIT_SECONDS = 60

app = Celery("bench", broker=os.environ["BENCH_REDIS"])
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    broker_transport_options={
        # It has to be longer than the longest countdown. By default it is an hour.
        "visibility_timeout": 2 * LONGEST_WAIT_SECONDS,
        # Where it is low, the documentation wants it to be looked at more often.
        "unacked_restore_throttle": 1,
    },
)
session = requests.Session()
session.trust_env = False


@app.task(bind=True, max_retries=None)
def poll(self: Any, task: str, account: str, url: str) -> None:
    """Ask for the status, again and again until it is COMPLETE; a 429 is one more time."""
    headers = {"Authorization": f"Bearer {load.token(account)}"}
    try:
        response = session.get(job.status_url(task), headers=headers, timeout=job.TIMEOUT_SECONDS)
        response.raise_for_status()
    except requests.RequestException as error:
        raise self.retry(exc=error, countdown=_countdown(self)) from error
    answer = response.json()
    if answer["status"] != "COMPLETE":
        raise self.retry(countdown=_countdown(self))
    deliver.delay(task, url, answer)


def _countdown(task: Any) -> int:
    if os.environ["BENCH_RETRY"] == "fixed":
        return 5
    return int(min(2**task.request.retries, LONGEST_WAIT_SECONDS))


@app.task(
    autoretry_for=(requests.RequestException,),
    retry_backoff=True,
    retry_backoff_max=LONGEST_WAIT_SECONDS,
    max_retries=10,
)
def deliver(task: str, url: str, answer: dict[str, object]) -> None:
    """Send the callback."""
    headers, body = job.signed(task, answer)
    session.post(url, data=body, headers=headers, timeout=job.TIMEOUT_SECONDS).raise_for_status()


if __name__ == "__main__":
    for one in load.beginning(sys.argv[1]):
        url = f"http://{one.receiver}:{job.PORT}/{one.task}"
        # By name: this module's own name is another one, now that it is run.
        app.send_task("bench.imports.celery_app.poll", [one.task, one.account, url])
