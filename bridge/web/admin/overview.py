"""The overview, the first admin page: problems for the operator, current counts, and charts of the last day."""

from datetime import datetime
from typing import Any

from sqlalchemy import Connection
from werkzeug.wrappers import Response

from bridge.core.instants import rfc3339
from bridge.core.watch import Outcome, State
from bridge.db import attention, counters, watch_counts
from bridge.db.attention import MOST_COUNTED
from bridge.db.engine import reading
from bridge.db.tables import is_state
from bridge.web.admin import charts
from bridge.web.admin.blueprint import admin, call, page

# These outcomes come from HubSpot's status. If HubSpot also says when the task ended, the time until the bridge noticed
# is measured.
ENDED_BY_HUBSPOT = [outcome for outcome in Outcome if outcome not in (Outcome.REJECTED, Outcome.TIMED_OUT)]


@admin.get("")
def overview() -> Response:
    """Show the overview."""
    now = call().now
    with reading(call().dependencies.engine) as connection:
        needs = attention.read(connection, now)
        given_up = sum(each.callbacks for each in needs.given_up)
        return page(
            "admin/overview.html",
            needs=needs,
            named=attention.MOST_NAMED,
            given_up=given_up,
            # From MOST_COUNTED on, the number is shown as a lower bound anyway.
            given_up_at_least=len(needs.given_up) == attention.MOST_GIVEN_UP_HOSTS
            and given_up < MOST_COUNTED,
            since=rfc3339(now - attention.GIVEN_UP_WITHIN),
            counts={
                state: watch_counts.count_up_to(connection, MOST_COUNTED, is_state(state))
                for state in (State.WATCHING, State.DELIVERING)
            },
            **_last_day(connection, now),
        )


def _last_day(connection: Connection, now: datetime) -> dict[str, Any]:
    day, hours = counters.last_day(connection, now)
    return {
        "day": day,
        "drawn_since": rfc3339(day.since),
        "ended_by_hubspot": ",".join(ENDED_BY_HUBSPOT),
        "outcomes": {outcome: day.ended[outcome] for outcome in Outcome if day.ended.get(outcome)},
        "registered_chart": charts.registered(hours),
        "ended_chart": charts.ended(hours),
        "attempts_chart": charts.attempted(hours),
        "detection_lines": charts.percentile_lines([hour.detection for hour in hours]),
        "delivery_lines": charts.percentile_lines([hour.delivery for hour in hours]),
    }
