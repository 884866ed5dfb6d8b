"""How gunicorn serves the bridge; `gunicorn app:app` finds this file by its name."""

import os
import signal
import sys
from typing import Any

from gunicorn.arbiter import Arbiter
from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.workers.base import Worker

from bridge import logs, open_files, startup, tracing
from bridge.commands import late_preparation
from bridge.commands.late_preparation import LatePreparation
from bridge.commands.open_bridge import refuse_unusable_database
from bridge.commands.output import CommandError
from bridge.db.engine import UNAVAILABLE
from bridge.settings import Settings
from bridge.web import server as web_server
from bridge.web.server import WaitressWorker
from bridge.web.thread_limits import THREADS
from bridge.wiring import Bridge
from bridge.worker import cpu_affinity
from bridge.worker.scheduler import STOP_SECONDS

# Here, and not only in the workers: a wrong setting is told once, and stops gunicorn with status 2.
settings = Settings.load_or_exit(os.environ)
web_server.is_configured = True

bind = f"0.0.0.0:{settings.port}"
workers = settings.web_concurrency
worker_class = WaitressWorker
threads = THREADS
worker_connections = open_files.CLIENT_CONNECTIONS
# The workers inherit the limit.
open_files.ensure(settings.concurrency, works=settings.embedded_worker, clients=worker_connections)

# Heroku's router gives up at 30 s, and keeps idle connections for 90: it must be the one that closes them.
timeout = 30
keepalive = 100
# Heroku kills 30 s after SIGTERM. This bounds requests and the embedded worker's last work together.
graceful_timeout = 25

# Nobody here uses it, and two bridges of one user would quarrel about its one path.
control_socket_disable = True


class logger_class(Logger):  # type: ignore[misc]  # noqa: N801 - gunicorn has no types, and names the class
    """gunicorn's own, but its lines go where all others go; a reload sets it up again."""

    def setup(self, cfg: Config) -> None:
        """Take back the handlers that gunicorn has just added."""
        super().setup(cfg)
        logs.configure(settings.log_format)


def on_starting(server: Arbiter) -> None:
    """Refuse another kind of worker: slow clients would hold it up, and headers could change its routes."""
    if server.cfg.worker_class is not WaitressWorker:
        sys.exit(
            "The bridge has a gunicorn worker of its own: leave out `-k`, `--worker-class` and `worker_class`."
        )


def when_ready(server: Arbiter) -> None:
    """Migrate once: not before the port is known to be free, and before any worker is there.

    If the database is away, the workers migrate it later.
    """
    bridge = Bridge(settings)
    try:
        with refuse_unusable_database():
            try:
                startup.prepare(bridge)
                startup.warn(bridge, processes=workers)
            except UNAVAILABLE:
                server.log.warning("the database does not answer yet")
                late_preparation.needed = LatePreparation(bridge, processes=workers)
    except CommandError as error:
        sys.exit(str(error))
    # The workers must not inherit a connection.
    bridge.engine.dispose()


def post_worker_init(worker: Worker) -> None:
    """Start the embedded worker: after the fork, in the process that serves."""
    # A terminal sends Ctrl-C to the workers, too. The master passes it on: with both, a worker may end without its exit.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cpu_affinity.use_one_core()
    tracing.configure()
    bridge = sys.modules["app"].bridge
    if late_preparation.needed:
        late_preparation.needed.start(bridge.engine)
    bridge.start_worker()
    # The arbiter kills at its own 25 s: the requests must end before, so that leases can be given back.
    worker.cfg.set("graceful_timeout", int(STOP_SECONDS))

    def wind_down(*received: Any) -> None:
        # Requests and callbacks share the time: both begin to end at once.
        bridge.wind_down_worker()
        worker.handle_exit(*received)

    signal.signal(signal.SIGTERM, wind_down)


def worker_exit(_server: Arbiter, _worker: Worker) -> None:
    """Stop the embedded worker, unless the app did not even load."""
    if app := sys.modules.get("app"):
        app.bridge.stop_worker()
