"""Downloads of package files by day."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "file_downloads",
        sa.Column("file_id", sa.Integer(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["file_id"], ["package_files.id"], name=op.f("fk_file_downloads_file_id_package_files"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("file_id", "day", name=op.f("pk_file_downloads")),
    )
