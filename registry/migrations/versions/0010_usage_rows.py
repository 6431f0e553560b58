"""Several rows for the totals of a project, and an index for the spellings of a package name."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE TEMPORARY TABLE counted AS SELECT project_id, files, size_bytes FROM storage_usages")
    op.drop_table("storage_usages")
    op.create_table(
        "storage_usages",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("files", sa.BigInteger(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["namespaces.id"], name=op.f("fk_storage_usages_project_id_namespaces"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_storage_usages")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_storage_usages_project_id"), "storage_usages", ["project_id"], unique=False)
    op.execute(
        "INSERT INTO storage_usages (project_id, files, size_bytes)"
        " SELECT project_id, files, size_bytes FROM counted ORDER BY project_id"
    )
    op.execute("DROP TABLE counted")
    op.drop_index(op.f("ix_packages_normalized_name_project_id"), "packages")
    op.create_index(
        op.f("ix_packages_normalized_name_name_project_id"),
        "packages",
        ["normalized_name", "name", "project_id"],
        unique=False,
    )
