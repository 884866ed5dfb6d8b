"""What the scenarios share: the far side, databases, and how long a run may be."""

import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography.fernet import Fernet
from sqlalchemy import make_url

from bench.far_side import FarSide, far_side
from bench.system import CLIENT, System
from bridge import startup
from bridge.steps import clients
from tests.postgres import PostgresServer, temporary_server

TEMPLATE = "template_bridge"
KINDS = ("sqlite", "postgresql")


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """What a scenario gets. A `short` run is there to catch a slip, and proves no goal."""

    short: bool
    folder: Path
    far_side: FarSide
    postgres: PostgresServer
    secret_key: str

    def pick(self, full: int, short: int) -> int:
        """Return a size or a count: that of a full run, or that of a short one."""
        return short if self.short else full

    def system(self, kind: str, **settings: str) -> System:
        """Return a bridge with a new, migrated database of one of KINDS."""
        name = f"bench_{time.monotonic_ns()}"
        if kind == "sqlite":
            shutil.copy(self.folder / f"{TEMPLATE}.db", self.folder / f"{name}.db")
            url = f"sqlite:///{self.folder}/{name}.db"
        else:
            url = self.postgres.create_database(name, template=TEMPLATE)
        return self._system(url, settings)

    def postgres_pid(self) -> int:
        """Return the process that all of PostgreSQL's others are children of."""
        folder = make_url(self.postgres.url()).query["host"]
        return int(Path(f"{folder}/data/postmaster.pid").read_text().split()[0])

    def make_templates(self) -> None:
        """Migrate one database of each kind, and give it a client: the others are copies."""
        for url in (f"sqlite:///{self.folder}/{TEMPLATE}.db", self.postgres.create_database(TEMPLATE)):
            system = self._system(url, {})
            startup.prepare(system.bridge)
            clients.add(system.engine, system.bridge.cipher, CLIENT, admin=True, now=datetime.now(UTC))
            system.engine.dispose()

    def _system(self, url: str, settings: Mapping[str, str]) -> System:
        return System(
            url=url,
            folder=self.folder,
            far_side=self.far_side,
            secret_key=self.secret_key,
            settings=settings,
        )


@contextmanager
def bench_of(*, short: bool) -> Iterator[Bench]:
    """All that the scenarios need, until the block ends. PostgreSQL waits for the disk, as in production."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        far_side() as far,
        temporary_server(fsync=True) as postgres,
    ):
        bench = Bench(
            short=short,
            folder=Path(folder),
            far_side=far,
            postgres=postgres,
            secret_key=Fernet.generate_key().decode(),
        )
        bench.make_templates()
        yield bench
