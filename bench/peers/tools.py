"""How each rival is installed, started, and given its tasks."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import make_url

from bench.harness import Bench
from bench.processes import ROOT, python, started
from demo.services import free_port

START_SECONDS = 5.0
INSTALL_SECONDS = 300
# How the tools in JavaScript sign.
SIGNED = Path(__file__).with_name("signed.mjs")


class Missing(Exception):
    """A rival cannot be measured here; the text says why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Started:
    """A rival at work: `pid` is its worker, or the parent of its workers; `enqueue` takes a stem and a number."""

    pid: int
    enqueue: Callable[[str, int], None]


class Workshop:
    """A folder where one rival is installed and run."""

    def __init__(self, bench: Bench, name: str) -> None:
        self.folder = bench.folder / name
        self.folder.mkdir()
        self.log = self.folder / "log"
        self.env = {**os.environ, "BENCH_PORT": str(bench.far_side.port), "PYTHONPATH": str(ROOT)}

    def copy(self, *files: Path) -> None:
        """Copy files into the folder, where the packages that they import are."""
        for file in files:
            shutil.copy(file, self.folder)

    def run(self, *command: str, cwd: Path = ROOT) -> None:
        """Run a command to its end. Raises Missing when it fails, or takes too long."""
        with self.log.open("ab") as output:
            try:
                subprocess.run(
                    command,
                    cwd=cwd,
                    env=self.env,
                    stdout=output,
                    stderr=output,
                    check=True,
                    timeout=INSTALL_SECONDS,
                )
            except subprocess.SubprocessError as error:
                raise Missing(f"{error} {self.log.read_text()[-500:]}") from error

    def install(self, *packages: str) -> str:
        """Install Python packages into a virtual environment of their own; return its Python."""
        self.run(*python("-m", "venv", f"{self.folder}/venv"))
        interpreter = f"{self.folder}/venv/bin/python"
        self.run(interpreter, "-m", "pip", "install", "--quiet", *packages)
        return interpreter

    @contextmanager
    def working(self, command: Sequence[str], *enqueue: str) -> Iterator[Started]:
        """Run a worker; `enqueue` is the command that a stem and a number are added to."""
        with started(command, self.log, self.env) as process:
            time.sleep(START_SECONDS)
            yield Started(pid=process.pid, enqueue=lambda stem, count: self.run(*enqueue, stem, str(count)))


@contextmanager
def celery(bench: Bench) -> Iterator[Started]:
    """Celery 5 with eight worker processes, Redis."""
    shop = Workshop(bench, "celery")
    with redis(shop) as port:
        shop.env["BENCH_REDIS"] = f"redis://127.0.0.1:{port}/0"
        interpreter = shop.install("celery[redis]>=5,<6", "requests")
        module = "bench.peers.celery_app"
        worker = [interpreter, "-m", "celery", "-A", module, "worker", "--concurrency", "8"]
        with shop.working([*worker, "--loglevel", "WARNING"], interpreter, "-m", module) as at_work:
            yield at_work


@contextmanager
def pgqueuer(bench: Bench) -> Iterator[Started]:
    """Pgqueuer, one process, PostgreSQL."""
    shop = Workshop(bench, "pgqueuer")
    shop.env["BENCH_POSTGRES"] = bench.postgres.create_database("pgqueuer")
    interpreter = shop.install("pgqueuer", "asyncpg", "aiohttp")
    command = [interpreter, "-m", "bench.peers.pgqueuer_app"]
    shop.run(*command, "install")
    with shop.working([*command, "work"], *command) as at_work:
        yield at_work


@contextmanager
def bullmq(bench: Bench) -> Iterator[Started]:
    """BullMQ, one process, Redis."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        raise Missing("node and npm are not installed")
    shop = Workshop(bench, "bullmq")
    shop.copy(Path(__file__).with_name("bullmq_app.mjs"), SIGNED)
    with redis(shop) as port:
        shop.env["BENCH_REDIS_PORT"] = str(port)
        shop.run(npm, "install", "--silent", "--no-audit", "--no-fund", "bullmq", "ioredis", cwd=shop.folder)
        command = [node, f"{shop.folder}/bullmq_app.mjs"]
        with shop.working([*command, "work"], *command) as at_work:
            yield at_work


@contextmanager
def apscheduler(bench: Bench) -> Iterator[Started]:
    """APScheduler 3, a job for each task, PostgreSQL."""
    shop = Workshop(bench, "apscheduler")
    url = make_url(bench.postgres.create_database("apscheduler")).set(drivername="postgresql+psycopg")
    shop.env["BENCH_POSTGRES"] = url.render_as_string()
    command = python("-c", "from bench.peers.apscheduler_app import main; main()")
    with shop.working([*command, "work"], *command) as at_work:
        yield at_work


@contextmanager
def redis(shop: Workshop) -> Iterator[int]:
    """A Redis of its own that keeps what it is given: with an append-only file, as jobs need."""
    program = shutil.which("redis-server")
    if program is None:
        raise Missing("redis-server is not installed")
    port = free_port()
    where = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(shop.folder)]
    with started([program, *where, "--appendonly", "yes", "--save", ""], shop.log, shop.env):
        yield port
