"""The page of receivers' hosts that fail or are recovering, with a button to send a waiting callback now."""

from dataclasses import dataclass
from datetime import datetime

import structlog
from flask import flash, redirect, request, url_for
from sqlalchemy import Connection
from werkzeug.wrappers import Response

from bridge.core.circuit_breaker import CircuitBreaker
from bridge.db import breakers, watches
from bridge.db.attention import MOST_COUNTED
from bridge.db.engine import reading
from bridge.web.admin.blueprint import admin, call, page

log = structlog.get_logger()

MOST_HOSTS = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class TroubledHost:
    """A host that fails or is recovering.

    `waiting` is how many callbacks wait for the host, at most MOST_COUNTED. `since` is approximately when the
    first of their tasks ended; None when no callback waits.
    """

    name: str
    breaker: CircuitBreaker
    waiting: int
    since: datetime | None


def troubled(connection: Connection, *, most: int) -> list[TroubledHost]:
    """Return at most `most` hosts that fail or are recovering, the paused ones first."""
    return [
        _host(connection, name, breaker)
        for name, breaker in breakers.troubled_hosts(connection, most=most).items()
    ]


def _host(connection: Connection, name: str, breaker: CircuitBreaker) -> TroubledHost:
    waiting, since = watches.waiting_for_host(connection, name, most=MOST_COUNTED)
    return TroubledHost(name=name, breaker=breaker, waiting=waiting, since=since)


@admin.get("/hosts")
def list_hosts() -> Response:
    """Show at most MOST_HOSTS hosts that fail or are recovering."""
    with reading(call().dependencies.engine) as connection:
        return page("admin/hosts.html", hosts=troubled(connection, most=MOST_HOSTS), most=MOST_HOSTS)


@admin.post("/hosts/probe")
def probe_host() -> Response:
    """Make a host's next waiting callback due now, even if the host is paused, and show the callback's watch."""
    host = request.form.get("host", "")
    with call().dependencies.engine.begin() as connection:
        # A worker that saves results locks watches, then hosts. `bring_forward` skips locked watches, so this
        # cannot be a deadlock.
        breakers.end_pause(connection, host, call().now)
        watch_id = watches.bring_forward(connection, host, call().now)
    log.info("host_probe_wanted", host=host, watch=watch_id, by=call().caller.name)
    if watch_id is None:
        flash("No callback waits for this host.")
        return redirect(url_for("admin.list_hosts"), 303)
    flash("The callback that was due next is being sent now. Its watch tells how it went.")
    return redirect(url_for("admin.show_watch", watch_id=watch_id), 303)
