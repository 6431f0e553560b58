"""When kept files were uploaded to the upstream index, as rules apply to those, too, that are gone from its pages."""

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("cached_files", sa.Column("uploaded_at", sa.DateTime(timezone=True), nullable=True))
