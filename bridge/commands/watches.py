"""The commands `watches list`, `show`, `redeliver`, `recheck` and `withdraw`."""

import argparse
import json
import re
import sys
from collections.abc import Callable
from dataclasses import fields

from bridge.commands import output
from bridge.commands.open_bridge import open_bridge
from bridge.commands.output import CommandError
from bridge.core.watch import Watch
from bridge.core.watch_json import attempt_members, watch_members, watch_text
from bridge.db import pagination
from bridge.db import watches as store
from bridge.db.engine import reading
from bridge.db.pagination import Order, Page
from bridge.db.watch_filters import Filters
from bridge.steps import changes
from bridge.steps.changes import Changed, WatchUnchanged
from bridge.wiring import Bridge, now

BY = "command line"
# The columns of the table that `list` prints; `show` and `--json` print all fields.
COLUMNS = (
    "id",
    "task_id",
    "account",
    "client",
    "state",
    "outcome",
    "created_at",
    "due_at",
    "attempts",
    "last_error",
)
PAGE_SIZE = 250

Found = tuple[Watch, str | None]  # a watch, and HubSpot's body as JSON text


def list_some(arguments: argparse.Namespace) -> None:
    """Show the newest watches that match the filters."""
    bridge = open_bridge()
    found = _newest(bridge, _filters(arguments), order=Order(arguments.order), limit=arguments.limit)
    if arguments.json:
        texts = [watch_text(watch, body) for watch, body in found]
        output.write("[\n" + ",\n".join(texts) + "\n]\n" if texts else "[]\n")
        return
    every = (watch_members(watch) for watch, _ in found)
    rows = [{name: members[name] for name in COLUMNS} for members in every]
    output.write(output.table_text(rows) or "There is no such watch.\n")


def show(arguments: argparse.Namespace) -> None:
    """Show one watch and its attempts."""
    with reading(open_bridge().engine) as connection:
        watch = store.get(connection, arguments.id)
        body = store.answers_of(connection, [arguments.id]).get(arguments.id)
        attempts = store.attempts_of(connection, arguments.id)
    if watch is None:
        raise CommandError(f"There is no watch {arguments.id}.")
    every = [attempt_members(attempt, excerpt=True) for attempt in attempts]
    if arguments.json:
        output.write(f'{{"watch": {watch_text(watch, body)},\n"attempts": {json.dumps(every)}}}\n')
    else:
        output.write("\n".join(filter(None, [_fields_text(watch, body), output.table_text(every)])))


def redeliver(arguments: argparse.Namespace) -> None:
    """Make the callback of one watch due again, or with `--all` the callbacks of many.

    `--all` means all `delivered` and `undelivered` watches that match the filters.
    """
    filters = _filters(arguments)
    is_filtered = filters != Filters()
    if arguments.all == (arguments.id is not None) or arguments.all != is_filtered:
        arguments.usage_error("give either an ID, or --all and at least one filter")
    if arguments.all:
        _redeliver_all(arguments, filters)
    else:
        _change(arguments, changes.redeliver)


def recheck(arguments: argparse.Namespace) -> None:
    """Make a watch's next poll due now."""
    _change(arguments, changes.recheck)


def withdraw(arguments: argparse.Namespace) -> None:
    """Withdraw a watch: it is not claimed again; a worker that has claimed it may still send a request."""
    _change(arguments, changes.withdraw)


def _filters(arguments: argparse.Namespace) -> Filters:
    return Filters(**{field.name: getattr(arguments, field.name) for field in fields(Filters)})


def _newest(bridge: Bridge, filters: Filters, *, order: Order, limit: int) -> list[Found]:
    """Return up to `limit` watches that match `filters`, newest first by the instant that `order` names.

    With Order.ENDED_AT, watches without an outcome are left out. Each watch comes with HubSpot's last answer about
    the task as JSON text, or None.
    """
    found: list[Found] = []
    page: Page | None = None
    while page is None or (page.following and len(found) < limit):
        with reading(bridge.engine) as connection:
            page = pagination.page(
                connection,
                filters,
                order=order,
                cursor=page.following if page else None,
                limit=min(limit - len(found), PAGE_SIZE),
            )
            answers = store.answers_of(connection, [watch.id for watch in page.watches])
        found += [(watch, answers.get(watch.id)) for watch in page.watches]
    return found


def _redeliver_all(arguments: argparse.Namespace, filters: Filters) -> None:
    engine = open_bridge().engine
    count = changes.count_redeliverable(engine, filters)
    if count and not arguments.yes:
        _confirm(f"Send the callbacks of {count:,} watches again?")
    done = changes.redeliver_all(engine, filters, by=BY, now=now()) if count else 0
    output.write(
        output.json_text({"count": done}) if arguments.json else f"{done:,} are being delivered again.\n"
    )


def _confirm(question: str) -> None:
    """Ask a yes-or-no question at the terminal; raise CommandError unless the answer is yes."""
    if not (sys.stdin and sys.stdin.isatty()):
        raise CommandError(f"{question} Nobody is there to say so: add --yes.")
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise CommandError("Nothing was changed.")


def _change(arguments: argparse.Namespace, change: Callable[..., Changed | WatchUnchanged]) -> None:
    changed = change(open_bridge().engine, arguments.id, client=None, now=now())
    if isinstance(changed, WatchUnchanged):
        raise CommandError(changed.reason)
    watch, body = changed.watch, changed.hubspot_body
    output.write(f"{watch_text(watch, body)}\n" if arguments.json else _fields_text(watch, body))


def _fields_text(watch: Watch, hubspot_body: str | None) -> str:
    """Return a watch as text with a line for each field."""
    members = watch_members(watch)
    members["metadata"] = json.dumps(json.loads(watch.metadata), ensure_ascii=False)
    # Not parsed: Python cannot read every number. Line breaks stand between values alone (RFC 8259, 2 and 7).
    members["hubspot"] = hubspot_body and re.sub(r"[\t\n\r]\s*", " ", hubspot_body)
    return output.fields_text(members)
