"""Query plans of the statements that a function executes."""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, Row, event


def plan_of(connection: Connection, act: Callable[[Connection], Any]) -> str:
    """Return the database's query plan of each statement that `act` executes."""
    ran: dict[str, Any] = {}

    @event.listens_for(connection, "before_cursor_execute")
    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        ran[statement] = parameters

    act(connection)
    event.remove(connection, "before_cursor_execute", note)
    lines = [str(row[-1]) for sql, values in ran.items() for row in _explained(connection, sql, values)]
    return "\n".join(lines)


def _explained(connection: Connection, statement: str, values: Any) -> Sequence[Row[Any]]:
    if connection.dialect.name == "sqlite":
        return connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()
    # A statement that is run often is planned without its values: the index must fit even then.
    # psycopg prepares what comes often, but it cannot prepare numbers without values.
    driver: Any = connection.connection.driver_connection
    driver.prepare_threshold = None
    numbers = {name: f"${place}" for place, name in enumerate(values, start=1)}
    return connection.exec_driver_sql(f"EXPLAIN (GENERIC_PLAN) {statement % numbers}").all()
