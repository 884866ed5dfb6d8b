"""Processes: started, surely ended, and what they cost, as /proc tells it."""

import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import requests

ROOT = Path(__file__).parents[1]
START_SECONDS = 30.0
STOP_SECONDS = 30
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class Process:
    """A process of ours, or one that it has started."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    @property
    def cpu_seconds(self) -> float:
        """CPU time so far, user and system."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND

    @property
    def peak_mebibytes(self) -> float:
        """The most memory that was resident at a time."""
        return self._mebibytes("VmHWM:")

    @property
    def resident_mebibytes(self) -> float:
        """The memory that is resident now."""
        return self._mebibytes("VmRSS:")

    @property
    def open_files(self) -> list[str]:
        """What each of its descriptors is, as `/proc/…/fd` links to it; a socket begins with `socket:`."""
        files = []
        for link in Path(f"/proc/{self.pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed meanwhile
                files.append(str(link.readlink()))
        return files

    def _mebibytes(self, field: str) -> float:
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def family_cpu_seconds(parent: int) -> float:
    """CPU time so far of a process and its living children."""
    total = 0.0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended meanwhile
        if int(folder.name) == parent or int(fields[1]) == parent:
            total += (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND
    return total


@contextmanager
def started(command: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> Iterator[Process]:
    """Run a command until the block ends; what it says goes to `log`."""
    with log.open("ab") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=output, stderr=output)
    try:
        yield Process(process.pid)
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to end, and see that it does."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_until_up(port: int) -> None:
    """Wait until a web server of ours answers."""
    with requests.Session() as session:
        retries = requests.adapters.Retry(total=240, connect=240, backoff_factor=0.1, backoff_max=0.5)
        session.mount("http://", requests.adapters.HTTPAdapter(max_retries=retries))
        session.get(f"http://127.0.0.1:{port}/healthz", timeout=START_SECONDS)


def python(*arguments: str) -> list[str]:
    """Return the command that runs this Python with `arguments`."""
    return [sys.executable, *arguments]


def machine() -> dict[str, str]:
    """Describe what everything ran on."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    memory = int(Path("/proc/meminfo").read_text().split()[1]) / 1024**2
    return {
        "system": platform.platform(),
        "python": platform.python_version(),
        "cpu": f"{os.cpu_count()} x {cpu}",
        "memory": f"{memory:.0f} GiB",
        "load average": " ".join(f"{load:.1f}" for load in os.getloadavg()),
    }
