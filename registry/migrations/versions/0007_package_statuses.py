"""Without the statuses of packages that nothing sets."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("UPDATE packages SET status = 'default' WHERE status != 'pending_destruction'")
    op.drop_column("packages", "status_message")
