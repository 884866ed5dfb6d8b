"""Executes one statement for many rows."""

import json
from collections.abc import Callable, Mapping, Sequence
from operator import methodcaller
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Table, bindparam, cast, column, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import JSON

Columns = Mapping[str, ColumnElement[Any]]


def inserting(table: Table, names: Sequence[str], finish: Callable[[Any], Any]) -> Mapping[str, Any]:
    """Return INSERT statements that add rows to `table`: one for each dialect, by the dialect's name.

    The result is for `run`; each row passed to `run` has exactly the columns in `names`. `finish` is called with each
    INSERT, and returns the INSERT, perhaps with ON CONFLICT or RETURNING added.
    """
    values = _on_postgresql(table, names).values()
    return {
        "postgresql": finish(postgresql.insert(table).from_select(names, select(*values))),
        "sqlite": finish(sqlite.insert(table).values(_on_sqlite(table, names))),
    }


def updating(table: Table, key: str, names: Sequence[str]) -> Mapping[str, Any]:
    """Return UPDATE statements for rows of `table`: one for each dialect, by the dialect's name.

    The result is for `run`; each mapping passed to `run` has exactly the column `key` and the columns in `names`. The
    mapping's value of `key` selects the rows of `table` to change. The mapping's other values are set in these rows.
    """

    def build(row: Columns) -> Any:
        return update(table).where(table.c[key] == row[key]).values({name: row[name] for name in names})

    columns = (key, *names)
    return {"postgresql": build(_on_postgresql(table, columns)), "sqlite": build(_on_sqlite(table, columns))}


def _on_postgresql(table: Table, names: Sequence[str]) -> Columns:
    typed = (column(name, table.c[name].type) for name in names)
    rows = func.json_to_recordset(cast(bindparam("rows"), JSON)).table_valued(*typed)
    return dict(rows.render_derived(with_types=True).c)


def _on_sqlite(table: Table, names: Sequence[str]) -> Columns:
    return {name: bindparam(f"new_{name}", type_=table.c[name].type) for name in names}


def run(
    connection: Connection, statements: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> Sequence[Row[Any]]:
    """Execute one statement for all of `rows`; return the rows that its RETURNING clause yields.

    `statements` is a result of `inserting` or `updating`, with a statement for each dialect. `run` executes the
    statement for the connection's dialect. A statement without RETURNING yields no rows. When `rows` is empty, `run`
    executes nothing and returns an empty sequence.
    """
    if not rows:
        return []
    dialect = connection.dialect.name
    # PostgreSQL takes one JSON parameter faster than a statement for each row; SQLite takes longer to parse JSON.
    if dialect == "postgresql":
        written = json.dumps(rows, default=methodcaller("isoformat"))
        found = connection.execute(statements[dialect], {"rows": written})
    else:
        bound = [{f"new_{name}": value for name, value in row.items()} for row in rows]
        found = connection.execute(statements[dialect], bound)
    return found.all() if found.returns_rows else []
