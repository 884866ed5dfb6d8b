"""The command `doctor`: checks the installation, and prints the result of each check."""

import argparse
import logging
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

from bridge import logs, startup
from bridge.commands import output
from bridge.commands.open_bridge import refuse_unavailable_database, refuse_unusable_database
from bridge.commands.output import Colour, CommandError, coloured
from bridge.core.http_results import NoResponse
from bridge.core.instants import rfc3339
from bridge.db import encryption, heartbeats, operator_events, watches
from bridge.db.engine import reading
from bridge.http.addresses import server_of
from bridge.settings import Settings, SettingsProblem
from bridge.startup import NO_CREDENTIALS
from bridge.steps import check_account
from bridge.wiring import Bridge, now

# The clock may differ this much from HubSpot's: receivers refuse a callback whose timestamp is five minutes off
# (Standard Webhooks).
CLOCK_SECONDS = 60
# The servers that receive callbacks of the newest watches are tried: at most SERVERS, each for at most SERVER_SECONDS.
SERVERS = 5
SERVER_SECONDS = 5
# At most so many owners of secrets that cannot be decrypted are named.
OWNERS = 10
UNREADABLE = (
    "secrets of these were encrypted with a key that is not in BRIDGE_SECRET_KEY: {}. Add that key, or replace the secrets "
    "(python -m bridge clients rotate-secret NAME, python -m bridge accounts set NAME)."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """The result of a check; `ok` is None when there is nothing to check yet."""

    name: str
    ok: bool | None
    detail: str


def diagnose(arguments: argparse.Namespace) -> None:
    """Make the checks and print their results; raise CommandError at the end if a check has failed.

    If the settings cannot be read, or the database or the encryption key cannot be used, no more checks are made.
    """
    well, found = True, []
    for check in _checks():
        well &= check.ok is not False
        found.append(asdict(check))
        if not arguments.json:
            output.write(f"{_word(check)}  {check.name}: {check.detail}\n")
    if arguments.json:
        output.write(output.json_text({"ok": well, "checks": found}))
    if not well:
        raise CommandError("Something is wrong.")


def _word(check: Check) -> str:
    if check.ok is None:
        return "-    "
    return coloured("ok   ", Colour.GREEN) if check.ok else coloured("wrong", Colour.RED)


def _checks() -> Iterator[Check]:
    try:
        settings = Settings.load(os.environ)
    except SettingsProblem as problem:
        yield Check(name="settings", ok=False, detail="; ".join(str(problem).splitlines()))
        return
    yield Check(name="settings", ok=True, detail="all can be read")
    logs.configure(settings.log_format, level=logging.ERROR)
    bridge = Bridge(settings, makes_files=False)
    try:
        with refuse_unusable_database():
            revision = startup.check_database(bridge)
    except CommandError as error:
        yield Check(name="database and encryption key", ok=False, detail=str(error))
        return
    yield Check(name="database", ok=True, detail=f"it answers, and is migrated (revision {revision})")
    yield from _unless_database_fails("encryption key", _check_secrets(bridge))
    yield from _unless_database_fails("HubSpot", _check_accounts(bridge))
    yield from _unless_database_fails("callbacks", _check_receivers(bridge))
    if settings.operator_url:
        url = settings.operator_url.get_secret_value()
        yield from _unless_database_fails("operator webhooks", _check_operator_url(bridge, url))
    yield from _unless_database_fails("workers", _check_workers(bridge))


def _unless_database_fails(name: str, checks: Iterator[Check]) -> Iterator[Check]:
    """Yield the results of `checks`; a failure of the database ends them with a failed Check.

    The failed Check has the name `name`, and is the last one.
    """
    try:
        with refuse_unavailable_database():
            yield from checks
    except CommandError as error:
        yield Check(name=name, ok=False, detail=str(error))


def _check_secrets(bridge: Bridge) -> Iterator[Check]:
    with reading(bridge.engine) as connection:
        owners = encryption.unreadable_owners(connection, bridge.cipher)
    if owners:
        more = f", and {len(owners) - OWNERS:,} more" if len(owners) > OWNERS else ""
        detail = UNREADABLE.format(", ".join(owners[:OWNERS]) + more)
        yield Check(name="encryption key", ok=False, detail=detail)
    else:
        yield Check(name="encryption key", ok=True, detail="it fits the stored secrets that were tried")


def _check_accounts(bridge: Bridge) -> Iterator[Check]:
    with reading(bridge.engine) as connection:
        known = bridge.accounts.list_all(connection)
    usable = [
        name for name, account in known.items() if account.unreadable or account.credentials.scheme != "none"
    ]
    if not usable:
        yield Check(name="HubSpot", ok=False, detail=f"no account has credentials. {NO_CREDENTIALS}")
    clocks: list[float] = []
    for name in sorted(usable):
        label = f"HubSpot account {name}"
        yield from _unless_database_fails(label, _check_account(bridge, name, label, clocks))
    bridge.counter_flusher.flush()
    if clocks:
        yield _check_clock(clocks[0])


def _check_account(bridge: Bridge, name: str, label: str, clocks: list[float]) -> Iterator[Check]:
    """Check an account, and yield the result as a Check with the name `label`.

    Yields nothing if the account no longer exists. Appends to `clocks` how many seconds this machine's clock is ahead
    of HubSpot's (negative: behind), if HubSpot's time is known.
    """
    found = check_account.check(bridge.hubspot_calls, name)
    if found:
        yield Check(name=label, ok=found.ok, detail=found.summary)
        if found.clock_ahead_seconds is not None:
            clocks.append(found.clock_ahead_seconds)


def _check_clock(ahead: float) -> Check:
    if abs(ahead) <= CLOCK_SECONDS:
        return Check(name="clock", ok=True, detail="it agrees with HubSpot's")
    side = "ahead of" if ahead > 0 else "behind"
    detail = (
        f"it is {abs(ahead):,.0f} s {side} HubSpot's; receivers refuse callbacks that are five minutes off"
    )
    return Check(name="clock", ok=False, detail=f"{detail}. Set this machine's clock, by NTP for example.")


def _check_receivers(bridge: Bridge) -> Iterator[Check]:
    with reading(bridge.engine) as connection:
        urls = watches.newest_callback_urls(connection)
    if not urls:
        detail = "nothing to try yet: no watch says where callbacks go. POST /v1/test-callback tries a URL"
        yield Check(name="callbacks", ok=None, detail=detail)
    for server in list(dict.fromkeys(map(server_of, urls)))[:SERVERS]:
        yield _check_server(bridge, f"callbacks to {server.partition('//')[2]}", server)


def _check_server(bridge: Bridge, name: str, server: str) -> Check:
    answer = bridge.callbacks.reach(f"{server}/", within_seconds=SERVER_SECONDS)
    if isinstance(answer, NoResponse):
        detail = f"{answer.reason}. Check DNS, the firewall, BRIDGE_CALLBACK_PROXY and the receiver."
        return Check(name=name, ok=False, detail=detail)
    return Check(name=name, ok=True, detail="the receiver's server answers")


def _check_operator_url(bridge: Bridge, url: str) -> Iterator[Check]:
    """Check whether the operator's server answers, and report how many events are still to be sent."""
    check = _check_server(bridge, "operator webhooks", server_of(url))
    with reading(bridge.engine) as connection:
        events, since = operator_events.waiting(connection)
    waiting = f"events that wait: {events:,}, since {rfc3339(since)}; " if since else ""
    yield replace(check, detail=f"{waiting}{check.detail}")


def _check_workers(bridge: Bridge) -> Iterator[Check]:
    with reading(bridge.engine) as connection:
        alive = heartbeats.count_alive(connection, now())
    if alive:
        yield Check(name="workers", ok=True, detail=f"{alive} alive")
    else:
        detail = (
            "none was alive within the last 60 s. Start one: python -m bridge worker, or the web process with "
            "BRIDGE_EMBEDDED_WORKER=true."
        )
        yield Check(name="workers", ok=False, detail=detail)
