"""Types of columns: instants in UTC, and enums as text."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import DateTime, Dialect, String
from sqlalchemy.types import TypeDecorator


class Instant(TypeDecorator[datetime]):
    """A column of aware datetimes in UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert an aware datetime to UTC, to be stored."""
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Return a stored instant as an aware datetime in UTC; None for NULL."""
        if not isinstance(value, datetime):
            return None
        # SQLite stores no time zone.
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class EnumText(TypeDecorator[str]):
    """A column of enum members, stored as plain text, so that a new member needs no migration.

    A value that is not a member, such as one that a later release has written, is read as a plain `str`.
    """

    impl = String(32)
    cache_ok = True

    def __init__(self, words: type[StrEnum]) -> None:
        super().__init__()
        self.words = words  # part of the key of SQLAlchemy's statement cache
        self._members = {word.value: word for word in words}

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        return self._members.get(value, value)
