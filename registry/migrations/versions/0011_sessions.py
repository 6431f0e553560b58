"""Sessions and sign-in addresses of users; addresses that users may have set themselves are no longer confirmed."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
users = sa.table(
    "users", sa.column("id", sa.Integer), sa.column("is_admin", sa.Boolean), sa.column("confirmed_at", MOMENT)
)
audit_events = sa.table(
    "audit_events", sa.column("action", sa.String), sa.column("author_id", sa.Integer), sa.column("details", sa.JSON)
)


def upgrade() -> None:
    op.create_table(
        "user_sessions",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_user_sessions_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_user_sessions")),
    )
    op.create_index(op.f("ix_user_sessions_expires_at"), "user_sessions", ["expires_at"], unique=False)
    op.create_index(op.f("ix_user_sessions_user_id"), "user_sessions", ["user_id"], unique=False)
    op.create_table(
        "sign_in_addresses",
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("last_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_sign_in_addresses_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", "key", name=op.f("pk_sign_in_addresses")),
    )
    # Until now, only administrators and the users themselves could change an account, and a profile that its user
    # saved included the address.
    saved = sa.select(audit_events.c.author_id).where(
        audit_events.c.action == "user_changed", audit_events.c.author_id.is_not(None)
    )
    op.execute(sa.update(users).where(~users.c.is_admin, users.c.id.in_(saved)).values(confirmed_at=None))
