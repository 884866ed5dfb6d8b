"""Types of columns: instants in UTC, and enums as text."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import DateTime, Dialect, String
from sqlalchemy.types import TypeDecorator


class Instant(TypeDecorator[datetime]):
    """An aware instant in UTC. SQLite keeps no zone, so it is put back when a row is read."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Turn any aware instant into UTC."""
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Read an instant as aware, in UTC."""
        if not isinstance(value, datetime):
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Word(TypeDecorator[str]):
    """An enum's value as plain text: a new member needs no migration.

    A value that a later release has written, and this one does not know, is read as plain text.
    """

    impl = String(32)
    cache_ok = True

    def __init__(self, words: type[StrEnum]) -> None:
        super().__init__()
        self.words = words  # SQLAlchemy's cache of statements tells the types apart by it
        self._members = {word.value: word for word in words}

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """Read a word as the enum's member, if it is one."""
        return self._members.get(value, value)
