"""Instants from outside: well-formed ones are read, others never cause a crash."""

from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bridge.core.instants import read_rfc3339, retry_after_seconds, rfc3339
from tests.makers import NOW

HTTP_DATE = "Sat, 21 Nov 2026 12:01:30 GMT"  # 90 s after NOW


@pytest.mark.parametrize(
    ("instant", "written"),
    [
        pytest.param(NOW, "2026-11-21T12:00:00.000000Z", id="UTC"),
        pytest.param(NOW.astimezone(timezone(timedelta(hours=2))), "2026-11-21T12:00:00.000000Z", id="zone"),
        pytest.param(NOW.replace(microsecond=5), "2026-11-21T12:00:00.000005Z", id="microseconds"),
    ],
)
def test_an_instant_is_written_in_utc_with_z(instant: datetime, written: str) -> None:
    assert rfc3339(instant) == written


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        pytest.param("120", 120.0, id="seconds"),
        pytest.param(" 7 ", 7.0, id="white space around"),
        pytest.param("0", 0.0, id="zero"),
        pytest.param(HTTP_DATE, 90.0, id="HTTP date"),
        pytest.param("Saturday, 21-Nov-26 12:01:30 GMT", 90.0, id="RFC 850 date"),
        pytest.param("Sat Nov 21 12:01:30 2026", 90.0, id="asctime date, which names no zone"),
        pytest.param("Sat, 21 Nov 2026 11:00:00 GMT", 0.0, id="date that has passed"),
        pytest.param(None, None, id="no header"),
        pytest.param("", None, id="empty"),
        pytest.param("soon", None, id="a word"),
        pytest.param("-5", None, id="negative"),
        pytest.param("90.5", 91.0, id="fraction, rounded up"),
        pytest.param("0.001", 1.0, id="small fraction, rounded up"),
        pytest.param("90.0", 90.0, id="fraction of nothing"),
        pytest.param("90.", None, id="point without digits"),
        pytest.param(".5", None, id="fraction without seconds"),
        pytest.param("1e3", None, id="exponent"),
        pytest.param("1m30s", None, id="span"),
        pytest.param("100, 90", 90.0, id="two values, of which the last counts"),
        pytest.param(f"{HTTP_DATE}, 80", 80.0, id="a date and seconds"),
        pytest.param("90, soon", None, id="two values, and the last is a word"),
        pytest.param("90,", None, id="a value and nothing"),
        pytest.param("90 s", None, id="unit"),
        pytest.param("Infinity", None, id="infinity"),
        pytest.param("٣", None, id="digits that are not ASCII"),
        pytest.param("Sat, 21 Nov 99999 12:00:00 GMT", None, id="year that no calendar has"),
        pytest.param("Sat, 21 Nov 2026 12:00:00 +9999999999999999999", None, id="zone beyond all bounds"),
    ],
)
def test_retry_after_is_seconds_or_a_date_or_nothing(value: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(value, now=NOW) == seconds


@given(st.text() | st.from_regex(r"\w{3}, \d+ Nov \d+ \d+:\d+:\d+ [+-]\d+", fullmatch=True))
@example("9" * 5000)
def test_no_retry_after_breaks_anything_and_none_is_negative(value: str) -> None:
    seconds = retry_after_seconds(value, now=NOW)
    assert seconds is None or seconds >= 0


@given(st.datetimes(min_value=datetime(2026, 11, 22), max_value=datetime(2200, 1, 1)))  # noqa: DTZ001 -- UTC is put on
def test_every_http_date_in_the_future_is_understood(naive: datetime) -> None:
    instant = naive.replace(microsecond=0, tzinfo=UTC)
    seconds = retry_after_seconds(format_datetime(instant, usegmt=True), now=NOW)
    assert seconds == (instant - NOW).total_seconds()


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-11-21T12:00:00Z", NOW),
        ("2026-11-21t12:00:00z", NOW),
        ("2026-11-21T14:00:00.0+02:00", NOW),
        ("2026-11-21T11:59:60Z", NOW),
    ],
)
def test_an_instant_is_read_in_every_form_of_rfc_3339(text: str, instant: datetime) -> None:
    assert read_rfc3339(text) == instant


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2026-11-21", "2026-11-21T12:00:00", "2026-13-21T12:00:00Z", 17, None]
)
def test_what_is_no_instant_is_told_with_an_example(text: object) -> None:
    with pytest.raises(ValueError, match="must be an instant like 2026-11-05T13:00:00Z"):
        read_rfc3339(text)
