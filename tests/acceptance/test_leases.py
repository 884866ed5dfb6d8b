"""No question to HubSpot outlives the lease of the claim that it is asked for."""

from typing import Any

import pytest
from cryptography.fernet import Fernet

from bridge.hubspot.oauth import WAIT_SECONDS
from bridge.sandbox import Sandbox
from bridge.settings import Settings
from bridge.steps import check_account
from bridge.steps.start_import import QUOTA_WAIT_SECONDS
from bridge.wiring import Bridge


def wired(lease_seconds: float = 60, timeout_seconds: float = 10, **others: str) -> Any:
    """A bridge as the settings have it made; with a key, so that no file is made for one."""
    environ = others | {
        "BRIDGE_SECRET_KEY": Fernet.generate_key().decode(),
        "BRIDGE_LEASE_SECONDS": str(lease_seconds),
        "BRIDGE_CALLBACK_TIMEOUT": "1",
        "HUBSPOT_TIMEOUT": str(timeout_seconds),
    }
    return Bridge(Settings.load(environ))


@pytest.mark.parametrize(
    ("lease_seconds", "timeout_seconds"), [(60, 10), (60, 59), (60, 30), (3, 1), (2, 1.5), (3_600, 300)]
)
def test_a_question_ends_before_the_lease_and_one_request_has_its_whole_time_out(
    lease_seconds: float, timeout_seconds: float
) -> None:
    assert timeout_seconds <= wired(lease_seconds, timeout_seconds).hubspot._ask_seconds < lease_seconds


@pytest.mark.parametrize(("lease_seconds", "timeout_seconds"), [(60, 59), (15, 14.5), (3, 1), (2, 1.5)])
def test_however_short_a_lease_is_a_token_that_is_refused_at_once_leaves_time_for_a_refresh(
    lease_seconds: float, timeout_seconds: float
) -> None:
    hubspot = wired(lease_seconds, timeout_seconds).hubspot
    assert hubspot._oauth._refresh_seconds <= hubspot._ask_seconds / 2


def test_by_default_a_lease_has_room_for_two_refreshes_two_requests_and_the_waits() -> None:
    assert wired().hubspot._ask_seconds >= 2 * (WAIT_SECONDS + 10 + 10)


@pytest.mark.parametrize("timeout_seconds", [10, 300])
def test_a_refresh_has_a_lease_of_its_own_that_outlives_it_but_not_by_much(timeout_seconds: float) -> None:
    lease_seconds = wired(3_600, timeout_seconds).hubspot._oauth._lease.total_seconds()
    assert 10 < lease_seconds <= 20


@pytest.mark.parametrize(("lease_seconds", "timeout_seconds"), [(60, 10), (3_600, 10), (3_600, 300)])
def test_a_client_that_waits_for_hubspot_has_its_answer_before_heroku_cuts_the_request(
    lease_seconds: float, timeout_seconds: float
) -> None:
    bridge = wired(lease_seconds, timeout_seconds)
    assert bridge.hubspot_calls.hubspot._ask_seconds + QUOTA_WAIT_SECONDS < 25
    # The account's tokens are the same ones, and refreshed once for all.
    assert bridge.hubspot_calls.hubspot._oauth is bridge.hubspot._oauth


@pytest.mark.parametrize("timeout_seconds", [10, 20, 300])
def test_a_client_s_call_refreshes_an_oauth_token_however_long_a_poll_may_take(
    sqlite_url: str, hubspot: Sandbox, timeout_seconds: float
) -> None:
    account = {
        "HUBSPOT_BASE_URL": hubspot.url,
        "HUBSPOT_CLIENT_ID": "sandbox-client",
        "HUBSPOT_CLIENT_SECRET": "sandbox-secret",
        "HUBSPOT_REFRESH_TOKEN": "sandbox-refresh",
    }
    bridge = wired(3_600, timeout_seconds, DATABASE_URL=sqlite_url, **account)
    checked = check_account.check(bridge.hubspot_calls, "default")
    assert checked is not None
    assert (checked.ok, checked.status_code) == (True, 200)
    bridge.engine.dispose()
