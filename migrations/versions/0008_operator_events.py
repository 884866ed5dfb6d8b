"""Keep what the operator is told until it is sent, and which silent workers were told of; and the trace of a watch."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Keep what the operator is told until it is sent, and which silent workers were told of; and the trace of a watch."""
    op.create_table(
        "operator_events",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("type", sa.String(length=32), nullable=False),
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_operator_events")),
    )
    op.create_index("ix_operator_events_due", "operator_events", ["due_at", "id"])
    op.create_index("ix_operator_events_subject", "operator_events", ["subject"])
    op.create_index(
        "ix_operator_events_collecting",
        "operator_events",
        ["type", "subject"],
        unique=True,
        postgresql_where=sa.text("attempts = 0"),
        sqlite_where=sa.text("attempts = 0"),
    )
    op.add_column("watches", sa.Column("traceparent", sa.String(length=55), nullable=True))
    op.add_column(
        "workers", sa.Column("silence_told", sa.Boolean(), server_default=sa.false(), nullable=False)
    )


def downgrade() -> None:
    """Undo it."""
    op.drop_column("workers", "silence_told")
    op.drop_column("watches", "traceparent")
    op.drop_table("operator_events")
