"""The commands `migrate`, `rotate-encryption`, `worker` and `serve`."""

import argparse
import errno
import logging
import os
import runpy
import signal
import socket
import sys
import threading

import structlog

from bridge import open_files, startup, tracing
from bridge.commands import output
from bridge.commands.open_bridge import open_bridge, prepare_bridge
from bridge.commands.output import CommandError
from bridge.db import encryption
from bridge.db.encryption import WrongSecretKey
from bridge.db.migrations import ROOT
from bridge.settings import Settings
from bridge.worker import cpu_affinity

log = structlog.get_logger()

OTHER_HOST = "Give --host an address of this machine."
STOP_SIGNALS = {signal.SIGTERM, signal.SIGINT}
# A stop takes no longer; Heroku kills after 30 s. The worker's own limit is `scheduler.STOP_SECONDS`, but when the
# database hangs, each statement waits for its time-out.
EXIT_SECONDS = 25.0


def migrate(_: argparse.Namespace) -> None:
    """Bring the database to the newest revision."""
    prepare_bridge(level=logging.INFO)


def rotate_encryption(_: argparse.Namespace) -> None:
    """Encrypt all stored secrets with the first key of BRIDGE_SECRET_KEY."""
    bridge = open_bridge()
    try:
        rotated = encryption.reencrypt_secrets(bridge.engine, bridge.cipher)
    except WrongSecretKey as wrong:
        raise CommandError(f"BRIDGE_SECRET_KEY: {wrong}") from None
    output.write(f"{rotated} secrets are encrypted with the newest key; the older keys can go.\n")


def worker(_: argparse.Namespace) -> None:
    """Migrate the database, then run a worker until SIGTERM or SIGINT."""
    settings = Settings.load_or_exit(os.environ)
    open_files.ensure(settings.concurrency)
    bridge = prepare_bridge(settings, level=logging.INFO)
    startup.warn(bridge)
    block_stop_signals()
    cpu_affinity.use_one_core()
    tracing.configure()
    bridge.counter_flusher.start()
    bridge.scheduler.start()
    wait_for_stop_signal()
    _exit_within(EXIT_SECONDS, bridge.scheduler.worker_id)
    bridge.scheduler.stop()
    bridge.counter_flusher.stop()


def _exit_within(seconds: float, worker_id: str) -> None:
    """Start a timer that ends this process with status 0 after `seconds`, and return at once.

    The timer has no effect if the process ends before. `worker_id` is for the log.
    """

    def end() -> None:
        # Nothing is lost: other workers claim the watches when the leases end.
        log.warning("worker_stop_timed_out", worker=worker_id, seconds=seconds)
        os._exit(0)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()


def serve(arguments: argparse.Namespace) -> None:
    """Migrate the database, then run gunicorn in this process."""
    settings = Settings.load_or_exit(os.environ)
    host = arguments.host.strip("[]")
    ensure_port_is_free(host, settings.port, "PORT")
    open_files.ensure(
        settings.concurrency, works=settings.embedded_worker, clients=open_files.CLIENT_CONNECTIONS
    )
    bridge = prepare_bridge(settings, level=logging.INFO)
    bridge.engine.dispose()
    # gunicorn runs in this process, because another interpreter would import everything once more. The working
    # directory is kept: a relative path to SQLite starts there.
    bound = _address(host, settings.port)
    # With `alter_sys`, sys.argv becomes a command line of gunicorn. On SIGUSR2 gunicorn runs this command line in a new
    # process, which finds app.py by PYTHONPATH.
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    # That command line is the path of a script, and the script's folder, gunicorn's, holds another package `http`.
    os.environ["PYTHONSAFEPATH"] = "1"
    sys.argv[1:] = ["--config", str(ROOT / "gunicorn.conf.py"), "--bind", bound, "app:app"]
    runpy.run_module("gunicorn", run_name="__main__", alter_sys=True)


def ensure_port_is_free(host: str, port: int, setting: str) -> None:
    """Raise CommandError if no server can listen on the port `port` of `host`.

    An IPv6 `host` has no brackets. `setting` names the variable or option that sets the port, for the error message.
    """
    failure = f"{_address(host, port)} cannot be listened on"
    # Not socket.create_server: with it, `::` would be IPv6 alone, and its errors repeat the address.
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
            listener.listen()
    except TypeError:  # of a name that is not ASCII, and cannot be encoded
        raise CommandError(f"{failure}: It is no name of a host. {OTHER_HOST}") from None
    except OSError as error:
        is_port_at_fault = error.errno in {errno.EADDRINUSE, errno.EACCES}
        other_port = f"Stop what uses it, or choose another port with {setting}."
        raise CommandError(
            f"{failure}: {error.strerror}. {other_port if is_port_at_fault else OTHER_HOST}"
        ) from None


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


# The long-running commands block the stop signals and wait for them with sigwait. A signal handler might need a lock
# that its own thread holds; and a main thread that waits for a lock does not wake up when another thread receives the
# signal.


def block_stop_signals() -> None:
    """Block SIGTERM and SIGINT, so that `wait_for_stop_signal` can wait for them.

    To be called before other threads start.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)


def wait_for_stop_signal() -> None:
    """Wait for a stop signal; return at once if one has come since `block_stop_signals`."""
    signal.sigwait(STOP_SIGNALS)
