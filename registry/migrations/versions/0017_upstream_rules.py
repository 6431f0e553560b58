"""Rules for the public index: redirects, and nothing is held back, as before."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    _add_to_instance(sa.Column("pypi_upstream_mode", sa.String(32), nullable=False, server_default="redirect"))
    _add_to_instance(sa.Column("pypi_upstream_minimum_age_days", sa.Integer(), nullable=False, server_default="0"))
    _add_to_instance(sa.Column("pypi_upstream_fixed_date", MOMENT))
    _add_to_instance(sa.Column("pypi_upstream_blocked", sa.JSON(), nullable=False, server_default="[]"))
    _add_to_instance(sa.Column("pypi_upstream_allowed", sa.JSON(), nullable=False, server_default="[]"))
    _add_to_groups(sa.Column("pypi_upstream_mode", sa.String(32)))
    _add_to_groups(sa.Column("pypi_upstream_minimum_age_days", sa.Integer()))
    _add_to_groups(sa.Column("pypi_upstream_fixed_date", MOMENT))
    _add_to_groups(sa.Column("pypi_upstream_blocked", sa.JSON()))
    _add_to_groups(sa.Column("pypi_upstream_allowed", sa.JSON()))
    _create_exceptions()


def _add_to_instance(column: sa.Column[object]) -> None:
    _add("instance_settings", column)


def _add_to_groups(column: sa.Column[object]) -> None:
    _add("group_package_settings", column)


def _add(table: str, column: sa.Column[object]) -> None:
    op.add_column(table, column)
    op.add_column(table, sa.Column(f"lock_{column.name}", sa.Boolean(), nullable=False, server_default=sa.false()))


def _create_exceptions() -> None:
    op.create_table(
        "upstream_exceptions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("group_id", sa.Integer(), nullable=True),
        sa.Column("pattern", sa.String(255), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(
            ["group_id"], ["namespaces.id"], name=op.f("fk_upstream_exceptions_group_id_namespaces"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_upstream_exceptions_user_id_users"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_upstream_exceptions")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_upstream_exceptions_group_id"), "upstream_exceptions", ["group_id"], unique=False)
    op.create_index(op.f("ix_upstream_exceptions_user_id"), "upstream_exceptions", ["user_id"], unique=False)
