"""Jinja filters of the admin pages: instants, durations, counts and JSON in readable form."""

from datetime import datetime

from flask import g
from markupsafe import Markup

from bridge.core.instants import rfc3339
from bridge.db.attention import MOST_COUNTED
from bridge.web.admin.blueprint import admin
from bridge.web.strict_json import NotJson, dumps, loads

_UNITS = ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"))
_WHEN = Markup('<time datetime="{0}" title="{0}">{1}</time>')


@admin.app_template_filter()
def duration(seconds: float) -> str:
    """Return a duration as text, such as `0.4 s`, `12 s`, `3 min`, `2 h 10 min` or `14 d`."""
    if seconds < 10:
        return f"{max(seconds, 0):.1f} s".replace(".0 s", " s")
    whole = round(seconds)
    for size, unit, smaller, smaller_unit in _UNITS:
        if whole >= size:
            count, rest = divmod(whole, size)
            more = f" {rest // smaller} {smaller_unit}" if count < 10 and rest >= smaller else ""
            return f"{count} {unit}{more}"
    return f"{whole // 60} min" if whole >= 60 else f"{whole} s"


@admin.app_template_filter()
def relative_time(instant: datetime | None) -> Markup | str:
    """Return an instant relative to now as HTML, such as `3 min ago` or `in 12 s`; for None, `never`."""
    if instant is None:
        return "never"
    seconds = (g.now - instant).total_seconds()
    if abs(seconds) < 1:
        return _WHEN.format(rfc3339(instant), "now")
    words = f"{duration(seconds)} ago" if seconds > 0 else f"in {duration(-seconds)}"
    return _WHEN.format(rfc3339(instant), words)


@admin.app_template_filter()
def capped(count: int) -> str:
    """Return a count as text, such as `999`; MOST_COUNTED, where counting stops, becomes `1,000+`."""
    return f"{count:,}+" if count >= MOST_COUNTED else f"{count:,}"


@admin.app_template_filter()
def in_words(word: str) -> str:
    """Return a word of the API, such as `timed_out`, with spaces in place of underscores."""
    return word.replace("_", " ")


@admin.app_template_filter()
def pretty_json(text: str) -> str:
    """Return JSON text indented, with numbers exactly as they were; other text is returned unchanged."""
    try:
        # JSON may escape half of a surrogate pair, which UTF-8 cannot encode.
        indented = dumps(loads(text.encode()), ascii_only=False, indented=True)
        return indented.encode(errors="backslashreplace").decode()
    except (NotJson, RecursionError):
        return text
