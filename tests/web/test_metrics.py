"""`GET /metrics`, by what the database holds."""

from prometheus_client.parser import text_string_to_metric_families

from bridge.db.tables import account_breakers
from tests.makers import NOW, later
from tests.web.api import Api

BREAKER = {"failures": 0, "pause_seconds": 0.0}


def of_default(api: Api, name: str) -> float:
    """The value of a metric of the account `default`."""
    metrics = text_string_to_metric_families(api.admin.get("/metrics").text)
    [found] = [sample for metric in metrics for sample in metric.samples if sample.name == name]
    assert found.labels == {"account": "default"}
    return found.value


def test_the_headroom_is_what_slows_the_account_now(sqlite_api: Api) -> None:
    """HubSpot's limit is for ten seconds, and says nothing of the next ten."""
    sqlite_api.insert(account_breakers, name="default", headroom=0.25, observed_at=NOW, **BREAKER)
    slowed = of_default(sqlite_api, "bridge_account_allowed_requests_per_second")
    assert of_default(sqlite_api, "bridge_account_headroom_ratio") == 0.25
    sqlite_api.clock.passes(11)
    assert of_default(sqlite_api, "bridge_account_headroom_ratio") == 1
    assert of_default(sqlite_api, "bridge_account_allowed_requests_per_second") == slowed * 4


def test_what_the_quota_allows_is_told_of_a_paused_account_too(sqlite_api: Api) -> None:
    allowed = of_default(sqlite_api, "bridge_account_allowed_requests_per_second")
    sqlite_api.insert(account_breakers, name="default", headroom=1.0, paused_until=later(60), **BREAKER)
    assert of_default(sqlite_api, "bridge_account_paused") == 1
    assert of_default(sqlite_api, "bridge_account_allowed_requests_per_second") == allowed
