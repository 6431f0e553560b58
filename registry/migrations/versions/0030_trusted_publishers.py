"""Trusted publishers, the tokens they receive, and the identity tokens that were exchanged for them."""

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "trusted_publishers",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("issuer", sa.String(length=255), nullable=False),
        sa.Column("claims", sa.JSON(), nullable=False),
        sa.Column("package_names", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("creator_id", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["creator_id"], ["users.id"], name=op.f("fk_trusted_publishers_creator_id_users"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["namespaces.id"],
            name=op.f("fk_trusted_publishers_project_id_namespaces"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trusted_publishers")),
        sqlite_autoincrement=True,
    )
    for column in ("project_id", "issuer", "creator_id"):
        op.create_index(op.f(f"ix_trusted_publishers_{column}"), "trusted_publishers", [column], unique=False)
    op.create_table(
        "publishing_tokens",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("issuer", sa.String(length=255), nullable=False),
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.Column("claims", sa.JSON(), nullable=False),
        sa.Column("run_url", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_publishing_tokens")),
        sa.UniqueConstraint("digest", name=op.f("uq_publishing_tokens_digest")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_publishing_tokens_expires_at"), "publishing_tokens", ["expires_at"], unique=False)
    op.create_table(
        "publishing_grants",
        sa.Column("token_id", sa.Integer(), nullable=False),
        sa.Column("publisher_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["publisher_id"],
            ["trusted_publishers.id"],
            name=op.f("fk_publishing_grants_publisher_id_trusted_publishers"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["token_id"],
            ["publishing_tokens.id"],
            name=op.f("fk_publishing_grants_token_id_publishing_tokens"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("token_id", "publisher_id", name=op.f("pk_publishing_grants")),
    )
    op.create_index(op.f("ix_publishing_grants_publisher_id"), "publishing_grants", ["publisher_id"], unique=False)
    op.create_table(
        "used_identity_tokens",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_used_identity_tokens")),
    )
    op.create_index(op.f("ix_used_identity_tokens_expires_at"), "used_identity_tokens", ["expires_at"], unique=False)
    op.add_column("package_files", sa.Column("trusted_run", sa.JSON(), nullable=True))
    op.add_column("namespaces", sa.Column("only_trusted_publishers", sa.Boolean(), nullable=True))
    op.add_column(
        "instance_settings", sa.Column("oidc_trusted_issuers", sa.JSON(), nullable=False, server_default="[]")
    )
