"""The account check asks for the scope of the tasks that the account is used for."""

import pytest
from sqlalchemy import Engine

from bridge.core.watch import State
from bridge.sandbox import Sandbox, Target
from tests.db.claiming import added, numbered
from tests.hubspot_accounts import Clock, an_account, checked

FILES = Target(endpoint="search-files")
IMPORTS = Target(endpoint="list-imports")
VERSIONS = pytest.mark.parametrize("version", ["v3", "2026-03", "2026-09"])


def used_for(engine: Engine, *kinds: str, state: State = State.WATCHING) -> None:
    added(engine, *(numbered(n, state, kind=kind, account="default") for n, kind in enumerate(kinds)))


@VERSIONS
@pytest.mark.parametrize("state", [State.WATCHING, State.DELIVERED])
def test_imports_of_records_need_no_scope_for_files(
    hubspot: Sandbox, sqlite_engine: Engine, clock: Clock, version: str, state: State
) -> None:
    hubspot.state.set_fault("403-scopes", FILES)
    used_for(sqlite_engine, "crm-import", state=state)
    found = checked(sqlite_engine, clock, an_account(hubspot.url, api_version=version))
    assert (found.ok, found.status_code) == (True, 200)
    assert hubspot.state.ledger()["endpoints"] == {"list-imports": 1}


def test_a_missing_scope_for_imports_of_records_is_named(
    hubspot: Sandbox, engine: Engine, clock: Clock
) -> None:
    hubspot.state.set_fault("403-scopes-crm", IMPORTS)
    used_for(engine, "crm-export", "crm-import")
    found = checked(engine, clock, an_account(hubspot.url))
    assert (found.ok, found.status_code) == (False, 403)
    assert found.summary.endswith("one of the scopes crm.import for tasks of the kind crm-import.")


@pytest.mark.parametrize("kinds", [(), ("crm-import", "file-import")])
def test_the_scope_for_files_is_asked_for_without_watches_and_among_several_kinds(
    hubspot: Sandbox, sqlite_engine: Engine, clock: Clock, kinds: tuple[str, ...]
) -> None:
    mine = [numbered(n, kind=kind, account="default") for n, kind in enumerate(kinds)]
    added(sqlite_engine, numbered(100, kind="crm-import", account="another"), *mine)
    assert checked(sqlite_engine, clock, an_account(hubspot.url)).ok
    assert hubspot.state.ledger()["endpoints"] == {"search-files": 1}


@VERSIONS
def test_for_other_kinds_the_check_says_that_it_cannot_tell_their_scopes(
    hubspot: Sandbox, sqlite_engine: Engine, clock: Clock, version: str
) -> None:
    used_for(sqlite_engine, "source-code-extract", "crm-export")
    found = checked(sqlite_engine, clock, an_account(hubspot.url, api_version=version))
    assert found.ok
    assert "only the tasks themselves show" in found.summary
    assert hubspot.state.ledger()["endpoints"] == {"account-details": 1}


def test_a_scope_that_every_token_has_is_not_said_to_be_one_for_the_account_s_tasks(
    hubspot: Sandbox, sqlite_engine: Engine, clock: Clock
) -> None:
    used_for(sqlite_engine, "crm-export")
    hubspot.state.set_fault("403-scopes")
    found = checked(sqlite_engine, clock, an_account(hubspot.url))
    assert not found.ok
    assert "crm-export" not in found.summary
