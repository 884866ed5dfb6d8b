"""Histograms' buckets and quantiles, and the names of metrics."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.counters import COUNTERS, DETECTION_DELAY, HISTOGRAMS

shares = st.floats(0, 1)


@pytest.mark.parametrize(
    ("delay_seconds", "bound_seconds"),
    [(0, 0.5), (0.5, 0.5), (0.6, 1), (13, 13), (3_600, 3_600), (3_601, inf)],
)
def test_a_delay_falls_into_the_bucket_whose_bound_it_does_not_exceed(
    delay_seconds: float, bound_seconds: float
) -> None:
    assert DETECTION_DELAY.bound_of(delay_seconds) == bound_seconds


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
    assert DETECTION_DELAY.quantile(detections, share) == (
        None if seconds is None else pytest.approx(seconds)
    )


@given(st.lists(st.floats(0, 10_000), min_size=1, max_size=50), shares, shares)
def test_quantiles_grow_with_the_share_and_stay_within_the_buckets(
    delays: list[float], one: float, other: float
) -> None:
    detections: dict[float, int] = {}
    for delay in delays:
        detections[DETECTION_DELAY.bound_of(delay)] = detections.get(DETECTION_DELAY.bound_of(delay), 0) + 1
    low, high = (DETECTION_DELAY.quantile(detections, share) for share in sorted([one, other]))
    assert low is not None
    assert high is not None
    assert 0 <= low <= high <= min(DETECTION_DELAY.bound_of(max(delays)), DETECTION_DELAY.bounds[-2])


def test_every_histogram_ends_with_a_bucket_for_all() -> None:
    for histogram in HISTOGRAMS:
        assert list(histogram.bounds) == sorted(histogram.bounds)
        assert histogram.bounds[-1] == inf


def test_no_two_are_called_the_same() -> None:
    names = [metric.name for metric in (*COUNTERS, *HISTOGRAMS)]
    assert len(set(names)) == len(names)
