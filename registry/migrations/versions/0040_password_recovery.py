"""Until when the password of a user is accepted although sign-in with passwords is turned off."""

import sqlalchemy as sa
from alembic import op

revision = "0040"
down_revision = "0039"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("users", sa.Column("password_until", sa.DateTime(timezone=True), nullable=True))
