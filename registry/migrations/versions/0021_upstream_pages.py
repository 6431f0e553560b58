"""Pages of the upstream index that are kept."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "upstream_pages",
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("index_url", sa.Text(), nullable=False),
        sa.Column("document", sa.LargeBinary(), nullable=True),
        sa.Column("digest", sa.String(length=64), nullable=True),
        sa.Column("etag", sa.Text(), nullable=False),
        sa.Column("checked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_upstream_pages")),
    )
    absent = sa.text("digest IS NULL")
    op.create_index(
        "ix_upstream_pages_absent", "upstream_pages", ["checked_at"], sqlite_where=absent, postgresql_where=absent
    )
