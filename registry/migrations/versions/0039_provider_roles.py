"""Roles that follow from groups of the identity provider, and which memberships do."""

import sqlalchemy as sa
from alembic import op

revision = "0039"
down_revision = "0038"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "provider_roles",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("provider_group", sa.String(length=255), nullable=False),
        sa.Column("group_id", sa.Integer(), nullable=False),
        sa.Column("role", sa.SmallInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["group_id"], ["namespaces.id"], name=op.f("fk_provider_roles_group_id_namespaces"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_provider_roles")),
        sa.UniqueConstraint("provider_group", "group_id", name=op.f("uq_provider_roles_provider_group_group_id")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_provider_roles_group_id"), "provider_roles", ["group_id"], unique=False)
    op.add_column("memberships", sa.Column("from_provider", sa.Boolean(), nullable=False, server_default=sa.false()))
