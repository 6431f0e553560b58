"""Acceptance of identical uploads by project."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("namespaces", sa.Column("identical_upload_accepted", sa.Boolean(), nullable=True))
