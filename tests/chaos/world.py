"""The world of a chaos run: a bridge of several processes, its database, its HubSpot and its receivers."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any

from bridge.db.engine import UNAVAILABLE
from bridge.sandbox import Sandbox
from tests.reliability.api import Api
from tests.reliability.database import Installation
from tests.reliability.ledger import Ledger
from tests.reliability.processes import WEB, WORKER, Processes, Running, errors
from tests.reliability.receiver import Receiver
from tests.reliability.scenarios import QUIET_SECONDS
from tests.reliability.waiting import until

COMMANDS = {"web": WEB, "worker 1": WORKER, "worker 2": WORKER}
# What takes longest are five minutes' pauses of an account; they need a hundred failures in a row.
SETTLE_SECONDS = 300.0


@dataclass(frozen=True, kw_only=True, slots=True)
class ExpectedWatch:
    """A registration, and what must come of it."""

    body: dict[str, object]
    outcome: str
    state: str


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """What the random events act on, and what they have done.

    `lock_database` keeps everybody from it for so many seconds, and returns at once.
    """

    random: Random
    installation: Installation
    hubspot: Sandbox
    receiver: Receiver
    ledger: Ledger
    api: Api
    processes: Processes
    lock_database: Callable[["World", float], None]
    running: dict[str, Running] = field(default_factory=dict)
    unanswered: list[ExpectedWatch] = field(default_factory=list)
    timers: list[threading.Timer] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    surprises: list[str] = field(default_factory=list)

    def open_as(self, outcome: str) -> int:
        """Return how many watches are to have this outcome, and are not final."""
        awaited = sum(expected.outcome == outcome for expected in self.unanswered)
        return awaited + self.ledger.open_as(outcome)

    def later(self, seconds: float, act: Callable[[], Any]) -> None:
        """Do something after so long, whatever else happens meanwhile."""
        timer = threading.Timer(seconds, act)
        self.timers.append(timer)
        timer.start()

    def wait_for_timers(self) -> None:
        for timer in self.timers:
            timer.join()

    def tend(self) -> None:
        """Do what a platform does, and good clients: start who is dead, ask again what got no answer."""
        for name, command in COMMANDS.items():
            if name not in self.running or not self.running[name].alive:
                self.running[name] = self.processes.start(*command)
        for expected in tuple(self.unanswered):
            if self.register(expected):
                self.unanswered.remove(expected)
        with suppress(*UNAVAILABLE):
            self.ledger.look()

    def register(self, expected: ExpectedWatch) -> bool:
        """Tell whether the registration was answered; then it is promised."""
        answer = self.api.call("POST", "/v1/watches", expected.body)
        if answer is None or answer.status_code == 503:
            return False
        if answer.status_code in {200, 201}:
            self.ledger.promise(answer.json()["id"], outcome=expected.outcome, state=expected.state)
        else:
            self.surprises.append(f"a registration was answered {answer.status_code}: {answer.text}")
        return True

    def settle(self) -> None:
        """Let nothing more happen, until all is told that was promised."""
        self.wait_for_timers()
        self.hubspot.state.clear_faults()

        def settled() -> bool:
            self.tend()
            return not self.unanswered and self.ledger.settled()

        # What is open still when the time is over, the ledger names.
        with suppress(AssertionError):
            until(settled, within_seconds=SETTLE_SECONDS)
        time.sleep(QUIET_SECONDS)

    def problems(self) -> list[str]:
        """Return what does not add up."""
        logged = [line for started in self.processes.started for line in errors(started.log)]
        # gunicorn tells as an error that its children were killed.
        ours = [
            f"an error was logged: {line['event']} {line.get('watch', '')}"
            for line in logged
            if not line["logger"].startswith("gunicorn")
        ]
        return [*self.surprises, *self.ledger.problems(), *ours]
