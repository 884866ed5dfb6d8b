"""Forks: each ends with the status of its own command, whoever starts and asks at the same time."""

from multiprocessing.connection import wait
from pathlib import Path
from signal import SIGKILL

from tests.forks import Fork
from tests.threads import at_once


def started(folder: Path, *arguments: str) -> Fork:
    output = folder / "output"
    return Fork(("-m", "bridge", *arguments), {"DATABASE_URL": "sqlite://"}, stdout=output, stderr=output)


def test_of_many_at_once_each_has_its_own_status(tmp_path: Path) -> None:
    def several(number: int) -> list[int]:
        return [started(tmp_path, "sing" if number % 2 else "--version").wait(60) for _ in range(15)]

    assert at_once(8, several) == [[0] * 15, [2] * 15] * 4


def test_one_that_is_killed_has_the_signal_s_number(tmp_path: Path) -> None:
    fork = started(tmp_path, "sandbox", "--port", "0")
    fork.kill()
    assert fork.wait(60) == -SIGKILL


def test_one_that_has_ended_keeps_its_status_when_it_is_killed(tmp_path: Path) -> None:
    fork = started(tmp_path, "sing")
    wait([fork.sentinel], 60)
    fork.kill()
    assert fork.wait(60) == 2
