"""Patterns of reserved names: none, as before."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("instance_settings", sa.Column("pypi_reserved_names", sa.JSON(), nullable=False, server_default="[]"))
    op.add_column("group_package_settings", sa.Column("pypi_reserved_names", sa.JSON()))
    for table in ("instance_settings", "group_package_settings"):
        op.add_column(
            table, sa.Column("lock_pypi_reserved_names", sa.Boolean(), nullable=False, server_default=sa.false())
        )
