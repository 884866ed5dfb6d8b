"""Remember whose tasks an account was refused in a row, and since when a watch has been refused."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Remember whose tasks an account was refused in a row, and since when a watch has been refused."""
    op.add_column("account_gates", sa.Column("refused_watches", sa.Text(), server_default="", nullable=False))
    op.add_column("watches", sa.Column("refused_since", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    """Undo it."""
    op.drop_column("watches", "refused_since")
    op.drop_column("account_gates", "refused_watches")
