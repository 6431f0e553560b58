"""The time at which a deploy token was revoked, instead of a flag."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
deploy_tokens = sa.table(
    "deploy_tokens",
    sa.column("id", sa.Integer),
    sa.column("namespace_id", sa.Integer),
    sa.column("revoked", sa.Boolean),
    sa.column("revoked_at", MOMENT),
)
audit_events = sa.table(
    "audit_events",
    sa.column("action", sa.String),
    sa.column("namespace_id", sa.Integer),
    sa.column("details", sa.JSON),
    sa.column("created_at", MOMENT),
)


def upgrade() -> None:
    op.add_column("deploy_tokens", sa.Column("revoked_at", MOMENT, nullable=True))
    recorded_at = (
        sa.select(sa.func.min(audit_events.c.created_at))
        .where(
            audit_events.c.action == "deploy_token_revoked",
            audit_events.c.namespace_id == deploy_tokens.c.namespace_id,
            audit_events.c.details["token_id"].as_integer() == deploy_tokens.c.id,
        )
        .scalar_subquery()
    )
    # Without an audit event, all that is known is that the token was revoked before now.
    op.execute(
        sa.update(deploy_tokens)
        .where(deploy_tokens.c.revoked)
        .values(revoked_at=sa.func.coalesce(recorded_at, sa.func.now()))
    )
    op.drop_column("deploy_tokens", "revoked")
