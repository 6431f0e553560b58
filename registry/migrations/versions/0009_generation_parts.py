"""A number for each part of the content, instead of one for everything."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

PARTS = 258
content_generation = sa.table("content_generation", sa.column("id", sa.Integer()), sa.column("number", sa.BigInteger()))


def upgrade() -> None:
    number = op.get_bind().execute(sa.select(content_generation.c.number)).scalar_one()
    op.drop_table("content_generation")
    op.create_table(
        "content_generation",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("id BETWEEN 0 AND 257", name=op.f("ck_content_generation_part")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_content_generation")),
    )
    op.bulk_insert(content_generation, [{"id": part, "number": number} for part in range(PARTS)])
