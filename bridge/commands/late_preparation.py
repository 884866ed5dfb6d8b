"""Prepares the database from the web processes, after gunicorn's master could not reach the database."""

import os
import sys
import threading
import time
import traceback
from itertools import chain, repeat

import structlog
from gunicorn.arbiter import Arbiter
from sqlalchemy import Engine

from bridge import startup
from bridge.commands.open_bridge import refuse_unusable_database
from bridge.commands.output import CommandError
from bridge.db.engine import UNAVAILABLE, refuse_connections_until
from bridge.wiring import Bridge
from bridge.worker.loop import BACK_OFF_SECONDS

log = structlog.get_logger()


class LatePreparation:
    """Prepares the database in each process that the master forks, as soon as the database answers.

    The preparation has an engine of its own. Until the preparation in a process has succeeded, the engine for all
    other work of the process refuses to connect.
    """

    def __init__(self, bridge: Bridge, *, processes: int) -> None:
        """Create the object in gunicorn's master, before the fork.

        At the fork, `bridge` must have no open connection. `processes` is the number of web processes; `startup.warn`
        compares the connections of all these processes with the database's limit.
        """
        self._bridge = bridge
        self._processes = processes
        # Holds a single byte, so that only one process can read it.
        self._turn, writing_end = os.pipe()
        os.write(writing_end, b"1")

    def start(self, engine: Engine) -> None:
        """Prepare the database in a thread; until the database is prepared, `engine` refuses to connect.

        The thread waits until the database answers. If the database or the encryption key cannot be used, the thread
        ends this process. gunicorn's master then stops the other processes, and ends as well.
        """
        prepared = threading.Event()
        refuse_connections_until(prepared, engine)
        threading.Thread(target=self._run, args=(prepared,), name="late-preparation", daemon=True).start()

    def _run(self, prepared: threading.Event) -> None:
        try:
            with refuse_unusable_database():
                self._prepare()
        except CommandError as error:
            self._end(f"{error}\n")
        except Exception:  # noqa: BLE001 -- a bug ends the start, too
            self._end(traceback.format_exc())
        prepared.set()

    def _prepare(self) -> None:
        for wait in chain(BACK_OFF_SECONDS, repeat(BACK_OFF_SECONDS[-1])):
            try:
                revision = startup.prepare(self._bridge)
                startup.warn(self._bridge, processes=self._processes)
            except UNAVAILABLE as error:
                log.warning("database_away", error=str(error).splitlines()[0], retry_in_seconds=wait)
                time.sleep(wait)
            else:
                self._bridge.engine.dispose()
                log.info("database_ready", revision=revision)
                return

    def _end(self, why: str) -> None:
        # gunicorn's master stops the other processes when one ends like this, but crashes if a second one does as well:
        # the second one waits here until it is stopped.
        os.read(self._turn, 1)
        sys.stderr.write(why)
        os._exit(Arbiter.APP_LOAD_ERROR)


# Set by gunicorn's master. It is not kept in gunicorn.conf.py, because SIGHUP loads that file anew.
needed: LatePreparation | None = None
