"""Celery 5 over Redis: two tasks, late acknowledgement, a session in each worker process.

`celery -A bench.peers.celery_app worker`; `python -m bench.peers.celery_app STEM COUNT` enqueues.
"""
# mypy: disable-error-code="import-not-found, untyped-decorator"
# Celery is installed for the measurement alone.

import os
import sys

import requests
from celery import Celery

from bench.peers import job

app = Celery("bench", broker=os.environ["BENCH_REDIS"])
app.conf.update(task_acks_late=True, task_ignore_result=True)
session = requests.Session()
session.trust_env = False


@app.task(bind=True, max_retries=None)
def poll(self: object, task: str) -> None:
    """Ask for the status, again and again until it is COMPLETE."""
    answer = session.get(job.status_url(task), headers=job.HEADERS, timeout=job.TIMEOUT_SECONDS).json()
    if answer["status"] != "COMPLETE":
        raise self.retry(countdown=2)  # type: ignore[attr-defined]  # Celery's own, which has no types
    deliver.delay(task, answer)


@app.task(autoretry_for=(requests.RequestException,), retry_backoff=True)
def deliver(task: str, answer: dict[str, object]) -> None:
    """Send the callback."""
    url, headers, body = job.callback(task, answer)
    session.post(url, data=body, headers=headers, timeout=job.TIMEOUT_SECONDS).raise_for_status()


if __name__ == "__main__":
    for name in job.tasks(sys.argv[1], int(sys.argv[2])):
        app.send_task("bench.peers.celery_app.poll", [name])
