"""Which Owners keep the role that groups of the identity provider no longer give, as a group would have no other."""

import sqlalchemy as sa
from alembic import op

revision = "0044"
down_revision = "0043"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("memberships", sa.Column("kept_as_owner", sa.Boolean(), nullable=False, server_default=sa.false()))
