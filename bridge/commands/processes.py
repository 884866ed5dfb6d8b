"""The processes: migrate, rotate-encryption, worker, serve, sandbox."""

import argparse
import logging
import os
import socket
import sys
from typing import Any

import structlog
from sqlalchemy.exc import DatabaseError

from bridge import logs, sandbox
from bridge.commands import stopping
from bridge.commands.output import Refusal
from bridge.db import secret_rotation
from bridge.db.encryption import WrongSecretKey
from bridge.db.engine import AWAY
from bridge.db.migrations import ROOT, OtherTables
from bridge.settings import Settings
from bridge.wiring import CLIENT_CONNECTIONS, Bridge, ensure_descriptors
from bridge.worker import cpu_affinity

log = structlog.get_logger()

UNUSABLE = (
    "The database at DATABASE_URL cannot be used: {}. Start it, correct the URL, make its schema, or give its user "
    "the rights."
)


def add_commands(commands: Any) -> None:
    """Add the commands of this family."""
    commands.add_parser("migrate", help="bring the database to the newest revision").set_defaults(
        run=_migrate
    )
    rotate = commands.add_parser(
        "rotate-encryption", help="encrypt all stored secrets with the first key of BRIDGE_SECRET_KEY"
    )
    rotate.set_defaults(run=_rotate_encryption)
    commands.add_parser("worker", help="poll and deliver until SIGTERM").set_defaults(run=_worker)
    serve = commands.add_parser("serve", help="migrate, then serve the API on PORT under gunicorn")
    serve.add_argument("--host", default="0.0.0.0", help="the address to listen on (default: all)")  # noqa: S104 -- a server's default
    serve.set_defaults(run=_serve)
    simulated = commands.add_parser("sandbox", help="a simulated HubSpot, to try things out")
    simulated.add_argument(
        "--port", type=_port, default=8001, help="0 to 65535; 0 takes a free one (default: 8001)"
    )
    simulated.set_defaults(run=_sandbox)


def _port(text: str) -> int:
    """Read a port for argparse."""
    if not (text.isascii() and text.isdigit() and int(text) <= 65_535):
        raise argparse.ArgumentTypeError("must be a number from 0 to 65535")
    return int(text)


def _see_that_it_is_free(host: str, port: int, setting: str) -> None:
    """Raise Refusal when nothing can listen there; another program may still be quicker than we are."""
    try:
        socket.create_server((host, port)).close()
    except OSError as error:
        why = f"{host}:{port} cannot be listened on: {error.strerror}"
        raise Refusal(f"{why}. Stop what uses it, or choose another port with {setting}.") from None


def prepared(level: int = logging.WARNING) -> Bridge:
    """Return the parts of this process over a migrated database whose secrets can be read.

    Log lines from `level` up: who runs a command wants to read its answer alone.
    """
    return _prepared(Settings.load_or_exit(os.environ), level)


def _prepared(settings: Settings, level: int) -> Bridge:
    logs.configure(settings.log_format, level=level)
    bridge = Bridge(settings)
    try:
        revision = bridge.prepare()
    except WrongSecretKey as wrong:
        raise Refusal(f"BRIDGE_SECRET_KEY: {wrong}") from None
    except OtherTables as others:
        raise Refusal(str(others)) from None
    except (*AWAY, DatabaseError) as error:
        raise Refusal(UNUSABLE.format(str(error).splitlines()[0])) from None
    log.info("database_ready", revision=revision)
    return bridge


def _migrate(_: argparse.Namespace) -> None:
    prepared(logging.INFO)


def _rotate_encryption(_: argparse.Namespace) -> None:
    bridge = prepared()
    try:
        with bridge.engine.begin() as connection:
            rotated = secret_rotation.rotate(connection, bridge.cipher)
    except WrongSecretKey as wrong:
        raise Refusal(f"BRIDGE_SECRET_KEY: {wrong}") from None
    sys.stdout.write(f"{rotated} secrets are encrypted with the newest key; the older keys can go.\n")


def _worker(_: argparse.Namespace) -> None:
    settings = Settings.load_or_exit(os.environ)
    ensure_descriptors(settings)
    bridge = _prepared(settings, logging.INFO)
    bridge.warn_at_start()
    stopping.hold_back()
    cpu_affinity.keep_to_one()
    bridge.clock.start()
    stopping.wait()
    bridge.clock.stop()


def _serve(arguments: argparse.Namespace) -> None:
    settings = Settings.load_or_exit(os.environ)
    _see_that_it_is_free(arguments.host, settings.port, "PORT")
    ensure_descriptors(settings, clients=CLIENT_CONNECTIONS)
    bridge = _prepared(settings, logging.INFO)
    sys.stdout.flush()
    bridge.engine.dispose()
    command = [sys.executable, "-m", "gunicorn", "--config", str(ROOT / "gunicorn.conf.py")]
    bound = ["--bind", f"{arguments.host}:{settings.port}"]
    # It stays in the working directory, where a relative path to SQLite begins, and finds app.py in ours.
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = os.environ | {"PYTHONPATH": path}
    os.execve(sys.executable, [*command, *bound, "app:app"], env)  # noqa: S606 -- gunicorn takes this process's place


def _sandbox(arguments: argparse.Namespace) -> None:
    _see_that_it_is_free("127.0.0.1", arguments.port, "--port")
    logs.configure()
    stopping.hold_back()
    with sandbox.running(port=arguments.port) as hubspot:
        log.info("sandbox_started", url=hubspot.url)
        stopping.wait()
    log.info("sandbox_stopped")
