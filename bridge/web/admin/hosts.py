"""The page of receivers' hosts that fail or are recovering, with a button to send a waiting callback now."""

import structlog
from flask import flash, redirect, request, url_for
from werkzeug.wrappers import Response

from bridge.db import attention, breakers, watches
from bridge.db.engine import reading
from bridge.web.admin.blueprint import admin, call, page

log = structlog.get_logger()

MOST_HOSTS = 50


@admin.get("/hosts")
def list_hosts() -> Response:
    """Show at most MOST_HOSTS hosts that fail or are recovering."""
    with reading(call().dependencies.engine) as connection:
        found = attention.with_waiting(connection, breakers.troubled_hosts(connection, most=MOST_HOSTS))
        return page("admin/hosts.html", hosts=found, most=MOST_HOSTS)


@admin.post("/hosts/probe")
def try_host() -> Response:
    """Make a host's next waiting callback due now, even if the host is paused, and show the callback's watch."""
    host = request.form.get("host", "")
    with call().dependencies.engine.begin() as connection:
        # A worker that saves results locks watches, then hosts. `bring_forward` skips locked watches, so this
        # cannot be a deadlock.
        breakers.make_trial_due(connection, host, call().now)
        watch_id = watches.bring_forward(connection, host, call().now)
    log.info("host_probe_wanted", host=host, watch=watch_id, by=call().caller.name)
    if watch_id is None:
        flash("No callback waits for this host.")
        return redirect(url_for("admin.list_hosts"), 303)
    flash("The callback that was due next is being sent now. Its watch tells how it went.")
    return redirect(url_for("admin.show_watch", watch_id=watch_id), 303)
