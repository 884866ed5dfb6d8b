"""What was found: rows with a ratio and its goal, tables of raw figures; written as JSON and as a page."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any

RESULTS = Path(__file__).parent / "results"


class Sense(StrEnum):
    """Which side of a goal is the good one."""

    AT_LEAST = "≥"
    AT_MOST = "≤"

    def holds(self, measured: float, bound: float) -> bool:
        """Tell whether a figure is on the good side."""
        return measured >= bound if self is Sense.AT_LEAST else measured <= bound


@dataclass(frozen=True, kw_only=True, slots=True)
class Goal:
    """What a figure should reach; `floor` is what even a short run on a busy machine reaches."""

    sense: Sense
    bound: float
    floor: float


def at_least(bound: float, *, floor: float) -> Goal:
    """A goal that more is better than."""
    return Goal(sense=Sense.AT_LEAST, bound=bound, floor=floor)


def at_most(bound: float, *, floor: float) -> Goal:
    """A goal that less is better than."""
    return Goal(sense=Sense.AT_MOST, bound=bound, floor=floor)


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """Figures, one for each run where nothing else is said, and the goal of their median."""

    name: str
    figures: Sequence[float]
    goal: Goal
    unit: str = ""

    @property
    def measured(self) -> float:
        """The median of the runs."""
        return median(self.figures)

    @property
    def met(self) -> bool:
        """Whether the median reaches the goal."""
        return self.goal.sense.holds(self.measured, self.goal.bound)

    @property
    def fell(self) -> bool:
        """Whether the median is even beyond the floor."""
        return not self.goal.sense.holds(self.measured, self.goal.floor)

    @property
    def cells(self) -> tuple[str, ...]:
        """The row as it is shown."""
        span = f"{number(min(self.figures))} to {number(max(self.figures))}"
        goal = f"{self.goal.sense} {number(self.goal.bound)}"
        unit = f" {self.unit}" if self.unit else ""
        met = "met" if self.met else "not met"
        return self.name, f"{number(self.measured)}{unit}", span, f"{goal}{unit}", met


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """Raw figures, for whoever wants to know what a ratio was made of."""

    title: str
    columns: tuple[str, ...]
    lines: Sequence[Sequence[str | float]]


@dataclass(frozen=True, kw_only=True, slots=True)
class ScenarioResult:
    """What one scenario found; `picture` is an SVG of its own, which takes the place of the goals' when it runs alone."""

    rows: Sequence[Row]
    tables: Sequence[Table] = ()
    picture: str = ""


def number(value: str | float) -> str:
    """Write a figure with about three digits that mean something."""
    if isinstance(value, str):
        return value
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def one_line(text: object) -> str:
    """Write a reason on one line, as a cell of a table must be."""
    return " ".join(str(text).replace("|", "/").split())


def percentile(figures: Sequence[float], share: float) -> float:
    """Return the figure that `share` per cent of them are not above (nearest rank)."""
    ordered = sorted(figures)
    return ordered[max(ceil(len(ordered) * share / 100) - 1, 0)]


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Divide run by run: those of one round met the same machine."""
    return [a / b for a, b in zip(above, below, strict=True)]


def page(results: Sequence[ScenarioResult], about: dict[str, str], stem: str) -> str:
    """Return the results of all scenarios as Markdown."""
    rows = [row for found in results for row in found.rows]
    parts = [
        "# Benchmarks",
        "\n".join(f"- {name}: {value}" for name, value in about.items()),
        _table(
            ("what", "median", "span", "goal", ""),
            [row.cells for row in rows],
        ),
        f"![the figures as bars]({stem}.svg)",
    ]
    for table in (table for found in results for table in found.tables):
        parts += [f"## {table.title}", _table(table.columns, table.lines)]
    return "\n\n".join(parts) + "\n"


def _table(columns: Sequence[str], lines: Sequence[Sequence[str | float]]) -> str:
    head = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    return "\n".join([*head, *(f"| {' | '.join(map(number, line))} |" for line in lines)])


def write(results: Sequence[ScenarioResult], about: dict[str, str], picture: str, stem: str) -> None:
    """Write `stem`.json, `stem`.md and `stem`.svg into RESULTS."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{stem}.json").write_text(json.dumps(_values(results, about), indent=1) + "\n")
    (RESULTS / f"{stem}.md").write_text(page(results, about, stem))
    (RESULTS / f"{stem}.svg").write_text(picture)


def _values(results: Sequence[ScenarioResult], about: dict[str, str]) -> dict[str, Any]:
    rows = [
        asdict(row) | {"measured": row.measured, "met": row.met} for found in results for row in found.rows
    ]
    tables = [asdict(table) for found in results for table in found.tables]
    return {"machine": about, "rows": rows, "tables": tables}
