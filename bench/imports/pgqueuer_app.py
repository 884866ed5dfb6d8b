"""pgqueuer over PostgreSQL: two entry points on one event loop, with aiohttp.

`python -m bench.imports.pgqueuer_app work`, or `… FILE`, which enqueues; `install` makes the tables.
"""
# mypy: disable-error-code="import-not-found, untyped-decorator, no-any-unimported"
# pgqueuer, asyncpg and aiohttp are installed for the measurement alone.

import asyncio
import json
import os
import sys
from datetime import timedelta
from functools import partial

import aiohttp
import asyncpg
from pgqueuer import Job, PgQueuer, Queries, RetryRequested
from pgqueuer.executors import DatabaseRetryEntrypointExecutor

from bench.imports import load
from bench.peers import job

DSN = os.environ["BENCH_POSTGRES"]
LONGEST_WAIT = timedelta(seconds=60)


async def work() -> None:
    """Poll and call back until the process is ended."""
    pool = await asyncpg.create_pool(DSN)
    queue = PgQueuer.from_asyncpg_pool(pool)
    queries = Queries.from_asyncpg_pool(pool)
    timeout = aiohttp.ClientTimeout(total=job.TIMEOUT_SECONDS)
    retried = partial(DatabaseRetryEntrypointExecutor, max_attempts=10, max_delay=LONGEST_WAIT)
    async with aiohttp.ClientSession(timeout=timeout, raise_for_status=True) as session:

        @queue.entrypoint("poll")
        async def poll(picked: Job) -> None:
            task, account, url = json.loads(picked.payload)
            headers = {"Authorization": f"Bearer {load.token(account)}"}
            try:
                async with session.get(job.status_url(task), headers=headers) as response:
                    answer = await response.json()
            except (aiohttp.ClientError, TimeoutError) as error:
                raise RetryRequested(delay=_delay(picked)) from error
            if answer["status"] != "COMPLETE":
                raise RetryRequested(delay=_delay(picked))
            await queries.enqueue("deliver", json.dumps([task, url, answer]).encode())

        @queue.entrypoint("deliver", executor_factory=retried)
        async def deliver(picked: Job) -> None:
            task, url, answer = json.loads(picked.payload)
            headers, body = job.signed(task, answer)
            async with session.post(url, data=body, headers=headers):
                pass

        await queue.run(batch_size=100)


def _delay(picked: Job) -> timedelta:
    if os.environ["BENCH_RETRY"] == "fixed":
        return timedelta(seconds=5)
    return min(timedelta(seconds=2 ** min(picked.attempts, 10)), LONGEST_WAIT)


async def enqueue(path: str) -> None:
    """Enqueue each import when it begins."""
    queries = Queries.from_asyncpg_connection(await asyncpg.connect(DSN))
    for one in load.beginning(path):
        url = f"http://{one.receiver}:{job.PORT}/{one.task}"
        await queries.enqueue("poll", json.dumps([one.task, one.account, url]).encode())


async def install() -> None:
    """Make pgqueuer's tables."""
    await Queries.from_asyncpg_connection(await asyncpg.connect(DSN)).install()


if __name__ == "__main__":
    match sys.argv[1]:
        case "work":
            asyncio.run(work())
        case "install":
            asyncio.run(install())
        case path:
            asyncio.run(enqueue(path))
