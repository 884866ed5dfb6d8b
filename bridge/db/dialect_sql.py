"""SQL expressions that differ between SQLite and PostgreSQL."""

import json
from collections.abc import Collection, Mapping
from typing import Any, ClassVar, TypeVar

from sqlalchemy import ColumnElement, Connection, Dialect, Select, TableValuedAlias, Text, bindparam, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator, TypeEngine

Value = TypeVar("Value")


_INSERTS = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


def dialect_insert(connection: Connection, table: Any) -> Any:
    """Return an INSERT into `table` for the connection's dialect; it supports ON CONFLICT."""
    return _INSERTS[connection.dialect.name](table)


class DialectSQL(FunctionElement[Value]):
    """A SQL expression whose text differs by dialect.

    A subclass sets `sql_by_dialect`: a template for each dialect, in which `{0}`, `{1}` … stand for the arguments.
    """

    sql_by_dialect: ClassVar[Mapping[str, str]]


@compiles(DialectSQL)
def _compile(element: DialectSQL[Any], compiler: SQLCompiler, **kwargs: Any) -> str:
    clauses = (compiler.process(clause, **kwargs) for clause in element.clauses)
    return element.sql_by_dialect[compiler.dialect.name].format(*clauses)


def in_parameter(column: ColumnElement[Any], parameter: str) -> ColumnElement[bool]:
    """Return the condition that `column` is one of the texts bound to the SQL parameter named `parameter`."""
    # One parameter for all texts: otherwise the SQL would differ, and be prepared again, for each number of texts.
    return in_subquery(column, select(each(parameter).c.value))


def in_subquery(column: ColumnElement[Any], query: Select[Any]) -> ColumnElement[bool]:
    """Return the condition that `column` is in the result of `query`, a subquery that runs once, not for each row."""
    return _InSubquery(column, query.scalar_subquery())


class _InSubquery(DialectSQL[bool]):
    # With IN, PostgreSQL may scan the whole table, or run the query again for each row, and lock other rows.
    # No `type` is set: on SQLite, SQLAlchemy would append `= 1` to a Boolean, and no index would be used.
    inherit_cache = True
    sql_by_dialect: ClassVar = {"postgresql": "{0} = ANY(ARRAY{1})", "sqlite": "{0} IN {1}"}


def each(parameter: str) -> TableValuedAlias:
    """Return an SQL table with the one column `value` and a row for each text in a collection.

    `parameter` is the name of the SQL parameter that holds the collection when the statement is executed.
    """
    return _Each(bindparam(parameter, type_=_Texts())).table_valued("value", name="value")


class _Each(DialectSQL[str]):
    inherit_cache = True
    # The column is named `value`: on PostgreSQL after the table's alias, on SQLite always.
    sql_by_dialect: ClassVar = {"postgresql": "unnest({0})", "sqlite": "json_each({0})"}


class _Texts(TypeDecorator[Collection[str]]):
    """Several texts as one value: an array on PostgreSQL, JSON on SQLite."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(ARRAY(Text()) if dialect.name == "postgresql" else Text())

    def process_bind_param(self, value: Collection[str] | None, dialect: Dialect) -> Any:
        texts = list(value or ())
        return texts if dialect.name == "postgresql" else json.dumps(texts)
