"""Whether the instance requires a second factor of its users, or of administrators."""

import sqlalchemy as sa
from alembic import op

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("require_two_factor_authentication", "require_admin_two_factor_authentication"):
        op.add_column("instance_settings", sa.Column(name, sa.Boolean(), nullable=False, server_default=sa.false()))
