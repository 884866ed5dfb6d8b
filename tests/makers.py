"""Watches, registrations and answers for tests, with sensible values for whatever a test does not speak of."""

import json
import threading
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from bridge.core.http_results import HttpResponse, NoResponse, NoToken
from bridge.core.kinds import KINDS
from bridge.core.polling import PollDecision, after_answer, end, first_poll_at
from bridge.core.watch import Outcome, Watch
from bridge.steps.register import Registration

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwX2Vk1nZ0Y2Q="


def later(seconds: float, since: datetime = NOW) -> datetime:
    return since + timedelta(seconds=seconds)


def a_watch(*, created_at: datetime = NOW, timeout_seconds: float = 86_400, **others: Any) -> Watch:
    """A watch as it is registered, but for `others`."""
    deadline_at = later(timeout_seconds, created_at)
    fields: dict[str, Any] = {
        "id": "wat_0123456789",
        "client": "cms",
        "account": "default",
        "kind": "file-import",
        "task_id": "AAAAEZ6whGI",
        "callback_url": "https://app.example.com/hooks/hubspot",
        "callback_host": "app.example.com",
        "metadata": '{"order": 17}',
        "due_at": first_poll_at(created_at, deadline_at),
        "age_zero_at": created_at,
    }
    return Watch(created_at=created_at, deadline_at=deadline_at, **fields | others)


def a_registration(task_id: str = "AAAAEZ6whGI", **others: Any) -> Registration:
    """A registration as a client may send it, but for `others`."""
    fields: dict[str, Any] = {
        "client": "cms",
        "account": "default",
        "kind": "file-import",
        "callback_url": "https://app.example.com/hooks/hubspot",
        "metadata": "{}",
        "timeout_seconds": 86_400.0,
    } | others
    host = urlsplit(fields["callback_url"]).hostname
    return Registration(task_id=task_id, **{"callback_host": host} | fields)


def an_ended_watch(outcome: Outcome = Outcome.COMPLETED, *, ended_at: datetime = NOW, **others: Any) -> Watch:
    """A watch whose callback is due."""
    error = None if outcome is Outcome.COMPLETED else "It did not work."
    return end(a_watch(**others), outcome, error, now=ended_at)


def an_answer(status_code: int = 200, said: Any = None, **headers: str) -> HttpResponse:
    """An answer whose body is `said` as JSON; a header's name has `_` for `-`."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return HttpResponse(status_code=status_code, headers=names, body=json.dumps(said).encode())


def asked(answer: HttpResponse | NoResponse | NoToken, *, jitter: float = 0.0, **others: Any) -> PollDecision:
    """What an answer leads to for a watch that was registered a minute before NOW."""
    watch = a_watch(created_at=later(-60), **others)
    return after_answer(KINDS[watch.kind], watch, answer, now=NOW, jitter=jitter)


def real_clock() -> datetime:
    return datetime.now(UTC)


class SteppedClock:
    """A clock that goes on by a millisecond whenever somebody looks, and further when a test says so."""

    def __init__(self) -> None:
        self._now = NOW
        self._lock = threading.Lock()

    def __call__(self) -> datetime:
        with self._lock:
            self._now += timedelta(milliseconds=1)
            return self._now

    def passes(self, seconds: float) -> None:
        with self._lock:
            self._now += timedelta(seconds=seconds)
