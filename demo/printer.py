"""The demo's output: a line for each event, then a table. Coloured on a terminal."""

import sys
import threading
import time
from collections.abc import Sequence

COLOURS = {"registered": 36, "polled": 90, "ended": 33, "called back": 32, "retrying": 35, "problem": 31}


class Printer:
    """Prints events with the seconds since the start. Thread-safe."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._lock = threading.Lock()
        self._coloured = sys.stdout.isatty()

    def event(self, what: str, name: str, detail: str) -> None:
        """Print an event of an import."""
        seconds = time.monotonic() - self._started
        with self._lock:
            print(
                f"{seconds:6.1f} s  {self._in_colour(what, f'{what:<11}')}  {name:<22}  {detail}", flush=True
            )

    def say(self, text: str) -> None:
        """Print a line of its own."""
        with self._lock:
            print(text, flush=True)

    def table(self, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print rows in columns."""
        widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
        lines = [heads, ["-" * width for width in widths], *rows]
        for line in lines:
            self.say("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())

    def _in_colour(self, what: str, text: str) -> str:
        return f"\033[{COLOURS[what]}m{text}\033[0m" if self._coloured else text
