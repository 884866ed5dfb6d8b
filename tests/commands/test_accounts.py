"""`python -m bridge accounts …`."""

import json
from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from bridge import sandbox
from bridge.core.counters import ACCOUNT_ERRORS
from bridge.db import counters
from tests.commands.conftest import Commands

TOKEN = "pat-na1-not-a-real-one"


def test_an_account_is_set_from_standard_input_and_its_secrets_never_come_out(commands: Commands) -> None:
    given = json.dumps({"access_token": TOKEN, "rate_limit": "190/10", "api_version": "2026-03"})
    made = commands.json("accounts", "set", "shop", given=given)
    assert (made["auth"], made["rate_limit"], made["api_version"]) == ("token", "190/10", "2026-03")
    default, shop = commands.json("accounts", "list")
    assert (default["name"], default["source"], default["auth"]) == ("default", "environment", "none")
    assert (shop["name"], shop["source"]) == ("shop", "stored")
    assert TOKEN not in commands.said("accounts", "list") + json.dumps(made)


def test_a_removed_account_is_gone(commands: Commands) -> None:
    commands.said("accounts", "set", "shop", given=json.dumps({"access_token": TOKEN}))
    commands.said("accounts", "remove", "shop")
    assert [account["name"] for account in commands.json("accounts", "list")] == ["default"]
    refused = commands.run("accounts", "remove", "shop")
    assert (refused.returncode, refused.stderr) == (1, "There is no stored account shop.\n")


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("", "Standard input cannot be read as JSON: "),
        ('{"access_token": "pat-secret"', "Standard input cannot be read as JSON: "),
        ('{"access_token": "pat-secret", "access_token": "b"}', "an object has the same name twice"),
        ("[" * 100_000 + "pat-secret", "it is nested too deeply"),
        ("[]", "must be a JSON object"),
        ('{"access_tokn": "pat-secret"}', "/access_tokn: is not a known field"),
        ('{"access_token": "pat-secret", "rate_limit": "many"}', "/rate_limit: "),
        ('{"client_id": "pat-secret"}', "either access_token"),
    ],
)
def test_bad_input_is_told_by_field_and_never_quoted(
    on_sqlite: Callable[..., Commands], given: str, problem: str
) -> None:
    refused = on_sqlite().run("accounts", "set", "shop", given=given)
    assert refused.returncode == 1
    assert problem in refused.stderr
    assert "pat-secret" not in refused.stderr + refused.stdout


def test_check_says_in_words_what_hubspot_answered(on_sqlite: Callable[..., Commands]) -> None:
    with sandbox.running() as hubspot:
        good = on_sqlite(HUBSPOT_BASE_URL=hubspot.url, HUBSPOT_ACCESS_TOKEN="sandbox-token")
        assert good.json("accounts", "check", "default")["ok"]
        assert "  burst 100, burst_remaining 9" in good.said("accounts", "check", "default")
        bad = on_sqlite(HUBSPOT_BASE_URL=hubspot.url, HUBSPOT_ACCESS_TOKEN="wrong").run(
            "accounts", "check", "default"
        )
    assert bad.returncode == 1
    assert "Give the account a valid token" in bad.stdout


def test_the_calls_of_a_check_are_in_the_metrics(
    on_sqlite: Callable[..., Commands], sqlite_database: Engine
) -> None:
    with sandbox.running() as hubspot:
        bad = on_sqlite(HUBSPOT_BASE_URL=hubspot.url, HUBSPOT_ACCESS_TOKEN="wrong")
        bad.run("accounts", "check", "default")
        bad.run("doctor")
    with sqlite_database.begin() as connection:
        counted = counters.totals(connection)
    assert counted.of(ACCOUNT_ERRORS) == {("default",): 2}


def test_check_of_a_name_that_nobody_has_set_is_refused(on_sqlite: Callable[..., Commands]) -> None:
    refused = on_sqlite().run("accounts", "check", "typo")
    assert (refused.returncode, refused.stderr) == (1, "There is no account typo.\n")


def test_check_of_an_account_without_credentials_says_how_to_set_them(
    on_sqlite: Callable[..., Commands],
) -> None:
    refused = on_sqlite().run("accounts", "check", "default")
    assert refused.returncode == 1
    assert "HUBSPOT_ACCESS_TOKEN" in refused.stdout
