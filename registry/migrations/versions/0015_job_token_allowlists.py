"""Job token allowlists on group endpoints: off, as before."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

SETTING = "enforce_job_token_allowlists_on_group_endpoints"


def upgrade() -> None:
    for table, nullable in (("instance_settings", False), ("group_package_settings", True)):
        default = None if nullable else sa.false()
        op.add_column(table, sa.Column(SETTING, sa.Boolean(), nullable=nullable, server_default=default))
        op.add_column(table, sa.Column(f"lock_{SETTING}", sa.Boolean(), nullable=False, server_default=sa.false()))
