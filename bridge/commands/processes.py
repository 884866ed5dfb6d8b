"""The processes: migrate, rotate-encryption, worker, serve, sandbox."""

import argparse
import logging
import os
import signal
import socket
import sys

import structlog

from bridge import logs, open_files, sandbox, startup, tracing
from bridge.commands import output
from bridge.commands.open_bridge import open_bridge, prepare_bridge
from bridge.commands.output import CommandError
from bridge.db import encryption
from bridge.db.encryption import WrongSecretKey
from bridge.db.migrations import ROOT
from bridge.settings import Settings
from bridge.worker import cpu_affinity

log = structlog.get_logger()

STOP_SIGNALS = {signal.SIGTERM, signal.SIGINT}


def migrate(_: argparse.Namespace) -> None:
    """Bring the database to the newest revision."""
    prepare_bridge(level=logging.INFO)


def rotate_encryption(_: argparse.Namespace) -> None:
    """Encrypt all stored secrets with the first key."""
    bridge = open_bridge()
    try:
        with bridge.engine.begin() as connection:
            rotated = encryption.rotate_keys(connection, bridge.cipher)
    except WrongSecretKey as wrong:
        raise CommandError(f"BRIDGE_SECRET_KEY: {wrong}") from None
    output.write(f"{rotated} secrets are encrypted with the newest key; the older keys can go.\n")


def worker(_: argparse.Namespace) -> None:
    """Poll and deliver until told to stop."""
    settings = Settings.load_or_exit(os.environ)
    open_files.ensure(settings.concurrency)
    bridge = prepare_bridge(settings, level=logging.INFO)
    startup.warn(bridge)
    block_stop_signals()
    cpu_affinity.use_one_core()
    tracing.configure()
    bridge.counters_clock.start()
    bridge.clock.start()
    wait_for_stop_signal()
    bridge.clock.stop()
    bridge.counters_clock.stop()


def serve(arguments: argparse.Namespace) -> None:
    """Migrate, then become gunicorn."""
    settings = Settings.load_or_exit(os.environ)
    _ensure_port_is_free(arguments.host, settings.port, "PORT")
    open_files.ensure(
        settings.concurrency, works=settings.embedded_worker, clients=open_files.CLIENT_CONNECTIONS
    )
    bridge = prepare_bridge(settings, level=logging.INFO)
    output.flush()
    bridge.engine.dispose()
    command = [sys.executable, "-m", "gunicorn", "--config", str(ROOT / "gunicorn.conf.py")]
    bound = ["--bind", f"{arguments.host}:{settings.port}"]
    # It stays in the working directory, where a relative path to SQLite begins, and finds app.py in ours.
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = os.environ | {"PYTHONPATH": path}
    os.execve(sys.executable, [*command, *bound, "app:app"], env)  # noqa: S606 -- gunicorn takes this process's place


def run_sandbox(arguments: argparse.Namespace) -> None:
    """Be a simulated HubSpot until told to stop."""
    _ensure_port_is_free("127.0.0.1", arguments.port, "--port")
    logs.configure()
    block_stop_signals()
    with sandbox.running(port=arguments.port) as hubspot:
        log.info("sandbox_started", url=hubspot.url)
        wait_for_stop_signal()
    log.info("sandbox_stopped")


def _ensure_port_is_free(host: str, port: int, setting: str) -> None:
    """Raise CommandError when nothing can listen there; another program may still be quicker than we are."""
    try:
        socket.create_server((host, port)).close()
    except OSError as error:
        why = f"{host}:{port} cannot be listened on: {error.strerror}"
        raise CommandError(f"{why}. Stop what uses it, or choose another port with {setting}.") from None


# A process that waits until it is told to stop blocks the signals, and waits for them. A handler could not do it: it
# may come while its own thread holds the lock that it wants, and where another thread gets the signal, one that waits
# for a lock does not wake up.


def block_stop_signals() -> None:
    """Keep the signals to stop until `wait_for_stop_signal` is called; for the main thread, before it starts others."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)


def wait_for_stop_signal() -> None:
    """Return when the first of the signals has come, even if that was before the call."""
    signal.sigwait(STOP_SIGNALS)
