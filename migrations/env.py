"""How alembic meets the database: in the caller's transaction, or in its own for the alembic command."""

import os
from typing import Any, Literal

from alembic import context
from sqlalchemy import Connection

from bridge.db.column_types import Instant
from bridge.db.engine import open_engine
from bridge.db.tables import metadata
from bridge.settings import Settings


def render_item(kind: str, item: Any, _: Any) -> str | Literal[False]:
    """Write our own column types as what they are in the database: migrations outlive the code."""
    return "sa.DateTime(timezone=True)" if kind == "type" and isinstance(item, Instant) else False


def run(connection: Connection) -> None:
    """Run the migrations that are asked for."""
    context.configure(connection=connection, target_metadata=metadata, render_item=render_item)
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    settings = Settings.load_or_exit(os.environ)
    with open_engine(settings.database_url.get_secret_value()).begin() as own:
        run(own)
