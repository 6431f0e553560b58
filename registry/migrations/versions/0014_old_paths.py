"""Paths that groups, projects, and users have given up."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "old_paths",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("path_key", sa.Text(), nullable=False),
        sa.Column("namespace_id", sa.Integer(), nullable=True),
        sa.Column("given_up_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("had_packages", sa.Boolean(), nullable=False),
        sa.Column("deleter_id", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["deleter_id"], ["users.id"], name=op.f("fk_old_paths_deleter_id_users"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["namespace_id"], ["namespaces.id"], name=op.f("fk_old_paths_namespace_id_namespaces"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_old_paths")),
        sa.UniqueConstraint("path_key", name=op.f("uq_old_paths_path_key")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_old_paths_deleter_id"), "old_paths", ["deleter_id"], unique=False)
    op.create_index(op.f("ix_old_paths_namespace_id"), "old_paths", ["namespace_id"], unique=False)
