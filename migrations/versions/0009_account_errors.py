"""Count, for each watch, the answers in a row that blamed its account."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Count, for each watch, the answers in a row that blamed its account."""
    # The default is for processes of the last release, which do not know the column.
    op.add_column("watches", sa.Column("account_errors", sa.Integer(), server_default="0", nullable=False))


def downgrade() -> None:
    """Undo it."""
    op.drop_column("watches", "account_errors")
