"""The texts of cursors, which clients keep: what is read from them, and which are none of ours."""

from base64 import urlsafe_b64encode

import pytest

from bridge.db.pagination import Cursor, Order
from tests.makers import NOW, a_watch, later


def encoded(text: str | bytes) -> str:
    return urlsafe_b64encode(text if isinstance(text, bytes) else text.encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    [
        Cursor(watch_id="wat_0123456789"),
        Cursor(watch_id="A" * 8, backwards=True),
        Cursor(watch_id="A" * 8, inclusive=True),
        Cursor(watch_id="_" * 64, ended_at=later(0.123456)),
        Cursor(watch_id="wat_0123456789", ended_at=NOW, backwards=True, inclusive=True),
    ],
)
def test_a_cursor_is_read_as_it_was_written(cursor: Cursor) -> None:
    assert Cursor.read(str(cursor)) == cursor
    assert "=" not in str(cursor)


def test_a_cursor_of_the_last_release_is_read() -> None:
    assert Cursor.read(encoded("wat_0123456789")) == Cursor(watch_id="wat_0123456789")


def test_a_cursor_fits_lists_in_its_own_order() -> None:
    watch = a_watch(ended_at=NOW)
    assert Cursor(watch_id=watch.id).fits(Order.CREATED_AT)
    assert not Cursor(watch_id=watch.id).fits(Order.ENDED_AT)
    assert Cursor(watch_id=watch.id, ended_at=NOW).fits(Order.ENDED_AT)
    assert not Cursor(watch_id=watch.id, ended_at=NOW).fits(Order.CREATED_AT)


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "d2F0",
        "wat_0123456789",
        "\x00",
        "é",
        "\ud800",
        "!" + encoded("wat_0123456789"),
        encoded("wat_0123456789") + "=",
        encoded(b"wat_\xff\xff\xff\xff"),
        encoded("wat_01234' OR 1"),
        encoded("w" * 65),
        encoded("--wat_0123456789"),
        encoded("=-wat_0123456789"),
        encoded(".wat_0123456789"),
        encoded("1" * 18 + ".wat_0123456789"),
        encoded("٣.wat_0123456789"),
    ],
)
def test_a_cursor_that_is_none_of_ours_leads_nowhere(cursor: str) -> None:
    assert Cursor.read(cursor) is None
