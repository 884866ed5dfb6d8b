"""Find rare watches, and those that ended in some time, however many there are."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

INDEXES = {
    "ix_watches_not_completed": (["outcome", "id"], "outcome != 'completed'"),
    "ix_watches_not_delivered": (["state", "id"], "state != 'delivered'"),
    "ix_watches_ended": (["ended_at", "id"], "ended_at IS NOT NULL"),
}


def upgrade() -> None:
    """Find rare watches, and those that ended in some time, however many there are."""
    for name, (columns, which) in INDEXES.items():
        where = sa.text(which)
        op.create_index(name, "watches", columns, postgresql_where=where, sqlite_where=where)


def downgrade() -> None:
    """Undo it."""
    for name in INDEXES:
        op.drop_index(name, table_name="watches")
