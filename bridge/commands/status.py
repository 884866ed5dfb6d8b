"""The command `status`: the number of watches, what happened in the last 24 hours, and what needs an operator."""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from bridge.commands import output
from bridge.commands.open_bridge import open_bridge, refuse_unusable_database
from bridge.commands.output import Colour, CommandError, coloured
from bridge.core.instants import rfc3339, rfc3339_or_none
from bridge.db import attention, counters, watch_counts
from bridge.db.attention import MOST_NAMED, Attention
from bridge.db.counters import ActivityTotals
from bridge.db.engine import reading
from bridge.wiring import Bridge, now

EVERY_SECONDS = 2
CLEAR = "\x1b[H\x1b[2J"  # moves the cursor to the corner and clears the screen (ECMA-48)


def show(arguments: argparse.Namespace) -> None:
    """Print the status; with `--watch`, print the status again and again, with pauses of EVERY_SECONDS.

    A database error during the first print ends the command. A database error during a later print is written to
    standard error, and the command goes on.
    """
    bridge = open_bridge()
    _show(arguments, bridge, before="")
    while arguments.watch:
        time.sleep(EVERY_SECONDS)
        try:
            _show(arguments, bridge, before=CLEAR if output.is_terminal() else "\n")
        except CommandError as error:
            sys.stderr.write(f"{error}\n")


def _show(arguments: argparse.Namespace, bridge: Bridge, *, before: str) -> None:
    at = now()
    with refuse_unusable_database(), reading(bridge.engine) as connection:
        found = attention.read(connection, at)
        states, _ = watch_counts.counts(connection, None)
        day, _ = counters.last_day(connection, at)
    counts = {state.value: count for state, count in sorted(states.items())}
    if arguments.json:
        members = _members(found) | {"states": counts, "last_24_hours": _day_members(day)}
        output.write(output.json_text({"needs_a_person": found.is_needed, **members}))
        return
    total = ", ".join(f"{count:,} {state}" for state, count in counts.items()) or "none yet"
    lines = [f"{rfc3339(at)[:19]}Z", f"Watches: {total}.", f"Workers alive: {len(found.alive_workers)}."]
    lines += ["", *_day_lines(day), ""]
    lines += list(_troubles(found)) or [coloured("Nothing needs a person.", Colour.GREEN)]
    output.write(before + "\n".join(lines) + "\n")


def _members(found: Attention) -> dict[str, Any]:
    paused = found.paused_accounts.items()
    return {
        "paused_accounts": [
            {"name": name, "until": rfc3339_or_none(breaker.paused_until), "reason": breaker.reason}
            for name, breaker in paused
        ],
        "paused_hosts": [
            {
                "name": host.name,
                "since": rfc3339_or_none(host.since),
                "until": rfc3339_or_none(host.breaker.paused_until),
                "reason": host.breaker.reason,
                "waiting": host.waiting,
            }
            for host in found.paused_hosts
        ],
        "given_up_within_a_day": [
            asdict(given_up) | {"last_at": rfc3339(given_up.last_at)} for given_up in found.given_up
        ],
        "overdue_accounts": {name: rfc3339(due_at) for name, due_at in found.overdue_accounts.items()},
        "overdue_hosts": {name: rfc3339(due_at) for name, due_at in found.overdue_hosts.items()},
        "workers_alive": len(found.alive_workers),
        "silent_workers": [
            {"id": name, "ticked_at": rfc3339(ticked_at)} for name, ticked_at in found.silent_workers.items()
        ],
    }


def _day_members(day: ActivityTotals) -> dict[str, Any]:
    return {
        "since": rfc3339(day.since),
        "registered": day.registered,
        "ended": day.ended,
        "attempts_accepted": day.delivered,
        "attempts_failed": day.failed,
        "detection_delay_seconds": day.detection and asdict(day.detection),
        "delivery_delay_seconds": day.delivery and asdict(day.delivery),
    }


def _day_lines(day: ActivityTotals) -> Iterator[str]:
    ended = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(day.ended.items())) or "none"
    yield f"The last 24 hours: {day.registered:,} registered. Ended: {ended}."
    yield f"Attempts to deliver: {day.delivered:,} accepted, {day.failed:,} failed."
    for what, found in (
        ("From HubSpot's end to ours", day.detection),
        ("From end to delivery", day.delivery),
    ):
        if found:
            yield f"{what}: half within {found.p50:.1f} s, 95 % within {found.p95:.1f} s."


def _troubles(found: Attention) -> Iterator[str]:
    """Yield the texts to print, two for each kind of trouble that was found.

    The first text is the title; the second is a table of what is in trouble, followed by advice. If no worker is
    alive, this trouble comes first, and its second text has no table.
    """
    members = _members(found)
    if not found.alive_workers:
        yield coloured("No worker is alive: nothing is polled and nothing delivered.", Colour.RED)
        yield "  Start one: python -m bridge worker, or the web process with BRIDGE_EMBEDDED_WORKER=true.\n"
    yield from _section(
        "Accounts that are paused",
        members["paused_accounts"],
        "If HubSpot refuses the credentials, replace them: python -m bridge accounts set NAME. When the cause is "
        "mended: python -m bridge accounts check NAME.",
    )
    yield from _section(
        "Hosts in trouble: their callbacks wait",
        members["paused_hosts"],
        "They are tried again by themselves.",
    )
    more = "Callbacks to other hosts were given up, too. " if len(found.given_up) > MOST_NAMED else ""
    yield from _section(
        "Callbacks given up since yesterday",
        members["given_up_within_a_day"][:MOST_NAMED],
        f"{more}When the receiver is well again: python -m bridge watches redeliver --all --state undelivered "
        "--callback-host HOST.",
    )
    for what in ("accounts", "hosts"):
        rows = [{"name": name, "since": since} for name, since in members[f"overdue_{what}"].items()]
        more = f"Other {what} are overdue, too. " if len(rows) > MOST_NAMED else ""
        yield from _section(
            f"Overdue {what}", rows[:MOST_NAMED], f"{more}Are there enough workers? See docs/scaling.md."
        )
    yield from _section(
        "Workers that are silent",
        members["silent_workers"],
        "They were killed or hang. Workers that are alive take over; then a silent one is listed for an hour.",
    )


def _section(title: str, rows: Sequence[dict[str, Any]], advice: str) -> Iterator[str]:
    if rows:
        yield coloured(title, Colour.YELLOW)
        yield "".join(f"  {line}\n" for line in output.table_text(rows).splitlines()) + f"  {advice}\n"
