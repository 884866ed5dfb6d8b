"""APScheduler with a job for each task, in a SQLAlchemy job store on PostgreSQL.

`main` with the argument `work` works, in one process: two would run each job twice. With STEM and COUNT
it enqueues. It is imported, never run: pickled jobs name this module.
"""

import os
import sys
import threading
import time

import requests
from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
from apscheduler.schedulers.background import BackgroundScheduler

from bench.peers import job

LOOK_SECONDS = 0.25

own = threading.local()
scheduler = BackgroundScheduler(
    jobstores={"default": SQLAlchemyJobStore(url=os.environ["BENCH_POSTGRES"])},
    executors={"default": {"type": "threadpool", "max_workers": 32}},
    job_defaults={"misfire_grace_time": None},
    timezone="UTC",
)


def session() -> requests.Session:
    """Return this thread's session."""
    if not hasattr(own, "session"):
        own.session = requests.Session()
        own.session.trust_env = False
    kept: requests.Session = own.session
    return kept


def poll(task: str) -> None:
    """Ask for the status; then the callback is a job of its own."""
    answer = session().get(job.status_url(task), headers=job.HEADERS, timeout=job.TIMEOUT_SECONDS).json()
    scheduler.add_job(deliver, args=[task, answer])


def deliver(task: str, answer: dict[str, object]) -> None:
    """Send the callback."""
    url, headers, body = job.callback(task, answer)
    session().post(url, data=body, headers=headers, timeout=job.TIMEOUT_SECONDS).raise_for_status()


def look() -> None:
    """Do nothing: a job that is due wakes the scheduler, which then sees what others have added."""


def work() -> None:
    """Work until the process is ended."""
    scheduler.add_jobstore("memory", "own")
    scheduler.add_job(look, "interval", seconds=LOOK_SECONDS, jobstore="own")
    scheduler.start()
    while True:
        time.sleep(1)


def enqueue(stem: str, count: int) -> None:
    """Add a job for each task, due at once; a paused scheduler only writes them."""
    scheduler.start(paused=True)
    for name in job.tasks(stem, count):
        scheduler.add_job(poll, args=[name])
    scheduler.shutdown()


def main() -> None:
    """Do what the command line says."""
    match sys.argv[1:]:
        case ["work"]:
            work()
        case [stem, count]:
            enqueue(stem, int(count))
