"""Stored totals of each project's files, and limits on storage."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "storage_usages",
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("files", sa.BigInteger(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["namespaces.id"], name=op.f("fk_storage_usages_project_id_namespaces"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("project_id", name=op.f("pk_storage_usages")),
    )
    op.execute(
        "INSERT INTO storage_usages (project_id, files, size_bytes)"
        " SELECT namespaces.id, COUNT(package_files.id), COALESCE(SUM(package_files.size_bytes), 0) FROM namespaces"
        " LEFT JOIN package_files ON package_files.project_id = namespaces.id AND package_files.status = 'default'"
        " WHERE namespaces.kind = 'project' GROUP BY namespaces.id"
    )
    op.add_column("namespaces", sa.Column("storage_size_limit", sa.BigInteger(), nullable=True))
    op.add_column("instance_settings", sa.Column("project_storage_size_limit", sa.BigInteger(), nullable=True))
    op.add_column("instance_settings", sa.Column("group_storage_size_limit", sa.BigInteger(), nullable=True))
