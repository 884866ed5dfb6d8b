"""The processes of the demo: the real commands, on free ports."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import requests

ROOT = Path(__file__).parents[1]
START_SECONDS = 120  # on a loaded machine
STOP_SECONDS = 30


def free_port() -> int:
    """Return a loopback port that is not in use."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def environment(folder: Path, hubspot_url: str, port: int) -> dict[str, str]:
    """Return the environment of the bridge: a database, the simulated HubSpot, callbacks to loopback."""
    # Others' settings, proxies, and Heroku's mark, with which the bridge refuses SQLite.
    foreign = re.compile(r"BRIDGE_.*|HUBSPOT_.*|.*_proxy|DYNO", re.IGNORECASE)
    inherited = {name: value for name, value in os.environ.items() if not foreign.fullmatch(name)}
    return inherited | {
        "DATABASE_URL": f"sqlite:///{folder}/bridge.db",
        "PORT": str(port),
        "HUBSPOT_BASE_URL": hubspot_url,
        "HUBSPOT_ACCESS_TOKEN": "sandbox-token",
        "BRIDGE_CALLBACK_HTTPS_ONLY": "false",
        "BRIDGE_CALLBACK_ALLOW": "127.0.0.0/8",
        "BRIDGE_RETRY_SCHEDULE": "2,5,10",
        "BRIDGE_LOG_FORMAT": "json",
    }


def loopback_session() -> requests.Session:
    """Return a session that takes nothing from the environment, such as a proxy, which would not reach loopback."""
    session = requests.Session()
    session.trust_env = False
    return session


@contextmanager
def running(arguments: list[str], ready_url: str, env: Mapping[str, str], log: Path) -> Iterator[None]:
    """Run `python -m bridge …` during the block. Raises RuntimeError with its log when it does not become ready."""
    with log.open("w") as output:
        # Not in the demo's process group: a signal to the group would not end the bridge, but reload it (SIGHUP).
        process = subprocess.Popen(
            [sys.executable, "-m", "bridge", *arguments],
            cwd=ROOT,
            env=env,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        _wait_until_ready(process, ready_url, log)
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    give_up_at = time.monotonic() + START_SECONDS
    with loopback_session() as session:
        while time.monotonic() < give_up_at and process.poll() is None:
            try:
                if session.get(url, timeout=5).ok:
                    return
            except requests.ConnectionError:
                pass
            time.sleep(0.1)
    raise RuntimeError(f"{url} did not become ready:\n{log.read_text()}")


def add_client(env: Mapping[str, str], name: str) -> dict[str, str]:
    """Make a client with the real command; return its name, key and secret."""
    command = [sys.executable, "-m", "bridge", "clients", "add", name, "--json"]
    made = subprocess.run(
        command, cwd=ROOT, env=env, stdout=subprocess.PIPE, start_new_session=True, check=True
    )
    client: dict[str, str] = json.loads(made.stdout)
    return client
