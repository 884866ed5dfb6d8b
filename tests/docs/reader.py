"""A reader who follows the README to the letter, with ports, keys and ids of their own."""

import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import requests

from demo.services import ROOT, free_port

BASH = ("/bin/bash", "-ec")
PATIENCE_SECONDS = 60.0
LOOK_SECONDS = 0.2
# Settings of the bridge that somebody else has set, and make's own.
FOREIGN = ("BRIDGE_", "HUBSPOT_", "MAKE", "MFLAGS")


def environment() -> dict[str, str]:
    """Return this process's environment, less what would change what the commands do."""
    return {name: text for name, text in os.environ.items() if not name.startswith(FOREIGN)}


class Reader:
    """Runs commands of the README; `known` is what to write in place of its examples."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {port: str(free_port()) for port in ("8000", "8001", "9000")}
        # The set-up stands; to repeat it would change packages under the tests that run now.
        self.known = {
            "bridge sandbox": f"bridge sandbox --port {self.ports['8001']}",
            "make run": "make -o .venv/.ready run",
        }
        database = f"sqlite:///{folder}/bridge.db"
        self.environment = environment() | {"DATABASE_URL": database, "PORT": self.ports["8000"]}

    def url(self, port: str) -> str:
        """Return what the README calls 127.0.0.1 with this port."""
        return f"http://127.0.0.1:{self.ports[port]}"

    def filled(self, text: str) -> str:
        """Return the README's text with the reader's own values."""
        for example, real in self.known.items():
            text = text.replace(example, real)
        return re.sub(r"\b(8000|8001|9000)\b", lambda found: self.ports[found[0]], text)

    def run(self, commands: str) -> str:
        """Run commands to their end; return what they print."""
        return printed(self.filled(commands), self.environment)

    @contextmanager
    def terminal(self, commands: str, ready_url: str) -> Iterator[Path]:
        """Run commands whose last one stays, until the block ends; yield the file of their output."""
        *before, last = self.filled(commands).splitlines()
        script = "\n".join([*before, f"exec env {last}"])
        output = self.folder / f"terminal-{free_port()}"
        with output.open("w") as file:
            process = subprocess.Popen(
                [*BASH, script], cwd=ROOT, env=self.environment, stdout=file, stderr=file
            )
        with ExitStack() as stack:
            stack.callback(_end, process)
            until(lambda: process.poll() is not None or _answers(ready_url), output)
            assert process.poll() is None, output.read_text()
            yield output


def printed(script: str, environment: Mapping[str, str]) -> str:
    """Run a script of commands to its end; return what it prints."""
    ran = subprocess.run(
        [*BASH, script],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=True,
    )
    return ran.stdout


def until(happened: Callable[[], bool], told_by: Path) -> None:
    """Wait until something has happened; what the file tells is shown when it does not."""
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while not happened():
        assert time.monotonic() < give_up_at, told_by.read_text()
        time.sleep(LOOK_SECONDS)


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
        process.wait(PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
