"""SQLite's locks belong to a process: a connection that is carried over a fork loses what others write."""

import os
from contextlib import suppress
from pathlib import Path

from bridge.sandbox import Sandbox
from tests.ports import free_port
from tests.reliability.conftest import NewInstallation
from tests.reliability.processes import processes


def open_files(pid: int) -> set[str]:
    found = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        # It may be closed meanwhile.
        with suppress(FileNotFoundError):
            found.add(str(descriptor.readlink()))
    return found


def test_gunicorn_s_parent_has_closed_the_database_that_it_has_migrated(
    new_installation: NewInstallation, hubspot: Sandbox, tmp_path: Path
) -> None:
    installation = new_installation("sqlite")
    with processes(installation.env(hubspot.url), tmp_path) as started:
        parent, database = started.web(free_port(), workers=2), installation.url.removeprefix("sqlite:///")
        assert database not in open_files(parent.pid)
        # Whoever has it open is seen.
        with installation.engine.connect():
            assert database in open_files(os.getpid())
