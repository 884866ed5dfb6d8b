"""The account check asks for the scope of each kind of task that the account is used for."""

import re

import pytest
from sqlalchemy import Engine

from bridge.core.kinds import KINDS
from bridge.core.watch import State
from bridge.sandbox import Sandbox, Target
from bridge.steps import check_account
from bridge.steps.check_account import AccountCheck, Scope
from tests.db.claiming import added, numbered
from tests.hubspot_accounts import Clock, an_account, checked, hubspot_calls

FILES = Target(endpoint="search-files")
IMPORTS = Target(endpoint="list-imports")


def used_for(engine: Engine, *kinds: str, state: State = State.WATCHING) -> None:
    added(engine, *(numbered(n, state, kind=kind, account="default") for n, kind in enumerate(kinds)))


def known(found: AccountCheck) -> dict[str, Scope]:
    return {kind: scope for kind, scope in found.scopes.items() if scope is not Scope.UNKNOWN}


@pytest.mark.parametrize("version", ["v3", "2026-03", "2026-09"])
@pytest.mark.parametrize("state", [State.WATCHING, State.DELIVERED])
def test_imports_of_records_need_no_scope_for_files(
    hubspot: Sandbox, sqlite_engine: Engine, clock: Clock, version: str, state: State
) -> None:
    hubspot.state.set_fault("403-scopes", FILES)
    used_for(sqlite_engine, "crm-import", state=state)
    found = checked(sqlite_engine, clock, an_account(hubspot.url, api_version=version))
    assert (found.ok, found.status_code) == (True, 200)
    assert known(found) == {"crm-import": Scope.GRANTED}
    assert hubspot.state.ledger()["endpoints"] == {"list-imports": 1}


def test_each_kind_of_the_account_s_watches_must_have_its_scope(
    hubspot: Sandbox, engine: Engine, clock: Clock
) -> None:
    used_for(engine, "file-import", "crm-import", "crm-import")
    assert checked(engine, clock, an_account(hubspot.url)).ok
    hubspot.state.set_fault("403-scopes-crm", IMPORTS)
    found = checked(engine, clock, an_account(hubspot.url))
    assert (found.ok, found.status_code) == (False, 403)
    assert known(found) == {"file-import": Scope.GRANTED, "crm-import": Scope.MISSING}
    assert found.scopes.keys() == KINDS.keys()
    assert found.summary.endswith("one of the scopes crm.import for tasks of the kind crm-import.")
    assert hubspot.state.ledger()["status_codes"] == {"200": 3, "403": 1}


def test_without_watches_one_scope_is_enough(hubspot: Sandbox, sqlite_engine: Engine, clock: Clock) -> None:
    added(sqlite_engine, numbered(1, kind="crm-export", account="another"))
    hubspot.state.set_fault("403-scopes", FILES)
    found = checked(sqlite_engine, clock, an_account(hubspot.url))
    assert (found.ok, found.status_code) == (True, 200)
    assert known(found) == {"file-import": Scope.MISSING, "crm-import": Scope.GRANTED}
    assert found.summary.endswith("The scope for file-import is missing.")


def test_without_watches_and_without_any_scope_each_is_named(
    hubspot: Sandbox, sqlite_engine: Engine, clock: Clock
) -> None:
    hubspot.state.set_fault("403-scopes", FILES)
    hubspot.state.set_fault("403-scopes-crm", IMPORTS)
    found = checked(sqlite_engine, clock, an_account(hubspot.url))
    assert not found.ok
    assert "files.ui_hidden.read for tasks of the kind file-import." in found.summary
    assert found.summary.endswith("crm.import for tasks of the kind crm-import.")


@pytest.mark.parametrize("version", ["v3", "2026-03"])
def test_kinds_that_cannot_be_asked_for_are_said_to_be_unknown_and_cost_no_error(
    hubspot: Sandbox, sqlite_engine: Engine, clock: Clock, version: str
) -> None:
    used_for(sqlite_engine, "source-code-extract", "crm-export")
    found = checked(sqlite_engine, clock, an_account(hubspot.url, api_version=version))
    assert found.ok
    assert known(found) == {}
    assert found.summary.endswith(
        "Whether the scope for crm-export, source-code-extract is there, only such tasks show."
    )
    assert hubspot.state.ledger()["endpoints"] == {"account-details": 1}


@pytest.mark.parametrize("fault", ["401", "403-ban", "500", "html"])
def test_what_concerns_all_kinds_is_asked_once(
    hubspot: Sandbox, sqlite_engine: Engine, clock: Clock, fault: str
) -> None:
    hubspot.state.set_fault(fault)
    used_for(sqlite_engine, "file-import", "crm-import")
    found = checked(sqlite_engine, clock, an_account(hubspot.url))
    assert not found.ok
    assert known(found) == {}
    assert hubspot.state.ledger()["endpoints"] == {"search-files": 1}


def test_the_requests_share_the_time_of_one_call(
    hubspot: Sandbox, sqlite_engine: Engine, clock: Clock
) -> None:
    used_for(sqlite_engine, "file-import", "crm-import")
    hubspot.state.set_fault("hang", IMPORTS)
    calls = hubspot_calls(sqlite_engine, clock, an_account(hubspot.url), timeout_seconds=60)
    calls.hubspot.ask_seconds = 4
    found = check_account.check(calls, "default")
    assert found
    given = re.search(r"timed out after ([0-9.]+) s\.$", found.summary)
    assert given
    assert float(given[1]) <= 2
