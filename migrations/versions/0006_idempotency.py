"""Answer a request with an Idempotency-Key once, however often it is sent."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Answer a request with an Idempotency-Key once, however often it is sent."""
    op.create_table(
        "keyed_requests",
        sa.Column("client", sa.String(64), nullable=False),
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("body_hash", sa.String(64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("begun_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("begun_by", sa.String(32), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True)),
        sa.Column("task_id", sa.String(255)),
        sa.Column("answer", sa.Text()),
        sa.PrimaryKeyConstraint("client", "key", name="pk_keyed_requests"),
    )
    op.create_index("ix_keyed_requests_created_at", "keyed_requests", ["created_at"])


def downgrade() -> None:
    """Undo it."""
    op.drop_table("keyed_requests")
