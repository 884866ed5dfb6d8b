"""The tables. `watches` is updated often, so HubSpot's answers have a table of their own, `answers`."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    and_,
    false,
    literal_column,
    text,
)

from bridge.core.delivery import Trigger
from bridge.core.operator_events import OperatorEventType
from bridge.core.watch import OPEN, Outcome, State
from bridge.db.column_types import EnumText, Instant

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def is_state(state: State) -> Any:
    """Return the condition that a watch is in this state."""
    # A literal: with a bound parameter, the planner would not use the partial indexes.
    return watches.c.state == literal_column(f"'{state}'")


def is_outcome(outcome: Outcome) -> Any:
    """Return the condition that a watch has this outcome."""
    return watches.c.outcome == literal_column(f"'{outcome}'")


watches = Table(
    "watches",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("client", String(64), nullable=False),
    Column("account", String(64), nullable=False),
    Column("kind", String(64), nullable=False),
    Column("task_id", String(255), nullable=False),
    Column("callback_url", Text, nullable=False),
    Column("callback_host", String(255), nullable=False),
    Column("metadata", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("deadline_at", Instant, nullable=False),
    Column("traceparent", String(55)),
    # A hash of the fields that identify a registration; null once withdrawn, so that the task may be registered again.
    Column("registration_key", String(64), unique=True),
    Column("state", EnumText(State), nullable=False, default=State.WATCHING),
    Column("outcome", EnumText(Outcome)),
    Column("due_at", Instant),
    Column("claimed_by", String(64)),
    Column("ended_at", Instant),
    Column("settled_at", Instant),
    Column("polls", Integer, nullable=False, default=0),
    Column("last_polled_at", Instant),
    Column("age_zero_at", Instant, nullable=False),
    Column("status", String(64)),
    Column("refusals", Integer, nullable=False, default=0),
    Column("refused_since", Instant),
    Column("failures", Integer, nullable=False, default=0),
    Column("account_errors", Integer, nullable=False, default=0),
    Column("error", Text),
    Column("last_error", Text),
    Column("attempts", Integer, nullable=False, default=0),
    Column("tries", Integer, nullable=False, default=0),
    Column("manual", Boolean, nullable=False, default=False),
    Column("last_attempt_at", Instant),
    Column("last_status_code", Integer),
    # Leaves room on each page for the next version of a row: every poll and attempt updates it.
    postgresql_with={"fillfactor": 70, "autovacuum_vacuum_scale_factor": 0.02},
)

# The conditions of partial indexes. With bound parameters in a condition, the planner would not use its index.
HAS_NOT_COMPLETED = watches.c.outcome != literal_column(f"'{Outcome.COMPLETED}'")
IS_NOT_DELIVERED = watches.c.state != literal_column(f"'{State.DELIVERED}'")
# Something is left to do.
IS_OPEN = watches.c.state.in_([literal_column(f"'{state}'") for state in sorted(OPEN)])
# Settled, but not UNDELIVERED.
IS_OVER = and_(watches.c.settled_at.is_not(None), watches.c.state != literal_column(f"'{State.UNDELIVERED}'"))


def _partial(name: str, *columns: str, where: Any) -> Index:
    return Index(name, *(watches.c[c] for c in columns), postgresql_where=where, sqlite_where=where)


_partial("ix_watches_to_poll", "account", "due_at", where=is_state(State.WATCHING))
_partial("ix_watches_to_deliver", "callback_host", "due_at", where=is_state(State.DELIVERING))
# These find the watches that have fallen due since a given instant, without a query for each account or host.
_partial("ix_watches_due_polls", "due_at", "account", where=is_state(State.WATCHING))
_partial("ix_watches_due_callbacks", "due_at", "callback_host", where=is_state(State.DELIVERING))
_partial("ix_watches_to_time_out", "deadline_at", where=is_state(State.WATCHING))
# Serves counts of open watches. Without it, SQLite may use another index after ANALYZE, or read the whole table.
_partial("ix_watches_open", "client", "state", where=IS_OPEN)
_partial("ix_watches_settled", "settled_at", where=watches.c.settled_at.is_not(None))
# Undelivered watches are kept longer; without them in the index, pruning does not read past them each time.
_partial("ix_watches_over", "settled_at", where=IS_OVER)
# Finds the hosts to which callbacks were given up lately, without a look at each callback.
_partial("ix_watches_given_up", "callback_host", "settled_at", where=is_state(State.UNDELIVERED))
# For filtered lists. The commonest outcome and state are left out: they are found quickly without an index.
_partial("ix_watches_not_completed", "outcome", "id", where=HAS_NOT_COMPLETED)
_partial("ix_watches_not_delivered", "state", "id", where=IS_NOT_DELIVERED)
_partial("ix_watches_ended", "ended_at", "id", where=watches.c.ended_at.is_not(None))
Index("ix_watches_of_client", watches.c.client, watches.c.id)
Index("ix_watches_of_task", watches.c.task_id)


def _watch_id() -> Column[str]:
    key = ForeignKey("watches.id", ondelete="CASCADE")
    return Column("watch_id", String(64), key, primary_key=True)


answers = Table(
    "answers",  # the body of HubSpot's last answer with a status, unchanged
    metadata,
    _watch_id(),
    Column("body", Text, nullable=False),
)

attempts = Table(
    "attempts",  # append-only
    metadata,
    _watch_id(),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("trigger", EnumText(Trigger), nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("duration_ms", Integer, nullable=False),
    Column("status_code", Integer),
    Column("error", Text),
    Column("response_excerpt", Text),
)

clients = Table(
    "clients",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("admin", Boolean, nullable=False),
    Column("key_hash", String(64), unique=True),  # null once revoked, or when the client has no key
    Column("key_prefix", String(16)),
    Column("created_at", Instant, nullable=False),
    Column("last_used_at", Instant),
    Column("revoked_at", Instant),
)

signing_secrets = Table(
    "signing_secrets",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("client", ForeignKey("clients.name"), nullable=False, index=True),
    Column("secret", Text, nullable=False),  # encrypted
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant),  # null: until the next rotation
)

accounts = Table(
    "accounts",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("credentials", Text, nullable=False),  # encrypted JSON
    Column("base_url", Text),
    Column("api_version", String(16)),
    Column("rate_limit", String(32)),
    Column("rate_share", Float),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
)

oauth_tokens = Table(
    "oauth_tokens",
    metadata,
    Column("account", String(64), primary_key=True),
    Column("origin", String(64), nullable=False),  # hash of the credentials that gave the tokens
    Column("access_token", Text),  # encrypted
    Column("refresh_token", Text),  # encrypted; null until the first refresh, like the columns beside it
    Column("issued_at", Instant),
    Column("expires_at", Instant),
    # Until then no process starts a refresh: one is under way, or `failure` says why the last one failed.
    Column("hold_until", Instant),
    Column("failure", Text),
    Column("at_fault", Boolean, nullable=False),  # whether the credentials are the cause of `failure`
)


def _breaker_columns() -> list[Column[Any]]:
    return [
        Column("name", String(255), primary_key=True),
        Column("failures", Integer, nullable=False),
        Column("paused_at", Instant),
        Column("paused_until", Instant),
        Column("pause_seconds", Float, nullable=False),
        Column("reason", Text),
        Column("ramp", Integer, key="slow_start"),
    ]


# In the database, the tables of breakers are called gates, and the column `slow_start` is called `ramp`.
host_breakers = Table("host_gates", metadata, *_breaker_columns())

account_breakers = Table(
    "account_gates",
    metadata,
    *_breaker_columns(),
    Column("free_at", Instant),
    Column("headroom", Float, nullable=False),
    Column("daily_remaining", BigInteger),
    Column("observed_at", Instant),
    # The ids of the watches whose tasks were refused since the last Success, at most SUSPECTS, separated by spaces.
    Column("refused_watches", Text, nullable=False, server_default=""),
)

account_days = Table(
    "account_days",
    metadata,
    Column("account", String(64), primary_key=True),
    Column("day", Date, primary_key=True),
    Column("requests", Integer, nullable=False),
    Column("errors", Integer, nullable=False),
)

counters = Table(
    "counters",  # see bridge/db/counters.py
    metadata,
    Column("hour", Instant, primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("labels", Text, primary_key=True),
    Column("value", Float, nullable=False),
    # Each process adds to the same rows every second.
    postgresql_with={"fillfactor": 50},
)

watch_counts = Table(
    "watch_counts",  # see bridge/db/watch_counts.py
    metadata,
    Column("state", EnumText(State), primary_key=True),
    Column("watches", BigInteger, nullable=False),
    Column("counted_at", Instant, nullable=False),
)

# This release does not use it, but the previous one may still run during a roll-out. The next release drops it.
account_delays = Table(
    "account_delays",
    metadata,
    Column("account", String(64), primary_key=True),
    Column("day", Date, primary_key=True),
    Column("bound_seconds", Float, primary_key=True),
    Column("detections", Integer, nullable=False),
    Column("delay_seconds", Float, nullable=False),  # their sum
)

keyed_requests = Table(
    "keyed_requests",  # requests with an Idempotency-Key: see bridge/db/idempotent_requests.py
    metadata,
    Column("client", String(64), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("body_hash", String(64), nullable=False),
    Column("created_at", Instant, nullable=False, index=True),
    Column("begun_at", Instant, nullable=False),
    # The id of the execution that carries the request out; a later execution may take over.
    Column("begun_by", String(32), nullable=False),
    Column("asked_at", Instant),  # just before HubSpot was asked; from then on a task may have started
    Column("task_id", String(255)),  # of the task that HubSpot has started
    Column("answer", Text),  # the bridge's response, as JSON
)

workers = Table(
    "workers",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("started_at", Instant, nullable=False),
    Column("ticked_at", Instant, nullable=False),
    # Whether its environment has credentials of the account `default`.
    Column("has_credentials", Boolean, nullable=False, server_default=false()),
    # Whether the operator was told that the worker is silent.
    Column("silence_told", Boolean, nullable=False, server_default=false()),
)

# Unused. It is kept for processes of an earlier commit that run during a roll-out; the next release drops it.
worker_days = Table(
    "worker_days",
    metadata,
    Column("day", Date, primary_key=True),
    Column("leases_lost", Integer, nullable=False),
)

operator_events = Table(
    "operator_events",  # see bridge/db/operator_events.py
    metadata,
    Column("id", String(64), primary_key=True),
    Column("type", EnumText(OperatorEventType), nullable=False),
    Column("subject", String(255), nullable=False, index=True),
    Column("count", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("since", Instant, nullable=False),
    Column("last_at", Instant, nullable=False),
    Column("attempts", Integer, nullable=False),  # how many were begun
    # While the event is being sent, the end of the lease; null when nothing is left to do.
    Column("due_at", Instant),
    Column("settled_at", Instant),
)
Index(
    "ix_operator_events_collecting",
    operator_events.c.type,
    operator_events.c.subject,
    unique=True,
    postgresql_where=text("attempts = 0"),
    sqlite_where=text("attempts = 0"),
)
# Finds the next event to send, however many are due.
Index("ix_operator_events_due", operator_events.c.due_at, operator_events.c.id)

canaries = Table(
    "canaries",  # one row, a known text encrypted: shows whether the keys that are set fit the secrets
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("token", Text, nullable=False),
)
