"""Yanked files (PEP 592), and the status of a package name in a project (PEP 792)."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("package_files", sa.Column("yanked_reason", sa.Text(), nullable=True))
    op.create_table(
        "package_names",
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("normalized_name", sa.String(length=255), nullable=False),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["namespaces.id"], name=op.f("fk_package_names_project_id_namespaces"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("project_id", "normalized_name", name=op.f("pk_package_names")),
    )
    op.create_index(op.f("ix_package_names_normalized_name"), "package_names", ["normalized_name"], unique=False)
