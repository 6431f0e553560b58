"""The pipelines that published imported files on GitLab."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("package_files", sa.Column("imported_pipelines", sa.JSON(), nullable=True))
