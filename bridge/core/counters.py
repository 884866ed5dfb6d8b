"""The counters and histograms of the bridge: their names, help texts, labels and buckets."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import get_args

from bridge.core.classification import Classification
from bridge.core.delivery import Trigger
from bridge.core.watch import Outcome

# For a label whose values are not known in advance, such as the names of accounts.
OPEN_ENDED: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Counter:
    """A number that only grows, counted for each combination of its labels' values.

    `labels` maps each label to its expected values, or to OPEN_ENDED. Expected values are reported with the count 0
    before anything is counted for them. An `hourly` counter is also stored for each hour.
    """

    name: str
    help: str
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    hourly: bool = False


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Histogram:
    """Durations in seconds, counted in buckets for each combination of the labels' values.

    `bounds` are the buckets' upper bounds in ascending order; the last one is infinite. `labels` maps each label to
    its expected values, or to OPEN_ENDED. Every histogram has counts over all time. An `hourly` histogram also has
    counts of each hour.
    """

    name: str
    help: str
    bounds: Sequence[float]
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    hourly: bool = False

    def bound_of(self, seconds: float) -> float:
        """Return the upper bound of the bucket that a duration falls into."""
        return self.bounds[bisect_left(self.bounds, seconds)]

    def quantile(self, counts: Mapping[float, float], share: float) -> float | None:
        """Estimate the quantile `share` (0 to 1; 0.5 is the median) of the counted durations, in seconds.

        `counts` maps a bucket's upper bound to its number of durations. Returns None if nothing was counted.
        """
        left = share * sum(counts.values())
        below = 0.0
        for bound in self.bounds:
            count = counts.get(bound, 0)
            if count and left <= count:
                return below if bound == inf else below + (bound - below) * left / count
            left -= count
            below = bound
        return None


# Most delays come from the gap between two polls (2 s at first, 60 s after half an hour), longer ones from outages.
_DETECTION_BOUNDS = (0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 13.0, 20.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0, inf)
# From a callback that is sent at once to the end of the default retry schedule, after three days.
_DELIVERY_BOUNDS = (
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    300.0,
    1800.0,
    7200.0,
    43200.0,
    259200.0,
    inf,
)
# Up to 30 s, when Heroku's router gives up.
_REQUEST_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, inf)

REGISTRATIONS = Counter(
    name="bridge_registrations_total", help="Watches that were registered anew.", hourly=True
)
ENDED = Counter(
    name="bridge_tasks_ended_total",
    help="Watches whose task has ended, by outcome.",
    labels={"outcome": tuple(Outcome)},
    hourly=True,
)
POLLS = Counter(
    name="bridge_polls_total",
    help="Questions about a task's status, by what HubSpot answered.",
    labels={"result": tuple(one.result for one in get_args(Classification))},
)
ATTEMPTS = Counter(
    name="bridge_callback_attempts_total",
    help="Attempts to deliver a callback, by what came of them and by who asked for them.",
    labels={
        "result": ("2xx", "3xx", "4xx", "5xx", "no_answer", "not_sent"),
        "trigger": tuple(Trigger),
    },
    hourly=True,
)
GIVEN_UP = Counter(
    name="bridge_callbacks_given_up_total",
    help="Callbacks that were not delivered and will not be tried again, unless somebody redelivers them.",
)
LEASES_LOST = Counter(
    name="bridge_leases_lost_total",
    help="Results that came too late to be saved, because their lease was over and another worker had taken over.",
)
LOG_LINES_DROPPED = Counter(
    name="bridge_log_lines_dropped_total",
    help="Log lines that could not be rendered, or not be written to standard error.",
)
ACCOUNT_REQUESTS = Counter(
    name="bridge_account_requests_total", help="Requests to HubSpot.", labels={"account": OPEN_ENDED}
)
ACCOUNT_ERRORS = Counter(
    name="bridge_account_errors_total",
    help="Requests to HubSpot that were answered with anything but a 2xx, or not at all.",
    labels={"account": OPEN_ENDED},
)
API_REQUESTS = Counter(
    name="bridge_api_requests_total",
    help="Requests that the API answered, by route and class of status.",
    labels={"method": OPEN_ENDED, "route": OPEN_ENDED, "status": ("2xx", "3xx", "4xx", "5xx")},
)
DETECTION_DELAY = Histogram(
    name="bridge_detection_delay_seconds",
    help="How long tasks had been over, as HubSpot says, when the bridge noticed.",
    bounds=_DETECTION_BOUNDS,
    labels={"account": OPEN_ENDED},
    hourly=True,
)
FIRST_ATTEMPT_DELAY = Histogram(
    name="bridge_first_attempt_delay_seconds",
    help="From the end of a task, as the bridge noticed it, to the first attempt of its callback.",
    bounds=_DELIVERY_BOUNDS,
)
DELIVERY_DELAY = Histogram(
    name="bridge_delivery_delay_seconds",
    help="From the end of a task, as the bridge noticed it, to the delivery of its callback, without redeliveries.",
    bounds=_DELIVERY_BOUNDS,
    hourly=True,
)
API_DURATION = Histogram(
    name="bridge_api_request_duration_seconds",
    help="How long the API took to answer.",
    bounds=_REQUEST_BOUNDS,
    labels={"method": OPEN_ENDED, "route": OPEN_ENDED},
)

COUNTERS = (
    REGISTRATIONS,
    ENDED,
    POLLS,
    ATTEMPTS,
    GIVEN_UP,
    LEASES_LOST,
    LOG_LINES_DROPPED,
    ACCOUNT_REQUESTS,
    ACCOUNT_ERRORS,
    API_REQUESTS,
)
HISTOGRAMS = (DETECTION_DELAY, FIRST_ATTEMPT_DELAY, DELIVERY_DELAY, API_DURATION)
