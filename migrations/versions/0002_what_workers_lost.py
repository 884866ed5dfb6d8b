"""Count what workers lost, find what is over, and count what a client has open."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Count what workers lost, find what is over, and count what a client has open."""
    op.create_table(
        "worker_days",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("leases_lost", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("day", name=op.f("pk_worker_days")),
    )
    op.create_index(
        "ix_watches_over",
        "watches",
        ["settled_at"],
        unique=False,
        postgresql_where=sa.text("settled_at IS NOT NULL AND state != 'undelivered'"),
        sqlite_where=sa.text("settled_at IS NOT NULL AND state != 'undelivered'"),
    )
    op.create_index(
        "ix_watches_open",
        "watches",
        ["client", "state"],
        unique=False,
        postgresql_where=sa.text("state IN ('delivering', 'watching')"),
        sqlite_where=sa.text("state IN ('delivering', 'watching')"),
    )


def downgrade() -> None:
    """Undo it."""
    op.drop_index(
        "ix_watches_open",
        table_name="watches",
        postgresql_where=sa.text("state IN ('delivering', 'watching')"),
        sqlite_where=sa.text("state IN ('delivering', 'watching')"),
    )
    op.drop_index(
        "ix_watches_over",
        table_name="watches",
        postgresql_where=sa.text("settled_at IS NOT NULL AND state != 'undelivered'"),
        sqlite_where=sa.text("settled_at IS NOT NULL AND state != 'undelivered'"),
    )
    op.drop_table("worker_days")
