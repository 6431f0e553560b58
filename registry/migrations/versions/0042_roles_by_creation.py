"""Which memberships of creators of groups end with a role above that follows from a group of the identity provider."""

import sqlalchemy as sa
from alembic import op

revision = "0042"
down_revision = "0041"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("memberships", sa.Column("by_creation", sa.Boolean(), nullable=False, server_default=sa.false()))
