"""Count what all processes do, and keep how many watches are in each state.

What the tables before have counted stays there: those counts began anew at each midnight.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Count what all processes do, and keep how many watches are in each state."""
    op.create_table(
        "counters",
        sa.Column("hour", sa.DateTime(timezone=True), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.Column("value", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("hour", "name", "labels", name=op.f("pk_counters")),
        postgresql_with={"fillfactor": 50},
    )
    op.create_table(
        "watch_counts",
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("watches", sa.BigInteger(), nullable=False),
        sa.Column("counted_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("state", name=op.f("pk_watch_counts")),
    )


def downgrade() -> None:
    """Undo it."""
    op.drop_table("watch_counts")
    op.drop_table("counters")
