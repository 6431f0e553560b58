"""Several rows for the number of what decides on access, so that first uploads to a project do not wait for others."""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

ACCESS, MORE_ROWS = 257, range(1, 16)


def upgrade() -> None:
    content_generation = sa.table("content_generation", *map(sa.column, ("part", "row", "number")))
    op.bulk_insert(content_generation, [{"part": ACCESS, "row": row, "number": 0} for row in MORE_ROWS])
