"""Which package names were asked for in a project or group lately, and where the answers came from."""

import sqlalchemy as sa
from alembic import op

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "upstream_asks",
        sa.Column("namespace_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("normalized_name", sa.String(length=255), nullable=False),
        sa.Column("source", sa.String(length=20), nullable=False),
        sa.Column("rule", sa.String(length=20), nullable=False),
        sa.Column("set_in", sa.Text(), nullable=False),
        sa.Column("withheld", sa.Integer(), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("namespace_id", "normalized_name", name=op.f("pk_upstream_asks")),
    )
    op.create_index("ix_upstream_asks_namespace_id_asked_at", "upstream_asks", ["namespace_id", "asked_at"])
    op.create_index(op.f("ix_upstream_asks_asked_at"), "upstream_asks", ["asked_at"], unique=False)
