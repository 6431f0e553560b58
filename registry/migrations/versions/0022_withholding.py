"""Versions that are withheld because of advisories: malicious ones in every group, and no others."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

MALICIOUS, SCORE = "pypi_withhold_malicious", "pypi_withhold_cvss_score"


def upgrade() -> None:
    for table, nullable in (("instance_settings", False), ("group_package_settings", True)):
        default = None if nullable else sa.true()
        op.add_column(table, sa.Column(MALICIOUS, sa.Boolean(), nullable=nullable, server_default=default))
        op.add_column(table, sa.Column(SCORE, sa.Double(), nullable=True))
        for setting in (MALICIOUS, SCORE):
            op.add_column(table, sa.Column(f"lock_{setting}", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_table(
        "refused_downloads",
        sa.Column("namespace_id", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("author", sa.String(length=255), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.ForeignKeyConstraint(
            ["namespace_id"],
            ["namespaces.id"],
            name=op.f("fk_refused_downloads_namespace_id_namespaces"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("namespace_id", "sha256", "author", "day", name=op.f("pk_refused_downloads")),
    )
    op.create_index(op.f("ix_refused_downloads_day"), "refused_downloads", ["day"], unique=False)
