"""The requirements of package versions as rows; those of earlier versions are read from the store afterwards."""

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "package_requirements",
        sa.Column("package_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("extra", sa.String(length=255), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("normalized_name", sa.String(length=255), nullable=False),
        sa.Column("extras", sa.Text(), nullable=False),
        sa.Column("specifier", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("condition", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["package_id"],
            ["packages.id"],
            name=op.f("fk_package_requirements_package_id_packages"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("package_id", "number", name=op.f("pk_package_requirements")),
    )
    op.create_index(
        op.f("ix_package_requirements_normalized_name_package_id"),
        "package_requirements",
        ["normalized_name", "package_id"],
        unique=False,
    )
    op.add_column("packages", sa.Column("requirements_sha256", sa.String(length=64), nullable=True))
    unread = sa.text("requirements_sha256 IS NULL AND status = 'default'")
    op.create_index(
        "ix_packages_unread", "packages", ["id"], unique=False, sqlite_where=unread, postgresql_where=unread
    )
