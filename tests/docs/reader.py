"""A reader who follows the README to the letter, with ports, keys and ids of their own."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from demo.services import ROOT
from tests.ports import free_port

BASH = ("/bin/bash", "-ec")
# Far longer than a loaded machine takes to start several processes, one after the other.
TIMEOUT_SECONDS = 240.0
LOOK_SECONDS = 0.2
# Settings of the bridge that somebody else has set, and make's own.
FOREIGN = ("BRIDGE_", "HUBSPOT_", "MAKE", "MFLAGS", "VENV")


def environment() -> dict[str, str]:
    """Return this process's environment, less what would change what the commands do."""
    return {name: text for name, text in os.environ.items() if not name.startswith(FOREIGN)}


class Reader:
    """Runs commands of the README in a terminal that remembers; `known` is what to write in place of some text."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {port: str(free_port()) for port in ("8000", "8001", "9000")}
        # The set-up stands; to repeat it would change packages under the tests that run now.
        self.known = {
            "bridge sandbox": f"bridge sandbox --port {self.ports['8001']}",
            "make run": f"make -o setup VENV={sys.prefix} run",
            ".venv/bin/python": sys.executable,
        }
        database = f"sqlite:///{folder}/bridge.db"
        self.environment = environment() | {"DATABASE_URL": database, "PORT": self.ports["8000"]}

    def url(self, port: str) -> str:
        """Return what the README calls 127.0.0.1 with this port."""
        return f"http://127.0.0.1:{self.ports[port]}"

    def filled(self, text: str) -> str:
        """Return the README's text with the reader's own values."""
        text = re.sub(r"\b(8000|8001|9000)\b", lambda found: self.ports[found[0]], text)
        for example, real in self.known.items():
            text = text.replace(example, real)
        return text

    def run(self, commands: str) -> str:
        """Run commands to their end; return what they print. What they set is set for those that follow."""
        after = self.folder / "environment"
        # It marks variables and functions for export, as soon as they are set.
        text = printed(f"set -a\n{self.filled(commands)}\nenv -0 > {after}", self.environment)
        entries = after.read_text(encoding="utf-8").rstrip("\0").split("\0")
        self.environment = dict(entry.split("=", 1) for entry in entries)
        return text

    @contextmanager
    def installation(self, sandbox: str, serve: str, add: str) -> Iterator[None]:
        """Run the simulated HubSpot and the bridge until the block ends, and add a client, by these commands."""
        with (
            self.terminal(sandbox, f"{self.url('8001')}/sandbox/ledger") as hubspot,
            self.terminal(serve, f"{self.url('8000')}/readyz") as bridge,
        ):
            hubspot.await_ready()
            bridge.await_ready()
            assert self.run(add) == ""
            yield

    @contextmanager
    def terminal(self, commands: str, url: str) -> Iterator["Terminal"]:
        """Run commands whose last one stays until the block ends, and then answers at `url`."""
        *before, last = self.filled(commands).splitlines()
        script = "\n".join([*before, f"exec env {last}"])
        output = self.folder / f"terminal-{free_port()}"
        with output.open("w") as file:
            process = subprocess.Popen(
                [*BASH, script], cwd=ROOT, env=self.environment, stdout=file, stderr=file
            )
        try:
            yield Terminal(process=process, output=output, url=url)
        finally:
            _end(process)


@dataclass(frozen=True, kw_only=True, slots=True)
class Terminal:
    """Where a command runs that stays."""

    process: subprocess.Popen[bytes]
    output: Path
    url: str

    def await_ready(self) -> None:
        """Wait until the command answers."""
        self.until(lambda: self.process.poll() is not None or _answers(self.url))
        assert self.process.poll() is None, self.printed

    def until(self, happened: Callable[[], bool]) -> None:
        """Wait until something has happened; what the command printed is shown when it does not."""
        wait_until(happened, lambda: self.printed)

    @property
    def printed(self) -> str:
        """What the command has printed by now."""
        return self.output.read_text(encoding="utf-8")


def wait_until(happened: Callable[[], bool], why: Callable[[], object] = lambda: "it never happened") -> None:
    """Wait until something has happened; `why` tells what is shown when it does not."""
    give_up_at = time.monotonic() + TIMEOUT_SECONDS
    while not happened():
        assert time.monotonic() < give_up_at, why()
        time.sleep(LOOK_SECONDS)


def printed(script: str, environment: Mapping[str, str]) -> str:
    """Run a script of commands to its end; return what it prints. Skips the test when curl is needed and missing."""
    if "curl " in script and not shutil.which("curl"):
        pytest.skip("The page's commands need curl.")
    ran = subprocess.run(
        [*BASH, script],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=True,
    )
    return ran.stdout


def values(text: str) -> list[Any]:
    """Return the JSON values that stand one behind the other."""
    found, decoder = [], json.JSONDecoder()
    while text := text.strip():
        value, end = decoder.raw_decode(text)
        found.append(value)
        text = text[end:]
    return found


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).status_code < 500
    except requests.RequestException:
        return False


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
