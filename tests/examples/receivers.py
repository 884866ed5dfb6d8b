"""The receivers of `examples/`, run by the commands that their first lines name, but with slow work."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import requests

from tests.docs.reader import TIMEOUT_SECONDS, environment, wait_until
from tests.ports import free_port

EXAMPLES = Path(__file__).parents[2] / "examples"


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """One of the files: where its folder has it, and how it is run there ({port} stands for the port).

    `changes` are texts of the file and what is run in their place: work takes 0.3 s, and a worker that has none looks
    for more after 0.05 s.
    """

    file: str
    path: str
    commands: tuple[str, ...]
    changes: tuple[tuple[str, str], ...]
    needs: tuple[str, ...]

    @property
    def missing(self) -> str | None:
        """Why this machine cannot run it, if it cannot."""
        for need in self.needs:
            program, *arguments = shlex.split(need)
            if shutil.which(program) is None:
                return f"{program} is not installed"
            if (
                arguments
                and subprocess.run([program, *arguments], capture_output=True, check=False).returncode
            ):
                return f"`{need}` fails"
        return None

    @property
    def text(self) -> str:
        """What is in the file."""
        return (EXAMPLES / self.file).read_text(encoding="utf-8")

    @property
    def from_npm(self) -> bool:
        """Whether it uses packages of npm."""
        return "npm" in self.needs

    def write(self, folder: Path) -> None:
        """Write the file, with its changes, to where it belongs in `folder`."""
        text = self.text
        for before, after in self.changes:
            assert text.count(before) == 1, before
            text = text.replace(before, after)
        path = folder / self.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _python(file: str) -> Example:
    return Example(
        file=file,
        path=file,
        commands=(f"{sys.executable} {file}",),
        changes=(("time.sleep(1)", "time.sleep(0.05)"), ("print(", "time.sleep(0.3); print(")),
        needs=(),
    )


def _node(file: str, path: str, command: str) -> Example:
    return Example(
        file=file,
        path=path,
        commands=(command,),
        changes=(("console.log(", "await new Promise((done) => setTimeout(done, 300)); console.log("),),
        needs=("npm",),
    )


RECEIVERS = (
    _python("receiver_flask.py"),
    _python("receiver_fastapi.py"),
    _python("receiver_django.py"),
    _node("receiver_express.mjs", "receiver_express.mjs", "node receiver_express.mjs"),
    # `dev` instead of `start`: it builds the one route alone.
    _node(
        "receiver_nextjs.js",
        "app/hooks/hubspot/route.js",
        "../../node_modules/.bin/next dev --hostname 127.0.0.1 --port {port}",
    ),
    Example(
        file="receiver.php",
        path="web/receiver.php",
        commands=("php -S 127.0.0.1:{port} web/receiver.php", "php web/receiver.php"),
        changes=((" sleep(1);", " usleep(50_000);"), ("echo ", "usleep(300_000); echo ")),
        needs=("php -r 'new PDO(\"sqlite::memory:\");'",),
    ),
    Example(
        file="receiver.go",
        path="receiver.go",
        commands=("go run receiver.go",),
        changes=(("fmt.Println(", "time.Sleep(300 * time.Millisecond); fmt.Println("),),
        needs=("go",),
    ),
    Example(
        file="receiver.rb",
        path="receiver.rb",
        commands=("ruby receiver.rb",),
        changes=((" sleep 1\n", " sleep 0.05\n"), ("puts ", "sleep 0.3; puts ")),
        needs=("ruby -r sinatra/base -r sqlite3 -r puma -e ''",),
    ),
)


@dataclass(kw_only=True, slots=True)
class Receiver:
    """A receiver that runs in its folder, and can be killed and started again."""

    example: Example
    folder: Path
    secret: str
    port: int = field(default_factory=free_port)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        """The callback URL."""
        return f"http://127.0.0.1:{self.port}/hooks/hubspot"

    @property
    def printed(self) -> str:
        """What it has printed by now, in all its lives."""
        return (self.folder / "printed").read_text(encoding="utf-8")

    def handled(self, task_id: str) -> int:
        """How often the import of this task was handled."""
        return self.printed.splitlines().count(f"import.completed {task_id}")

    def start(self) -> None:
        """Start it, and wait until it answers."""
        settings = {"SIGNING_SECRET": self.secret, "PORT": str(self.port), "NEXT_TELEMETRY_DISABLED": "1"}
        with (self.folder / "printed").open("a") as output:
            for command in self.example.commands:
                process = subprocess.Popen(
                    shlex.split(command.format(port=self.port)),
                    cwd=self.folder,
                    env=environment() | settings,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,  # it may have processes of its own
                )
                self.processes.append(process)
        self.until(self._answers)

    def kill(self) -> None:
        """Kill it as a crash would."""
        for process in self.processes:
            with suppress(ProcessLookupError):  # it has ended by itself
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(TIMEOUT_SECONDS)
        self.processes.clear()

    def until(self, happened: Callable[[], bool]) -> None:
        """Wait until something has happened; what was printed is shown when it does not."""
        wait_until(lambda: happened() or self._ended(), lambda: self.printed)
        assert not self._ended(), self.printed

    def _answers(self) -> bool:
        try:
            return requests.post(self.url, b"{}", timeout=TIMEOUT_SECONDS).status_code == 400
        except requests.ConnectionError:
            return False

    def _ended(self) -> bool:
        return any(process.poll() is not None for process in self.processes)


@contextmanager
def running(example: Example, folder: Path, secret: str) -> Iterator[Receiver]:
    """Run an example in `folder` until the block ends."""
    example.write(folder)
    receiver = Receiver(example=example, folder=folder, secret=secret)
    try:
        receiver.start()
        yield receiver
    finally:
        receiver.kill()
