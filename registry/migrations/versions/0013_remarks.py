"""Remarks on published files, and projects that refuse files with remarks."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("package_files", sa.Column("remarks", sa.JSON(), nullable=True))
    op.create_index(
        "ix_package_files_remarked",
        "package_files",
        ["package_id"],
        unique=False,
        sqlite_where=sa.text("remarks IS NOT NULL"),
        postgresql_where=sa.text("remarks IS NOT NULL"),
    )
    op.add_column("namespaces", sa.Column("strict_uploads", sa.Boolean(), nullable=True))
