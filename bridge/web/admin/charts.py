"""The charts of the overview, as coordinates from which a template draws SVG."""

from collections.abc import Sequence
from dataclasses import dataclass

from bridge.core.watch import Outcome
from bridge.db.counters import ActivityTotals, Percentiles

WIDTH, HEIGHT = 480, 96
_GAP = 2

# The CSS classes of the outcomes, in the order in which bars are stacked.
OUTCOMES = {
    "good": (Outcome.COMPLETED,),
    "warn": (Outcome.COMPLETED_WITH_ERRORS, Outcome.CANCELED, Outcome.TIMED_OUT),
    "bad": (Outcome.FAILED, Outcome.REJECTED),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Bar:
    """A rectangle in a chart of WIDTH by HEIGHT units; `x` and `y` give its top left corner.

    Both are counted from the chart's top left corner. `title` tells the hour and the count.
    """

    x: float
    y: float
    width: float
    height: float
    css_class: str
    title: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    """A bar chart with a column of stacked bars for each hour; `most` is the count of the highest column."""

    bars: Sequence[Bar]
    most: int


@dataclass(frozen=True, kw_only=True, slots=True)
class PercentileLines:
    """The 50th and 95th percentile over time, each as the attribute `points` of an SVG polyline.

    `most` is the highest 95th percentile, in seconds; it is at the top of the chart.
    """

    p50: str
    p95: str
    most: float


def registered(hours: Sequence[ActivityTotals]) -> Chart:
    """Return the chart of watches registered in each hour."""
    return _columns(hours, [("busy", "registered", [hour.registered for hour in hours])])


def ended(hours: Sequence[ActivityTotals]) -> Chart:
    """Return the chart of watches that got their outcome in each hour, stacked by the groups in OUTCOMES."""
    return _columns(
        hours,
        [
            (
                css_class,
                " or ".join(outcomes).replace("_", " "),
                [sum(hour.ended.get(outcome, 0) for outcome in outcomes) for hour in hours],
            )
            for css_class, outcomes in OUTCOMES.items()
        ],
    )


def attempted(hours: Sequence[ActivityTotals]) -> Chart:
    """Return the chart of attempts to deliver callbacks in each hour, accepted and failed ones stacked."""
    delivered, failed = [hour.delivered for hour in hours], [hour.failed for hour in hours]
    return _columns(hours, [("good", "accepted", delivered), ("bad", "failed", failed)])


def _columns(hours: Sequence[ActivityTotals], series: Sequence[tuple[str, str, Sequence[int]]]) -> Chart:
    """Return a chart of stacked series, the first at the bottom.

    A series is a CSS class for its bars, a word for their titles (as in `12 failed`), and a count for each hour.
    """
    most = max(map(sum, zip(*(counts for _, _, counts in series), strict=True)), default=0)
    step = WIDTH / len(hours)
    below = [0] * len(hours)
    bars = []
    for css_class, word, counts in series:
        for number, count in enumerate(counts):
            if count:
                below[number] += count
                bars.append(
                    Bar(
                        x=round(number * step, 1),
                        y=round(HEIGHT * (1 - below[number] / most), 1),
                        width=round(step - _GAP, 1),
                        height=round(HEIGHT * count / most, 1),
                        css_class=css_class,
                        title=f"from {hours[number].since:%H:%M} UTC: {count:,} {word}",
                    )
                )
    return Chart(bars=bars, most=most)


def percentile_lines(spreads: Sequence[Percentiles | None]) -> PercentileLines | None:
    """Return the lines through the hours' percentiles; None when no percentile is above 0.

    In `spreads`, an hour in which nothing was measured is None.
    """
    most = max((each.p95 for each in spreads if each), default=0.0)
    if not most:
        return None
    step = WIDTH / len(spreads)
    points = [((number + 0.5) * step, each) for number, each in enumerate(spreads) if each]
    if len(points) == 1:  # one point is not visible as a line: draw it across the whole hour
        [(x, each)] = points
        points = [(x - step / 2, each), (x + step / 2, each)]
    return PercentileLines(
        p50=" ".join(f"{x:.1f},{HEIGHT * (1 - each.p50 / most):.1f}" for x, each in points),
        p95=" ".join(f"{x:.1f},{HEIGHT * (1 - each.p95 / most):.1f}" for x, each in points),
        most=most,
    )
