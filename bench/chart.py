"""The figures as a picture: horizontal bars, against their goals or beside each other, as an SVG written by hand."""

from collections.abc import Sequence
from html import escape

from bench.report import Row, ScenarioResult, number

WIDTH, LINE, LEFT, BARS = 880, 26, 400, 300
COMPARED_LEFT = 160
# Beyond three times its goal a bar is cut: that it is long says enough.
LONGEST = 3.0
COLORS = {True: "#2a7f62", False: "#b3423a"}
OTHERS = "#8a94a0"


def draw(results: Sequence[ScenarioResult]) -> str:
    """Return an SVG with a bar for each row: its length is the figure over its goal."""
    rows = [row for found in results for row in found.rows]
    height = LINE * (len(rows) + 2)
    goal = LEFT + BARS / LONGEST
    body = "\n".join(_bar(row, LINE * (index + 1)) for index, row in enumerate(rows))
    line = f'<line x1="{goal}" x2="{goal}" y1="{LINE / 2}" y2="{height - LINE}" stroke="#444" stroke-dasharray="3 3"/>'
    legend = f'<text x="{goal + 4}" y="{height - 8}">the goal; green where it is met</text>'
    return _image(height, f"{body}\n{line}\n{legend}")


def compare(title: str, bars: Sequence[tuple[str, float, str]]) -> str:
    """Return an SVG with a bar for each (name, figure, text): ours, which comes first, is green."""
    longest = max(figure for _, figure, _ in bars)
    drawn = [
        _drawn_bar(
            LINE * (index + 1),
            left=COMPARED_LEFT,
            length=figure / longest * BARS,
            color=OTHERS if index else COLORS[True],
            name=name,
            text=text,
        )
        for index, (name, figure, text) in enumerate(bars)
    ]
    heading = f'<text x="8" y="17" font-weight="bold">{escape(title)}</text>'
    return _image(LINE * (len(bars) + 1) + 8, "\n".join([heading, *drawn]))


def _image(height: int, body: str) -> str:
    """Return the whole SVG: on white, so that it can be read in a dark page too."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'font-family="sans-serif" font-size="12">\n'
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>\n{body}\n</svg>\n'
    )


def _bar(row: Row, top: int) -> str:
    share = min(row.measured / row.goal.bound, LONGEST) if row.goal.bound else 0.0
    text = f"{number(row.measured)} {row.unit} ({row.goal.sense} {number(row.goal.bound)})"
    length = share / LONGEST * BARS
    return _drawn_bar(top, left=LEFT, length=length, color=COLORS[row.met], name=row.name, text=text)


def _drawn_bar(top: int, *, left: int, length: float, color: str, name: str, text: str) -> str:
    return (
        f'<text x="{left - 8}" y="{top + 14}" text-anchor="end">{escape(name)}</text>'
        f'<rect x="{left}" y="{top + 3}" width="{length:.1f}" height="{LINE - 10}" fill="{color}"/>'
        f'<text x="{left + length + 6:.1f}" y="{top + 14}">{escape(text)}</text>'
    )
