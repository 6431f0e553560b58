"""Trusted readers, and tokens that keep the verified claims of their job instead of the publishers that accepted it.

Tokens of the version before are valid for minutes and lack claims; their jobs exchange another identity token.
"""

import sqlalchemy as sa
from alembic import op

revision = "0037"
down_revision = "0036"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_table("publishing_grants")
    op.drop_table("publishing_tokens")
    op.create_table(
        "exchanged_tokens",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("purpose", sa.String(length=16), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("issuer", sa.String(length=255), nullable=False),
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.Column("claims", sa.JSON(), nullable=False),
        sa.Column("run_url", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_exchanged_tokens")),
        sa.UniqueConstraint("digest", name=op.f("uq_exchanged_tokens_digest")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_exchanged_tokens_expires_at"), "exchanged_tokens", ["expires_at"], unique=False)
    op.create_table(
        "token_revocations",
        sa.Column("token_id", sa.Integer(), nullable=False),
        sa.Column("namespace_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["namespace_id"],
            ["namespaces.id"],
            name=op.f("fk_token_revocations_namespace_id_namespaces"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["token_id"],
            ["exchanged_tokens.id"],
            name=op.f("fk_token_revocations_token_id_exchanged_tokens"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("token_id", "namespace_id", name=op.f("pk_token_revocations")),
    )
    op.create_index(op.f("ix_token_revocations_namespace_id"), "token_revocations", ["namespace_id"], unique=False)
    op.create_table(
        "trusted_readers",
        sa.Column("namespace_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("issuer", sa.String(length=255), nullable=False),
        sa.Column("claims", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("creator_id", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["creator_id"], ["users.id"], name=op.f("fk_trusted_readers_creator_id_users"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["namespace_id"],
            ["namespaces.id"],
            name=op.f("fk_trusted_readers_namespace_id_namespaces"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trusted_readers")),
        sqlite_autoincrement=True,
    )
    for column in ("namespace_id", "issuer", "creator_id"):
        op.create_index(op.f(f"ix_trusted_readers_{column}"), "trusted_readers", [column], unique=False)
