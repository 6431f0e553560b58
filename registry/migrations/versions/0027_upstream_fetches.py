"""Files of the upstream index that were downloaded through a project or group in the last months."""

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "upstream_fetches",
        sa.Column("namespace_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("filename", sa.Text(), nullable=False),
        sa.Column("normalized_name", sa.String(length=255), nullable=False),
        sa.Column("uploaded_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("fetched_on", sa.Date(), nullable=False),
        sa.PrimaryKeyConstraint("namespace_id", "sha256", name=op.f("pk_upstream_fetches")),
    )
    op.create_index(op.f("ix_upstream_fetches_fetched_on"), "upstream_fetches", ["fetched_on"], unique=False)
