"""How late ends are noticed: into which bucket a delay goes, and what the buckets tell."""

from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.detection_delay import BOUNDS_SECONDS, bound_of, quantile
from tests.makers import an_answer, asked

shares = st.floats(0, 1)


@pytest.mark.parametrize(
    ("delay_seconds", "bound_seconds"),
    [(0, 0.5), (0.5, 0.5), (0.6, 1), (13, 13), (3_600, 3_600), (3_601, inf)],
)
def test_a_delay_falls_into_the_bucket_whose_bound_it_does_not_exceed(
    delay_seconds: float, bound_seconds: float
) -> None:
    assert bound_of(delay_seconds) == bound_seconds


@pytest.mark.parametrize(
    ("detections", "share", "seconds"),
    [
        pytest.param({}, 0.5, None, id="nothing was noticed"),
        pytest.param({2.0: 10}, 0.5, 1.5, id="the middle of a bucket"),
        pytest.param({2.0: 10}, 1, 2, id="all of it"),
        pytest.param({1.0: 19, 60.0: 1}, 0.95, 1, id="just before the slow one"),
        pytest.param({1.0: 18, 60.0: 2}, 0.95, 45, id="among the slow ones"),
        pytest.param({inf: 4}, 0.5, 3_600, id="beyond the last bound"),
    ],
)
def test_a_quantile_is_interpolated_inside_its_bucket(
    detections: dict[float, int], share: float, seconds: float | None
) -> None:
    assert quantile(detections, share) == (None if seconds is None else pytest.approx(seconds))


@given(st.lists(st.floats(0, 10_000), min_size=1, max_size=50), shares, shares)
def test_quantiles_grow_with_the_share_and_stay_within_the_buckets(
    delays: list[float], one: float, other: float
) -> None:
    detections: dict[float, int] = {}
    for delay in delays:
        detections[bound_of(delay)] = detections.get(bound_of(delay), 0) + 1
    low, high = (quantile(detections, share) for share in sorted([one, other]))
    assert low is not None
    assert high is not None
    assert 0 <= low <= high <= min(bound_of(max(delays)), BOUNDS_SECONDS[-2])


@pytest.mark.parametrize(
    ("completed_at", "delay_seconds"),
    [
        ("2026-11-21T11:59:56.500Z", 3.5),
        ("2026-11-21T12:59:57+01:00", 3),
        ("2026-11-21T12:00:09Z", 0),  # HubSpot's clock may be ahead of ours
        ("2026-10-22T12:00:00Z", 30 * 86_400),
        ("2026-10-22T11:59:59Z", None),  # before any watch of today's began
        ("0001-01-01T00:00:00Z", None),
        ("2026-11-21T11:59:56", None),  # of some time zone
        ("yesterday", None),
        (1_795_262_396_500, None),
        (None, None),
    ],
)
def test_the_delay_counts_from_when_hubspot_says_that_the_task_was_over(
    completed_at: Any, delay_seconds: float | None
) -> None:
    body = {"status": "COMPLETE", "result": {"id": "1"}, "completedAt": completed_at}
    assert asked(an_answer(200, body)).delay_seconds == delay_seconds


def test_an_end_of_which_hubspot_does_not_say_when_it_was_has_no_delay() -> None:
    assert asked(an_answer(200, {"status": "CANCELED"})).delay_seconds is None
