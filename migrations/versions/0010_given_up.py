"""Find the hosts to which callbacks were given up lately, however many callbacks were."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Find the hosts to which callbacks were given up lately, however many callbacks were."""
    where = sa.text("state = 'undelivered'")
    op.create_index(
        "ix_watches_given_up",
        "watches",
        ["callback_host", "settled_at"],
        postgresql_where=where,
        sqlite_where=where,
    )


def downgrade() -> None:
    """Undo it."""
    op.drop_index("ix_watches_given_up", table_name="watches")
