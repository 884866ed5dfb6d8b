"""Watches by the hundred thousand, made inside the database: to register them one by one would take hours."""

from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import text

from bench.system import CLIENT, System
from bridge.core.watch import State

SETTLED = frozenset({State.DELIVERED, State.UNDELIVERED, State.WITHDRAWN})

# What SQLite and PostgreSQL say differently.
_PADDED = {"sqlite": "printf('%012d', n)", "postgresql": "lpad(CAST(n AS text), 12, '0')"}
_DUE_AT = {
    "sqlite": "strftime('%Y-%m-%d %H:%M:%f', :due_at, '+' || (n * :step) || ' seconds') || '000'",
    "postgresql": "CAST(:due_at AS timestamptz) + n * CAST(:step AS float) * interval '1 second'",
}
_INSTANT = {"sqlite": "{}", "postgresql": "CAST({} AS timestamptz)"}

# A million rows take longer than the bridge lets any statement of its own take.
_WITHOUT_LIMIT = text(
    "SELECT set_config(name, '0', false) FROM pg_settings"
    " WHERE name IN ('statement_timeout', 'transaction_timeout')"
)

_INSERT = """
INSERT INTO watches (id, client, account, kind, task_id, callback_url, callback_host, metadata, created_at,
    deadline_at, registration_key, state, outcome, due_at, ended_at, settled_at, last_attempt_at, polls,
    age_zero_at, refusals, failures, attempts, tries, manual)
WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :count)
SELECT :stem || {padded}, '{client}', {account}, 'file-import', :stem || {padded},
    :url || :stem || {padded}, {host}, '{{"order": 17}}', {created_at}, {deadline_at},
    :stem || {padded} || :stem || {padded}, :state, {outcome}, {due_at}, {ended_at}, {settled_at}, {settled_at},
    3, {created_at}, 0, 0, 0, 0, false
FROM numbers
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """So many watches, due one after another from an instant on, over some accounts and hosts in turn.

    Those with a settled state are never due; they were registered, ended and settled an hour ago.
    """

    stem: str
    count: int
    due_at: datetime
    spread: timedelta = timedelta(0)
    state: State = State.WATCHING
    host: str = "app.example.com"
    url: str = "https://app.example.com/hooks/"
    accounts: int = 1
    hosts: int = 1


def fill(system: System, load: Load) -> None:
    """Add the watches."""
    dialect = system.engine.dialect.name
    with system.engine.begin() as connection:
        if dialect == "postgresql":
            connection.execute(_WITHOUT_LIMIT)
        connection.execute(text(_statement(dialect, load)), _parameters(load))
    if dialect == "postgresql":
        _analyze(system)


def _statement(dialect: str, load: Load) -> str:
    has_ended, is_settled = load.state is not State.WATCHING, load.state in SETTLED
    instant = _INSTANT[dialect]
    hour_ago = instant.format(":created_at")
    # To format it is safe here: all that goes in is written above, or a number.
    return _INSERT.format(
        padded=_PADDED[dialect],
        client=CLIENT,
        account=f"'account-' || (n % {load.accounts})" if load.accounts > 1 else "'default'",
        host=f"'host-' || (n % {load.hosts}) || :host" if load.hosts > 1 else ":host",
        created_at=hour_ago,
        deadline_at=instant.format(":deadline_at"),
        due_at="NULL" if is_settled else _DUE_AT[dialect],
        outcome="'completed'" if has_ended else "NULL",
        ended_at=hour_ago if has_ended else "NULL",
        settled_at=hour_ago if is_settled else "NULL",
    )


def _parameters(load: Load) -> dict[str, str | float]:
    return {
        "stem": f"wat_{load.stem}_",
        "count": load.count,
        "host": load.host if load.hosts == 1 else f".{load.host}",
        "url": load.url,
        "state": load.state.value,
        "due_at": _written(load.due_at),
        "step": load.spread.total_seconds() / load.count,
        "created_at": _written(min(load.due_at, datetime.now(UTC)) - timedelta(hours=1)),
        "deadline_at": _written(load.due_at + load.spread + timedelta(days=1)),
    }


def _analyze(system: System) -> None:
    """Do now what autovacuum would do within a minute."""
    with closing(system.engine.raw_connection()) as connection:
        driver: Any = connection.driver_connection
        driver.rollback()  # not in a transaction
        driver.execute("VACUUM ANALYZE watches")


def _written(instant: datetime) -> str:
    return instant.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
