"""How the user of a session was authenticated."""

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("user_sessions", sa.Column("method", sa.String(length=32), nullable=False, server_default="password"))
