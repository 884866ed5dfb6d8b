"""The figures as a picture: horizontal bars against their goals, as an SVG written by hand."""

from collections.abc import Sequence
from html import escape

from bench.report import Findings, Row, number

WIDTH, LINE, LEFT, BARS = 880, 26, 400, 300
# Beyond three times its goal a bar is cut: that it is long says enough.
LONGEST = 3.0
COLORS = {True: "#2a7f62", False: "#b3423a"}


def draw(findings: Sequence[Findings]) -> str:
    """Return an SVG with a bar for each row: its length is the figure over its goal."""
    rows = [row for found in findings for row in found.rows]
    height = LINE * (len(rows) + 2)
    goal = LEFT + BARS / LONGEST
    body = "\n".join(_bar(row, LINE * (index + 1)) for index, row in enumerate(rows))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'font-family="sans-serif" font-size="12">\n'
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>\n'
        f"{body}\n"
        f'<line x1="{goal}" x2="{goal}" y1="{LINE / 2}" y2="{height - LINE}" stroke="#444" stroke-dasharray="3 3"/>\n'
        f'<text x="{goal + 4}" y="{height - 8}">the goal; green where it is met</text>\n</svg>\n'
    )


def _bar(row: Row, top: int) -> str:
    share = min(row.measured / row.goal.bound, LONGEST) if row.goal.bound else 0.0
    length = share / LONGEST * BARS
    text = f"{number(row.measured)} {row.unit} ({row.goal.sense} {number(row.goal.bound)})"
    return (
        f'<text x="{LEFT - 8}" y="{top + 14}" text-anchor="end">{escape(row.name)}</text>'
        f'<rect x="{LEFT}" y="{top + 3}" width="{length:.1f}" height="{LINE - 10}" fill="{COLORS[row.met]}"/>'
        f'<text x="{LEFT + length + 6:.1f}" y="{top + 14}">{escape(text)}</text>'
    )
