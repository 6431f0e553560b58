"""Package names as the search compares them, with an index of the parts of their texts."""

import unicodedata

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

BATCH = 1000
# The triggers keep the virtual table, which stores no text of its own, beside the table.
ADD = (
    "INSERT INTO searched_names_parts (rowid, normalized_name, words) VALUES (new.id, new.normalized_name, new.words);"
)
REMOVE = (
    "INSERT INTO searched_names_parts (searched_names_parts, rowid, normalized_name, words)"
    " VALUES ('delete', old.id, old.normalized_name, old.words);"
)
SQLITE = (
    "DROP TABLE IF EXISTS searched_names_parts",  # of an interrupted restore
    "CREATE VIRTUAL TABLE searched_names_parts USING fts5"
    " (normalized_name, words, content='searched_names', content_rowid='id', columnsize=0, tokenize='trigram')",
    f"CREATE TRIGGER searched_names_added AFTER INSERT ON searched_names BEGIN {ADD} END",
    f"CREATE TRIGGER searched_names_changed AFTER UPDATE ON searched_names BEGIN {REMOVE} {ADD} END",
    f"CREATE TRIGGER searched_names_deleted AFTER DELETE ON searched_names BEGIN {REMOVE} END",
)
# Creating the extension takes its package on the server and the privilege CREATE on the database; without them, the
# texts are searched one after the other.
POSTGRESQL = """
DO $$
BEGIN
    CREATE EXTENSION IF NOT EXISTS pg_trgm;
    CREATE INDEX ix_searched_names_parts ON searched_names USING gin
        (normalized_name gin_trgm_ops, words gin_trgm_ops);
EXCEPTION WHEN insufficient_privilege OR undefined_file OR feature_not_supported OR undefined_object THEN
    RAISE NOTICE 'searched_names has no index of parts: %', SQLERRM;
END $$
"""


def upgrade() -> None:
    op.create_table(
        "searched_names",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("normalized_name", sa.String(length=255), nullable=False),
        sa.Column("words", sa.Text(), nullable=False),
        sa.Column("described_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["namespaces.id"], name=op.f("fk_searched_names_project_id_namespaces"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_searched_names")),
        sa.UniqueConstraint("project_id", "normalized_name", name=op.f("uq_searched_names_project_id_normalized_name")),
        sqlite_autoincrement=True,
    )
    _fill()
    if op.get_bind().dialect.name == "sqlite":
        for statement in SQLITE:
            op.execute(statement)
        op.execute("INSERT INTO searched_names_parts (searched_names_parts) VALUES ('rebuild')")
    else:
        op.execute(POSTGRESQL)


def _fill() -> None:
    """Add a row for each name of a project, with the summary of its version published last."""
    connection = op.get_bind()
    packages, names = (sa.table(name, *map(sa.column, columns)) for name, columns in (
        ("packages", ("id", "project_id", "normalized_name", "summary", "created_at", "status")),
        ("searched_names", ("project_id", "normalized_name", "words", "described_at")),
    ))  # fmt: skip
    latest = (
        sa.select(packages.c.project_id, packages.c.normalized_name, packages.c.summary, packages.c.created_at)
        .where(packages.c.status == "default")
        .order_by(packages.c.created_at, packages.c.id)
    )
    found = {(row.project_id, row.normalized_name): row for row in connection.execute(latest)}
    rows = [
        {
            "project_id": row.project_id,
            "normalized_name": row.normalized_name,
            "words": unicodedata.normalize("NFKC", row.summary).casefold(),
            "described_at": row.created_at,
        }
        for row in found.values()
    ]
    for start in range(0, len(rows), BATCH):
        connection.execute(names.insert(), rows[start : start + BATCH])
