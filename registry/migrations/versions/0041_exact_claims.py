"""An exact claim of each trusted publisher and reader, by which those that can accept a job are found.

For those that were added before, it stays empty: exchanges load them whatever the claims of the job.
"""

import sqlalchemy as sa
from alembic import op

revision = "0041"
down_revision = "0040"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("trusted_publishers", "trusted_readers"):
        op.add_column(table, sa.Column("exact_claim", sa.String(length=356), nullable=False, server_default=""))
        op.create_index(op.f(f"ix_{table}_issuer_exact_claim"), table, ["issuer", "exact_claim"], unique=False)
        op.drop_index(op.f(f"ix_{table}_issuer"), table_name=table)
