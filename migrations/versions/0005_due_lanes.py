"""Find the lanes in which something has fallen due, without a visit to each lane."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_INDEXES = {
    "ix_watches_due_polls": (["due_at", "account"], sa.text("state = 'watching'")),
    "ix_watches_due_callbacks": (["due_at", "callback_host"], sa.text("state = 'delivering'")),
}


def upgrade() -> None:
    """Find the lanes in which something has fallen due, without a visit to each lane."""
    for name, (columns, where) in _INDEXES.items():
        op.create_index(name, "watches", columns, postgresql_where=where, sqlite_where=where)


def downgrade() -> None:
    """Undo it."""
    for name in _INDEXES:
        op.drop_index(name, table_name="watches")
