"""Names that stay reserved in a top-level group: those of all packages, statuses, and recorded publications."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

BATCH = 1000
_SKELETON = str.maketrans({"-": "", "0": "o", "1": "i", "l": "i"})


def upgrade() -> None:
    table = op.create_table(
        "reserved_names",
        sa.Column("top_id", sa.Integer(), nullable=False),
        sa.Column("normalized_name", sa.String(255), nullable=False),
        sa.Column("skeleton", sa.String(255), nullable=False),
        sa.Column("holder_id", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["holder_id"], ["namespaces.id"], name=op.f("fk_reserved_names_holder_id_namespaces"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["top_id"], ["namespaces.id"], name=op.f("fk_reserved_names_top_id_namespaces"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("top_id", "normalized_name", name=op.f("pk_reserved_names")),
    )
    _fill(table)
    op.create_index(op.f("ix_reserved_names_holder_id"), "reserved_names", ["holder_id"], unique=False)
    op.create_index(op.f("ix_reserved_names_top_id_skeleton"), "reserved_names", ["top_id", "skeleton"], unique=False)


def _fill(table: sa.Table) -> None:
    connection, tops = op.get_bind(), _tops()
    found: dict[tuple[int, str], dict[str, object]] = {}
    for statement in _published():
        for project_id, published, created_at in connection.execute(statement):
            name = _normalized(published)
            if project_id in tops and name:
                key = {"top_id": tops[project_id], "normalized_name": name}
                details = {"skeleton": name.translate(_SKELETON), "holder_id": project_id, "created_at": created_at}
                found.setdefault((tops[project_id], name), key | details)
    rows = list(found.values())
    for start in range(0, len(rows), BATCH):
        connection.execute(table.insert(), rows[start : start + BATCH])


def _tops() -> dict[int, int]:
    """Return the top-level group or personal namespace of each namespace, by ID."""
    ancestries = sa.table("namespace_ancestries", *map(sa.column, ("namespace_id", "ancestor_id", "distance")))
    rows = op.get_bind().execute(
        sa.select(ancestries.c.namespace_id, ancestries.c.ancestor_id).order_by(ancestries.c.distance)
    )
    return {row[0]: row[1] for row in rows}


def _published() -> tuple[sa.Executable, ...]:
    """Return statements for project, name, and time of all packages, names with a status, and publications."""
    moment = sa.DateTime(timezone=True)
    project, holder = sa.column("project_id", sa.Integer()), sa.column("namespace_id", sa.Integer())
    name, target = sa.column("normalized_name", sa.Text()), sa.column("target", sa.Text())  # a name and a version
    order, created, now = sa.column("id", sa.Integer()), sa.column("created_at", moment), sa.func.now(type_=moment)
    statements = (
        sa.select(project, name, created).select_from(sa.table("packages")).order_by(order),
        sa.select(project, name, now).select_from(sa.table("package_names")).order_by(project, name),
        sa.select(holder, target, created)
        .select_from(sa.table("audit_events"))
        .where(sa.column("action", sa.Text()) == "package_published", holder.is_not(None))
        .order_by(order),
    )
    return tuple(statement.execution_options(yield_per=BATCH) for statement in statements)


def _normalized(text: str) -> str:
    """Return the normalized form (PEP 503) of a package name, which a version can follow."""
    name = text.partition(" ")[0]
    return "-".join(filter(None, name.lower().replace("_", "-").replace(".", "-").split("-")))
