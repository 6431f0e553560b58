"""An index of the holders of reserved names in each top-level group, to see whether there are any but one project."""

from alembic import op

revision = "0045"
down_revision = "0044"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(op.f("ix_reserved_names_top_id_holder_id"), "reserved_names", ["top_id", "holder_id"], unique=False)
