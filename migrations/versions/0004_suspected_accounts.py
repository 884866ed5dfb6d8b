"""Remember whose tasks were refused in a row, and since when; and which workers have credentials."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Remember whose tasks were refused in a row, and since when; and which workers have credentials."""
    op.add_column("account_gates", sa.Column("refused_watches", sa.Text(), server_default="", nullable=False))
    op.add_column(
        "workers", sa.Column("has_credentials", sa.Boolean(), server_default=sa.false(), nullable=False)
    )
    op.add_column("watches", sa.Column("refused_since", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    """Undo it."""
    op.drop_column("watches", "refused_since")
    op.drop_column("workers", "has_credentials")
    op.drop_column("account_gates", "refused_watches")
