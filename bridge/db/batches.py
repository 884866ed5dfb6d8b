"""Executes one statement for many rows."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, bindparam, cast, column, func
from sqlalchemy.dialects.postgresql import JSON

from bridge.db.dialect_sql import for_each_dialect

Columns = Mapping[str, ColumnElement[Any]]


def statements(table: Table, names: Sequence[str], build: Callable[[Any, Columns], Any]) -> Mapping[str, Any]:
    """Return a statement to pass to `run`: a mapping from each dialect's name to its SQL statement.

    Each row given to `run` has exactly these `names`; a value has the type of the column of `table` with the
    same name. `build` returns the SQL statement of one dialect. It gets the dialect's function `insert`, and
    a mapping from each name to the SQL expression that stands for the value.
    """
    columns = {"postgresql": _on_postgresql(table, names), "sqlite": _on_sqlite(table, names)}
    inserts = for_each_dialect(lambda insert: insert)
    return {dialect: build(insert, columns[dialect]) for dialect, insert in inserts.items()}


def _on_postgresql(table: Table, names: Sequence[str]) -> Columns:
    typed = (column(name, table.c[name].type) for name in names)
    rows = func.json_to_recordset(cast(bindparam("rows"), JSON)).table_valued(*typed)
    return dict(rows.render_derived(with_types=True).c)


def _on_sqlite(table: Table, names: Sequence[str]) -> Columns:
    return {name: bindparam(f"new_{name}", type_=table.c[name].type) for name in names}


def run(connection: Connection, statement: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    """Execute `statement`, which `statements` has returned, for these rows; do nothing when there are no rows."""
    if not rows:
        return
    dialect = connection.dialect.name
    # PostgreSQL takes one JSON parameter faster than a statement for each row; SQLite takes longer to parse JSON.
    if dialect == "postgresql":
        connection.execute(statement[dialect], {"rows": json.dumps(rows, default=datetime.isoformat)})
    else:
        bound = [{f"new_{name}": value for name, value in row.items()} for row in rows]
        connection.execute(statement[dialect], bound)
