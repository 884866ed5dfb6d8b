"""pgqueuer over PostgreSQL: two entry points on one event loop, with aiohttp.

`python -m bench.peers.pgqueuer_app work`, or `… STEM COUNT`, which enqueues.
"""
# mypy: disable-error-code="import-not-found, untyped-decorator, no-any-unimported"
# pgqueuer, asyncpg and aiohttp are installed for the measurement alone.

import asyncio
import json
import os
import sys

import aiohttp
import asyncpg
from pgqueuer import Job, PgQueuer, Queries

from bench.peers import job

DSN = os.environ["BENCH_POSTGRES"]


async def work() -> None:
    """Poll and call back until the process is ended."""
    pool = await asyncpg.create_pool(DSN)
    queue = PgQueuer.from_asyncpg_pool(pool)
    queries = Queries.from_asyncpg_pool(pool)
    async with aiohttp.ClientSession() as session:

        @queue.entrypoint("poll")
        async def poll(picked: Job) -> None:
            task = picked.payload.decode()
            async with session.get(job.status_url(task), headers=job.HEADERS) as response:
                answer = await response.json()
            await queries.enqueue("deliver", json.dumps([task, answer]).encode())

        @queue.entrypoint("deliver")
        async def deliver(picked: Job) -> None:
            url, headers, body = job.callback(*json.loads(picked.payload))
            async with session.post(url, data=body, headers=headers) as response:
                response.raise_for_status()

        await queue.run(batch_size=100)


async def enqueue(stem: str, count: int) -> None:
    """Enqueue all in one statement."""
    connection = await asyncpg.connect(DSN)
    names = job.tasks(stem, count)
    await Queries.from_asyncpg_connection(connection).enqueue(
        ["poll"] * count, [name.encode() for name in names], [0] * count
    )


async def install() -> None:
    """Make pgqueuer's tables."""
    await Queries.from_asyncpg_connection(await asyncpg.connect(DSN)).install()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["work"]:
            asyncio.run(work())
        case ["install"]:
            asyncio.run(install())
        case [stem, count]:
            asyncio.run(enqueue(stem, int(count)))
