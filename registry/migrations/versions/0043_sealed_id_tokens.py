"""ID tokens of sessions are encrypted. Those that were stored before are removed; their sessions go on."""

from alembic import op

revision = "0043"
down_revision = "0042"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("UPDATE user_sessions SET id_token = NULL WHERE id_token IS NOT NULL")
