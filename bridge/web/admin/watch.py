"""The page of one watch: history, HubSpot's response, the callback as it would be sent, and buttons for changes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from shlex import quote

from flask import flash, redirect, url_for
from sqlalchemy import Connection
from werkzeug.wrappers import Response

from bridge.core.delivery import Attempt, payload
from bridge.core.watch import REDELIVERABLE, State, Watch
from bridge.db import breakers, clients, watches
from bridge.db.encryption import WrongSecretKey
from bridge.db.engine import reading
from bridge.http.callbacks import signed_headers
from bridge.steps.deliver import UNREADABLE
from bridge.web.admin.blueprint import admin, call, or_abort, page
from bridge.web.api.changes import recheck_watch, redeliver_watch, withdraw_watch
from bridge.web.operations import ApiCall, Reply
from bridge.web.problems import Problem, not_found

# For each change: the API's operation, and the message after its success.
CHANGES: Mapping[str, tuple[Callable[[ApiCall, str], Reply | Problem], str]] = {
    "recheck": (recheck_watch, "HubSpot is asked as soon as the account allows it."),
    "redeliver": (redeliver_watch, "The callback is being sent again."),
    "withdraw": (withdraw_watch, "The watch is withdrawn: nothing more is asked or sent."),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class HistoryEntry:
    """An event in a watch's history, or the watch's next step; `css_class` is "good", "bad" or "".

    `what` names the event, `detail` says more, if anything. `attempt` is None unless the event is an attempt.
    """

    at: datetime
    what: str
    detail: str = ""
    css_class: str = ""
    attempt: Attempt | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Callback:
    """A callback as it would be sent now, and the curl command that would send it."""

    headers: Mapping[str, str]
    body: str
    curl: str


@admin.get("/watches/<watch_id:watch_id>")
def show_watch(watch_id: str) -> Response:
    """Show a watch."""
    with reading(call().dependencies.engine) as connection:
        watch = or_abort(watches.get(connection, watch_id) or not_found("watch"))
        attempts = watches.attempts_of(connection, watch_id)
        hubspot = watches.answers_of(connection, [watch_id]).get(watch_id)
        callback = _callback(connection, watch, hubspot) if watch.ended_at else None
        wait = _wait(connection, watch)
    return page(
        "admin/watch.html",
        watch=watch,
        history=history(watch, attempts),
        next_step=_next_step(watch, call().now, wait),
        hubspot=hubspot,
        callback=callback,
        can={
            "recheck": watch.state is State.WATCHING,
            "redeliver": watch.state in REDELIVERABLE,
            "withdraw": watch.due_at is not None,
        },
    )


@admin.post("/watches/<watch_id:watch_id>/<any(recheck, redeliver, withdraw):change>")
def change_watch(watch_id: str, change: str) -> Response:
    """Recheck, redeliver or withdraw the watch, by calling the API's operation."""
    carry_out, done = CHANGES[change]
    or_abort(carry_out(call(), watch_id))
    flash(done)
    return redirect(url_for("admin.show_watch", watch_id=watch_id), 303)


def history(watch: Watch, attempts: Sequence[Attempt]) -> list[HistoryEntry]:
    """Return the history of a watch, as far as it is stored, oldest entry first.

    Of the watch's polls only the last one is in the history.
    """
    entries = [
        HistoryEntry(at=watch.created_at, what="Registered", detail=f"by {watch.client}"),
        *([] if watch.age_zero_at == watch.created_at else [_working(watch)]),
        *([_polled(watch, watch.last_polled_at)] if watch.last_polled_at else []),
        *([_ended(watch, watch.ended_at)] if watch.ended_at else []),
        *map(_attempted, attempts),
        *([_settled(watch, watch.settled_at)] if watch.settled_at else []),
    ]
    return sorted(entries, key=attrgetter("at"))  # the sort is stable: simultaneous events stay in this order


def _working(watch: Watch) -> HistoryEntry:
    return HistoryEntry(at=watch.age_zero_at, what="HubSpot was first seen at work", detail="PROCESSING")


