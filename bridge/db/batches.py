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
    """Return the statements with which `run` updates rows of `table`: for each dialect's name, an UPDATE.

    `key` and `names` are names of columns. Each mapping passed to `run` holds a value for each of these columns, and
    nothing else. The rows with the mapping's value in the column `key` get the mapping's other values.
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
    """Execute the connection's dialect's statement with these rows; return the rows of its RETURNING.

    `statements` is a result of `inserting` or `updating`. The result is empty if the statement has no RETURNING. Does
    nothing when there are no rows.
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
