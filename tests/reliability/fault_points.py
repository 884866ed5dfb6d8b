"""A real command that is struck by a signal at a named boundary of its own code.

`python -m tests.reliability.fault_points BOUNDARY NTH SIGNAL worker` (or `web`): when the boundary is reached for
the nth time, the process sends itself the signal. Nothing else about the command is changed.
"""

import functools
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import count
from typing import Any

from gunicorn.app import wsgiapp
from sqlalchemy import event
from sqlalchemy.pool import Pool

from bridge import cli
from bridge.core.watch import State
from bridge.db import claims, watches
from bridge.http import connections
from bridge.steps import deliver, operator_events, poll
from bridge.web import registrar, serving
from bridge.worker import loop, pool

# What it says last, for whoever cannot see how it ended.
STRUCK = "the boundary is reached"


@dataclass(frozen=True, kw_only=True, slots=True)
class Boundary:
    """Before or after a call of `owner.name`; `where` tells from the arguments, and the result, which calls."""

    owner: Any
    name: str
    after: bool = False
    where: Callable[..., bool] = lambda *_: True
    in_transaction: bool = False


def _before(owner: Any, name: str, where: Callable[..., bool] = lambda *_: True) -> Boundary:
    return Boundary(owner=owner, name=name, where=where)


def _after(owner: Any, name: str, where: Callable[..., bool] = lambda *_: True) -> Boundary:
    return Boundary(owner=owner, name=name, after=True, where=where)


def _before_the_commit(owner: Any, name: str, where: Callable[..., bool] = lambda *_: True) -> Boundary:
    return Boundary(owner=owner, name=name, after=True, where=where, in_transaction=True)


def _has_shares(_step: Any, _connection: Any, shares: Any, *_: Any) -> bool:
    return bool(shares)


def _has_jobs(jobs: Any, *_: Any) -> bool:
    return bool(jobs)


def _is(kind: type) -> Callable[..., bool]:
    return lambda _pool, job: isinstance(job, kind)


def _sent_by(method: str) -> Callable[..., bool]:
    # The request has left; of the answer nothing is read yet.
    return lambda response: response._method == method


def _polls(_kept: Any, _connection: Any, results: Any, _worker: Any) -> bool:
    return any(result.attempt is None for result in results)


def _attempts(_kept: Any, _connection: Any, results: Any, _worker: Any) -> bool:
    return any(result.attempt is not None for result in results)


def _goes_on(_jobs: Any, _worker: Any, done: Any) -> bool:
    return any(isinstance(d, poll.FinishedPoll) and d.decision.watch.state is State.WATCHING for d in done)


def _attempted(_jobs: Any, _worker: Any, done: Any) -> bool:
    return any(isinstance(d, deliver.FinishedAttempt) for d in done)


def _keeps_some(_kept: Any, _outbox: Any, _connection: Any, events: Any) -> bool:
    return bool(events)


REGISTER = {
    "register: read": _before(registrar.Registrar, "register_one"),
    "register: before the commit": _before_the_commit(watches, "add"),
    "register: after the commit": _after(registrar, "register"),
    "register: answered": _after(serving, "respond"),
}
POLL = {
    "poll: before the claim": _before(poll.Polls, "claim", _has_shares),
    "poll: before the claim's commit": _before_the_commit(poll.Polls, "claim", _has_jobs),
    "poll: claimed": _before(pool.WorkerPool, "submit", _is(poll.PollJob)),
    "poll: asked": _before(connections._Response, "begin", _sent_by("GET")),
    "poll: answered": _after(poll.Polls, "work"),
    "poll: before the commit": _before_the_commit(claims, "save", _polls),
    "poll: saved": _after(loop.Worker, "_save", _goes_on),
    "poll: saved and handed off": _after(loop.Worker, "_save", _has_jobs),
}
DELIVER = {
    "deliver: before the claim": _before(deliver.Deliveries, "claim", _has_shares),
    "deliver: before the claim's commit": _before_the_commit(deliver.Deliveries, "claim", _has_jobs),
    "deliver: claimed": _before(pool.WorkerPool, "submit", _is(deliver.DeliveryJob)),
    "deliver: sent": _before(connections._Response, "begin", _sent_by("POST")),
    "deliver: answered": _after(deliver.Deliveries, "work"),
    "deliver: before the commit": _before_the_commit(claims, "save", _attempts),
    "deliver: saved": _after(loop.Worker, "_save", _attempted),
}
OPERATOR = {
    "operator: before the commit": _before_the_commit(operator_events.OperatorOutbox, "add", _keeps_some),
    "operator: kept": _after(loop.Worker, "_save", _attempted),
    "operator: claimed": _before(operator_events.OperatorWebhooks, "_post"),
    "operator: answered": _after(operator_events.OperatorWebhooks, "_post"),
}
BOUNDARIES = REGISTER | POLL | DELIVER | OPERATOR


class _Transactions:
    """Knows how many connections are in use: whoever is stopped with one would keep SQLite's lock."""

    def __init__(self) -> None:
        self._change = threading.Condition()
        self._open = 0
        event.listen(Pool, "checkout", lambda *_: self._count(1))
        event.listen(Pool, "checkin", lambda *_: self._count(-1))

    def _count(self, change: int) -> None:
        with self._change:
            self._open += change
            self._change.notify_all()

    @contextmanager
    def none_open(self) -> Iterator[None]:
        with self._change:
            self._change.wait_for(lambda: self._open == 0)
            yield


def strike(name: str, nth: int, number: signal.Signals) -> None:
    """Arm a boundary in this process."""
    boundary = BOUNDARIES[name]
    real = getattr(boundary.owner, boundary.name)
    reached = count(1)
    waits = number is signal.SIGSTOP and not boundary.in_transaction
    quiet = _Transactions().none_open if waits else nullcontext

    def hit(*arguments: Any) -> None:
        if boundary.where(*arguments) and next(reached) == nth:
            sys.stderr.write(f"{STRUCK}\n")
            with quiet():
                # To this thread: another would let it go on for a moment.
                signal.pthread_kill(threading.get_ident(), number)

    @functools.wraps(real)
    def armed(*arguments: Any, **others: Any) -> Any:
        if not boundary.after:
            hit(*arguments)
        result = real(*arguments, **others)
        if boundary.after:
            hit(result, *arguments)
        return result

    setattr(boundary.owner, boundary.name, armed)


def run(name: str, nth: str, number: str, command: str) -> int:
    """Run the command until the boundary strikes."""
    strike(name, int(nth), signal.Signals[number])
    if command == "web":
        sys.argv = ["gunicorn", "app:app"]
        wsgiapp.run()
    return cli.main([command])


if __name__ == "__main__":
    sys.exit(run(*sys.argv[1:]))
