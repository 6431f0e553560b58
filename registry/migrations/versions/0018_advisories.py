"""Security advisories, and which packages they affect."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "advisories",
        sa.Column("id", sa.String(length=100), nullable=False),
        sa.Column("digest", sa.String(length=32), nullable=False),
        sa.Column("summary", sa.String(length=500), nullable=False),
        sa.Column("details", sa.Text(), nullable=False),
        sa.Column("aliases", sa.JSON(), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cvss_score", sa.Double(), nullable=True),
        sa.Column("severity", sa.String(length=16), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_advisories")),
    )
    op.create_table(
        "affected_packages",
        sa.Column("normalized_name", sa.String(length=255), nullable=False),
        sa.Column("advisory_id", sa.String(length=100), nullable=False),
        sa.Column("ranges", sa.JSON(), nullable=False),
        sa.Column("versions", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["advisory_id"],
            ["advisories.id"],
            name=op.f("fk_affected_packages_advisory_id_advisories"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("normalized_name", "advisory_id", name=op.f("pk_affected_packages")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_affected_packages_advisory_id"), "affected_packages", ["advisory_id"], unique=False)
    op.create_table(
        "package_advisories",
        sa.Column("package_id", sa.Integer(), nullable=False),
        sa.Column("advisory_id", sa.String(length=100), nullable=False),
        sa.ForeignKeyConstraint(
            ["advisory_id"],
            ["advisories.id"],
            name=op.f("fk_package_advisories_advisory_id_advisories"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["package_id"], ["packages.id"], name=op.f("fk_package_advisories_package_id_packages"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("package_id", "advisory_id", name=op.f("pk_package_advisories")),
    )
    op.create_index(op.f("ix_package_advisories_advisory_id"), "package_advisories", ["advisory_id"], unique=False)
    op.create_table(
        "advisory_exports",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run", sa.String(length=32), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("loaded_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("advisories", sa.Integer(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_advisory_exports_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_advisory_exports")),
    )
    op.add_column("packages", sa.Column("is_malicious", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("packages", sa.Column("cvss_score", sa.Double(), nullable=True))
