"""A number for each part of the content, instead of one for everything."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

NAME_GROUPS, INDEX, ACCESS, INDEX_ROWS = range(256), 256, 257, range(16)
content_generation = sa.table(
    "content_generation",
    sa.column("part", sa.Integer()),
    sa.column("row", sa.Integer()),
    sa.column("number", sa.BigInteger()),
)


def upgrade() -> None:
    number = op.get_bind().execute(sa.select(content_generation.c.number)).scalar_one()
    op.drop_table("content_generation")
    op.create_table(
        "content_generation",
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("row", sa.Integer(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("part BETWEEN 0 AND 257", name=op.f("ck_content_generation_part")),
        sa.PrimaryKeyConstraint("part", "row", name=op.f("pk_content_generation")),
        sqlite_with_rowid=False,
    )
    parts = [*((part, 0) for part in (*NAME_GROUPS, ACCESS)), *((INDEX, row) for row in INDEX_ROWS)]
    op.bulk_insert(content_generation, [{"part": part, "row": row, "number": number} for part, row in sorted(parts)])
