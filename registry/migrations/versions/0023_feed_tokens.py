"""The number from which the feed token of a user is derived."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("users", sa.Column("feed_token_number", sa.Integer(), nullable=False, server_default="0"))
