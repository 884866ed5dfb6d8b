"""The bridge and the other tools: how each is installed, started, and given its imports.

Each has two workers of its own, and comes twice, side by side: the bridge with all and with half of HubSpot's limit,
the other tools with a retry every 5 s and with a back-off that doubles from 1 s to 60 s.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.far_side import FarSide, far_side
from bench.harness import Bench
from bench.imports import load
from bench.imports.server import LIMIT, WINDOW_SECONDS
from bench.imports.supervised import Supervised, supervised
from bench.peers.tools import SIGNED, Missing, Workshop, redis
from bench.processes import python, started, wait_until_up
from bench.system import System
from bridge.db.accounts import AccountChange, Credentials
from demo.services import free_port

BRIDGE = "the bridge"
# Each with HUBSPOT_RATE_SHARE.
SHARES = {BRIDGE: "1", f"{BRIDGE}, half limit": "0.5"}
WORKERS = 2
RETRIES = {"every 5 s": "fixed", "doubling": "exponential"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Contestant:
    """A tool at work; `enqueue` is the command that a file of imports is added to."""

    name: str
    far_side: FarSide
    workers: Sequence[Supervised]
    enqueue: Sequence[str]
    env: Mapping[str, str]
    log: Path


Tool = Callable[[Bench], AbstractContextManager[list[Contestant]]]


@contextmanager
def bridge(bench: Bench) -> Iterator[list[Contestant]]:
    """The bridge, side by side with all of HubSpot's limit, as the other tools, and with the half that is its default."""
    with ExitStack() as stack:
        yield [stack.enter_context(_bridge(bench, name, share)) for name, share in SHARES.items()]


@contextmanager
def _bridge(bench: Bench, name: str, share: str) -> Iterator[Contestant]:
    """`serve`, two `worker` processes, PostgreSQL, and the defaults of the settings but for the share."""
    with ExitStack() as stack:
        far = stack.enter_context(far_side("bench.imports.server"))
        system = bench.system(
            "postgresql",
            HUBSPOT_BASE_URL=far.url(),
            HUBSPOT_RATE_LIMIT=f"{LIMIT}/{WINDOW_SECONDS:.0f}",
            HUBSPOT_RATE_SHARE=share,
            PORT=str(port := free_port()),
            WEB_CONCURRENCY="1",
        )
        _add_accounts(system)
        serve = python("-m", "bridge", "serve", "--host", "127.0.0.1")
        stack.enter_context(started(serve, system.log, system.env))
        wait_until_up(port)
        commands = [python("-m", "bridge", "worker")] * WORKERS
        workers = stack.enter_context(supervised(commands, system.log, system.env))
        env = {
            **system.env,
            "BENCH_PORT": str(far.port),
            "BENCH_WATCHES": f"http://127.0.0.1:{port}/v1/watches",
            "BENCH_KEY": system.client_key(),
        }
        enqueue = python("-m", "bench.imports.bridge_app")
        yield Contestant(name=name, far_side=far, workers=workers, enqueue=enqueue, env=env, log=system.log)


def _add_accounts(system: System) -> None:
    with system.engine.begin() as connection:
        for account in load.ACCOUNTS:
            change = AccountChange(credentials=Credentials(access_token=load.token(account)))
            system.bridge.accounts.put(connection, account, change, datetime.now(UTC))


@contextmanager
def celery(bench: Bench) -> Iterator[list[Contestant]]:
    """Celery 5: two workers with eight processes each, Redis."""
    shop = Workshop(bench, "imports-celery")
    interpreter = shop.install("celery[redis]>=5,<6", "requests")
    module = "bench.imports.celery_app"
    worker = [interpreter, "-m", "celery", "-A", module, "worker", "--concurrency", "8", "-n"]
    workers = [[*worker, f"worker{number}@%h"] for number in range(WORKERS)]
    with (
        redis(shop) as port,
        _variants("Celery", shop, workers, [interpreter, "-m", module], _databases(port)) as contestants,
    ):
        yield contestants


@contextmanager
def bullmq(bench: Bench) -> Iterator[list[Contestant]]:
    """BullMQ: two processes, Redis."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        raise Missing("node and npm are not installed")
    shop = Workshop(bench, "imports-bullmq")
    shop.copy(Path(__file__).with_name("bullmq_app.mjs"), SIGNED)
    shop.run(npm, "install", "--silent", "--no-audit", "--no-fund", "bullmq", "ioredis", cwd=shop.folder)
    command = [node, f"{shop.folder}/bullmq_app.mjs"]
    workers = [[*command, "work"]] * WORKERS
    with (
        redis(shop) as port,
        _variants("BullMQ", shop, workers, command, _databases(port)) as contestants,
    ):
        yield contestants


@contextmanager
def pgqueuer(bench: Bench) -> Iterator[list[Contestant]]:
    """Pgqueuer: two processes, PostgreSQL."""
    shop = Workshop(bench, "imports-pgqueuer")
    interpreter = shop.install("pgqueuer", "asyncpg", "aiohttp")
    command = [interpreter, "-m", "bench.imports.pgqueuer_app"]
    databases = []
    for retry in RETRIES.values():
        shop.env["BENCH_POSTGRES"] = bench.postgres.create_database(f"pgqueuer_{retry}")
        shop.run(*command, "install")
        databases.append({"BENCH_POSTGRES": shop.env["BENCH_POSTGRES"]})
    workers = [[*command, "work"]] * WORKERS
    with _variants("pgqueuer", shop, workers, command, databases) as contestants:
        yield contestants


def _databases(port: int) -> list[dict[str, str]]:
    """Return a database of one Redis for each way of retrying."""
    return [{"BENCH_REDIS": f"redis://127.0.0.1:{port}/{number}"} for number in range(len(RETRIES))]


@contextmanager
def _variants(
    name: str,
    shop: Workshop,
    workers: Sequence[Sequence[str]],
    enqueue: Sequence[str],
    databases: Sequence[Mapping[str, str]],
) -> Iterator[list[Contestant]]:
    """Start both ways of retrying, each with a far side and a database of its own."""
    contestants = []
    with ExitStack() as stack:
        for (label, retry), database in zip(RETRIES.items(), databases, strict=True):
            far = stack.enter_context(far_side("bench.imports.server"))
            env = {**shop.env, **database, "BENCH_PORT": str(far.port), "BENCH_RETRY": retry}
            log = shop.folder / f"{retry}.log"
            contestants.append(
                Contestant(
                    name=f"{name}, {label}",
                    far_side=far,
                    workers=stack.enter_context(supervised(workers, log, env)),
                    enqueue=enqueue,
                    env=env,
                    log=log,
                )
            )
        yield contestants


TOOLS: Mapping[str, Tool] = {
    BRIDGE: bridge,
    "Celery": celery,
    "BullMQ": bullmq,
    "pgqueuer": pgqueuer,
}
