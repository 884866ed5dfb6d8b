"""How much CPU the help of a command takes: none may import the whole bridge for it."""

import resource
import subprocess

from bench.harness import Bench
from bench.processes import ROOT, python
from bench.report import Row, ScenarioResult, at_most

COMMANDS = ((), ("clients", "add"), ("watches", "list"), ("sandbox",))


def run(bench: Bench) -> ScenarioResult:
    """Ask some commands for their help, again and again."""
    figures = [_cpu_seconds(command) for command in COMMANDS for _ in range(bench.pick(10, 2))]
    row = Row(name="CPU of a command's `--help`", figures=figures, goal=at_most(0.3, floor=0.6), unit="s")
    return ScenarioResult(rows=[row])


def _cpu_seconds(command: tuple[str, ...]) -> float:
    """Return the user and system time of the command's process, in seconds."""
    before = _children_seconds()
    subprocess.check_output(python("-m", "bridge", *command, "--help"), cwd=ROOT)
    return _children_seconds() - before


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
