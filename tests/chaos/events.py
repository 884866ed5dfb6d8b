"""What happens in a world of chaos: one random event at a time, drawn by weight."""

import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from random import Random
from typing import TypeVar

from bridge.core.account_limits import SUSPECTS
from bridge.db.engine import UNAVAILABLE
from bridge.sandbox import Outcome, Reply
from tests.chaos.world import COMMANDS, ExpectedWatch, World

Drawn = TypeVar("Drawn")

# How tasks end, with how often; and as what the bridge must tell it.
TASKS = {
    (Outcome.COMPLETED, "completed"): 6,
    (Outcome.COMPLETED_WITH_ERRORS, "completed_with_errors"): 1,
    (Outcome.FAILED, "failed"): 1,
    (Outcome.CANCELED, "canceled"): 1,
    (Outcome.REJECTED, "rejected"): 1,
    (Outcome.STUCK, "timed_out"): 1,
}
# How receivers behave, with how often; and what becomes of their watches.
RECEIVERS = {
    ("ok", "delivered"): 8,
    ("slow", "delivered"): 2,
    ("flaky", "delivered"): 2,
    ("silent-first", "delivered"): 1,
    ("hangs-first", "delivered"): 1,
    ("later", "delivered"): 1,
    ("gone", "undelivered"): 1,
    ("refuses", "undelivered"): 1,
}
# None of these changes how a task ends.
FAULTS = ("500", "502", "503", "423", "301", "404-html", "html", "null", "empty", "cut-short", "big")
MANNERS = ("hang", "drop", "short", "drip")
THROTTLED = Reply(status_code=429, headers={"Retry-After": "1"})
# The shortest that there is.
STUCK_SECONDS = 10
# One more unknown task could suspect the account, whose tasks are then rejected slowly.
MOST_UNKNOWN = SUSPECTS - 1
LONGEST_STOP_SECONDS = 6.0
LONGEST_LOCK_SECONDS = 4.0


def registers(world: World) -> None:
    """A client registers a few watches."""
    for _ in range(world.random.randint(1, 5)):
        ending, outcome = drawn(world.random, TASKS)
        if ending is Outcome.REJECTED and world.open_as(outcome) >= MOST_UNKNOWN:
            ending, outcome = Outcome.COMPLETED, "completed"
        behaviour, state = drawn(world.random, RECEIVERS)
        [task_id] = world.hubspot.state.add_tasks(
            outcome=ending,
            pending_seconds=world.random.uniform(0, 2),
            processing_seconds=world.random.uniform(0, 4),
        )
        body: dict[str, object] = {
            "task_id": task_id,
            "callback_url": world.receiver.url(world.installation, behaviour),
            "metadata": {"behaviour": behaviour},
        }
        if ending is Outcome.STUCK:
            body["timeout_seconds"] = STUCK_SECONDS
        expected = ExpectedWatch(body=body, outcome=outcome, state=state)
        world.done["registered"] += 1
        if not world.register(expected):
            world.unanswered.append(expected)


def withdraws(world: World) -> None:
    """A client takes a watch back."""
    if watch_id := _any_in(world, "watching", "delivering"):
        answer = world.api.call("DELETE", f"/v1/watches/{watch_id}")
        if answer is None or answer.ok:
            world.ledger.withdrawn(watch_id, surely=answer is not None)
            world.done["withdrawn"] += 1


def redelivers(world: World) -> None:
    """A client wants a callback again."""
    if watch_id := _any_in(world, "delivered", "undelivered"):
        answer = world.api.call("POST", f"/v1/watches/{watch_id}/redeliver")
        if answer is None or answer.ok:
            world.ledger.reopened(watch_id)
            world.done["redelivered"] += 1


def rechecks(world: World) -> None:
    """A client does not want to wait for the next poll."""
    if watch_id := _any_in(world, "watching"):
        world.api.call("POST", f"/v1/watches/{watch_id}/recheck")
        world.done["rechecked"] += 1


def _any_in(world: World, *states: str) -> str | None:
    with suppress(*UNAVAILABLE):
        if found := world.ledger.in_state(*states):
            return world.random.choice(found)
    return None


def kills(world: World) -> None:
    """A process, with its children, dies on the spot."""
    name = world.random.choice(list(COMMANDS))
    world.running[name].end()
    world.done[f"{name} killed"] += 1


def restarts(world: World) -> None:
    """A process is told to stop, as in every deployment."""
    name = world.random.choice(list(COMMANDS))
    world.running[name].send(signal.SIGTERM)
    world.done[f"{name} told to stop"] += 1


def stops(world: World) -> None:
    """A process does not run for a while, and then goes on as if nothing had been."""
    name = world.random.choice(list(COMMANDS))
    process = world.running[name]
    process.send_to_all(signal.SIGSTOP)
    world.later(world.random.uniform(0.2, LONGEST_STOP_SECONDS), lambda: process.send_to_all(signal.SIGCONT))
    world.done[f"{name} suspended"] += 1


def locks(world: World) -> None:
    """The database goes away."""
    world.lock_database(world, world.random.uniform(0.2, LONGEST_LOCK_SECONDS))


def fails(world: World) -> None:
    """HubSpot gives wrong answers for a while."""
    fault = world.random.choice((*FAULTS, *MANNERS, THROTTLED))
    world.hubspot.state.set_fault(fault, times=world.random.randint(1, 3))
    world.done["faults of HubSpot"] += 1


EVENTS: dict[Callable[[World], None], int] = {
    registers: 40,
    withdraws: 4,
    redelivers: 5,
    rechecks: 4,
    kills: 5,
    restarts: 2,
    stops: 4,
    locks: 2,
    fails: 6,
}


def act(world: World) -> None:
    """Let one of them happen."""
    drawn(world.random, EVENTS)(world)


def drawn(random: Random, weights: Mapping[Drawn, int]) -> Drawn:
    """Draw one of them, by weight."""
    [one] = random.choices(list(weights), list(weights.values()))
    return one