def _polled(watch: Watch, at: datetime) -> HistoryEntry:
    often = f"asked {watch.polls} times so far" if watch.polls > 1 else "asked once so far"
    said = f"HubSpot says {watch.status}" if watch.status else "HubSpot was asked"
    trouble = watch.last_error if watch.state is State.WATCHING and watch.last_error else ""
    return HistoryEntry(
        at=at,
        what=said,
        detail=f"{often}. {trouble}" if trouble else often,
        css_class="bad" if trouble else "",
    )


def _ended(watch: Watch, at: datetime) -> HistoryEntry:
    outcome = str(watch.outcome)
    is_good = watch.error is None
    return HistoryEntry(
        at=at,
        what=f"The task ended: {outcome.replace('_', ' ')}",
        detail=watch.error or "",
        css_class="good" if is_good else "bad",
    )


def _attempted(attempt: Attempt) -> HistoryEntry:
    code = "no answer" if attempt.status_code is None else str(attempt.status_code)
    by_hand = ", by hand" if attempt.trigger == "manual" else ""
    return HistoryEntry(
        at=attempt.started_at,
        what=f"Attempt {attempt.number}{by_hand}: {code}",
        detail=attempt.error or "accepted",
        css_class="bad" if attempt.error else "good",
        attempt=attempt,
    )


def _settled(watch: Watch, at: datetime) -> HistoryEntry:
    match watch.state:
        case State.DELIVERED:
            return HistoryEntry(at=at, what="Delivered", css_class="good")
        case State.UNDELIVERED:
            return HistoryEntry(at=at, what="Given up: the callback was not delivered", css_class="bad")
        case _:
            return HistoryEntry(at=at, what="Withdrawn", detail="nothing more is asked or sent")


def _wait(connection: Connection, watch: Watch) -> str:
    """Return, as a sentence, which pause holds up the watch's next step; an empty text if there is none.

    For a poll, only a pause of the account counts; for a callback, only a pause of the host.
    """
    if watch.state is State.WATCHING:
        limits = breakers.read_account_limits(connection, [watch.account]).get(watch.account)
        paused = limits is not None and limits.breaker.paused
        return f"It waits: the account {watch.account} is paused." if paused else ""
    host = breakers.read_hosts(connection, [watch.callback_host]).get(watch.callback_host)
    return f"It waits until {watch.callback_host} takes callbacks again." if host and host.paused else ""


def _next_step(watch: Watch, now: datetime, wait: str) -> HistoryEntry | None:
    if watch.due_at is None:
        return None
    if watch.claimed_by is not None:
        return HistoryEntry(
            at=watch.due_at, what="A worker is at it", detail=f"{watch.claimed_by}, at the longest until then"
        )
    is_due = watch.due_at <= now
    if watch.state is State.WATCHING:
        what = "The next poll is due" if is_due else "HubSpot is asked again"
    elif is_due:
        what = "The callback is due"
    else:
        what = "The callback is sent again" if watch.tries else "The callback is sent"
    return HistoryEntry(at=watch.due_at, what=what, detail=wait if is_due else "")


def _callback(connection: Connection, watch: Watch, hubspot: str | None) -> Callback | str:
    """Return the watch's callback, signed now, or a sentence that says why it cannot be signed.

    `hubspot` is HubSpot's answer as JSON text; None if none is stored. The watch's task must have ended.
    """
    dependencies, now = call().dependencies, call().now
    tokens = clients.secrets_of(connection, [watch.client], now).get(watch.client, [])
    body = payload(watch, hubspot)
    try:
        secrets = [dependencies.cipher.decrypt(token) for token in tokens]
        headers = signed_headers(watch.id, body, secrets=secrets, at=now, traceparent=watch.traceparent)
    except WrongSecretKey:
        return UNREADABLE.format(watch.client)
    except ValueError as wrong:
        return f"It cannot be signed: {wrong}."
    text = body.decode()
    options = "".join(f" \\\n  -H {quote(f'{name}: {value}')}" for name, value in headers.items())
    curl = f"curl -X POST {quote(watch.callback_url)}{options} \\\n  --data-raw {quote(text)}"
    return Callback(headers=headers, body=text, curl=curl)
