"""The overview: what needs a person first, then how the bridge is doing."""

from collections import Counter
from datetime import datetime
from typing import Any

from sqlalchemy import Connection
from werkzeug.wrappers import Response

from bridge.core.counters import DETECTION_DELAY
from bridge.core.instants import rfc3339
from bridge.core.watch import Outcome, State
from bridge.db import activity, attention, watch_lists
from bridge.db.attention import COUNTED
from bridge.db.engine import reading
from bridge.db.tables import is_state
from bridge.web.admin import charts
from bridge.web.admin.blueprint import admin, call, page
from bridge.web.statistics import detections_today


@admin.get("")
def overview() -> Response:
    """Show the overview."""
    now = call().now
    with reading(call().parts.engine) as connection:
        needs = attention.read(connection, now)
        return page(
            "admin/overview.html",
            needs=needs,
            named=attention.NAMED,
            given_up=sum(each.callbacks for each in needs.given_up),
            since=rfc3339(now - attention.GIVEN_UP_WITHIN),
            counts={state: _count(connection, state) for state in (State.WATCHING, State.DELIVERING)},
            **_last_day(connection, now),
        )


def _last_day(connection: Connection, now: datetime) -> dict[str, Any]:
    day = activity.last_day(connection, now)
    outcomes = sum((each.ended for each in day.stretches), Counter[Outcome]())
    detections: Counter[float] = Counter()
    for counts in detections_today(connection, now).values():
        detections.update(counts)
    return {
        "day": day,
        "drawn_since": rfc3339(day.since),
        "registered": sum(each.registered for each in day.stretches),
        "outcomes": {outcome: outcomes[outcome] for outcome in Outcome if outcomes[outcome]},
        "delivered": sum(each.delivered for each in day.stretches),
        "failed": sum(each.failed for each in day.stretches),
        "delivery": day.delivery,
        "detection": (DETECTION_DELAY.quantile(detections, 0.5), DETECTION_DELAY.quantile(detections, 0.95)),
        "registered_chart": charts.registered(day),
        "ended_chart": charts.ended(day),
        "attempts_chart": charts.attempted(day),
        "delivery_lines": charts.delivery(day),
    }


def _count(connection: Connection, state: State) -> int:
    return watch_lists.count_up_to(connection, COUNTED, is_state(state))
