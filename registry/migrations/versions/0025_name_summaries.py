"""A row for each package name of a project, with what lists show and sort by."""

from itertools import groupby
from typing import Any

import sqlalchemy as sa
from alembic import op
from packaging.version import InvalidVersion, Version

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

BATCH = 1000
VERSIONS = """
    SELECT p.project_id, p.normalized_name, p.id, p.name, p.version, p.created_at, p.creator_id,
        count(f.id) AS files, count(f.yanked_reason) AS yanked, count(f.remarks) AS remarked,
        coalesce(sum(f.size_bytes), 0) AS size_bytes
    FROM packages p LEFT JOIN package_files f ON f.package_id = p.id AND f.status = 'default'
    WHERE p.status = 'default'
    GROUP BY p.id ORDER BY p.project_id, p.normalized_name, p.id
"""
DOWNLOADS = """
    UPDATE name_summaries SET downloads = coalesce((
        SELECT sum(d.count) FROM packages p JOIN package_files f ON f.package_id = p.id
        JOIN file_downloads d ON d.file_id = f.id
        WHERE p.project_id = name_summaries.project_id AND p.normalized_name = name_summaries.normalized_name
    ), 0)
"""
PRE_RELEASES = {"a": "0", "b": "1", "rc": "2"}


def upgrade() -> None:
    table = op.create_table(
        "name_summaries",
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("normalized_name", sa.String(length=255), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("latest_id", sa.Integer(), nullable=False),
        sa.Column("latest_rank", sa.Text(), nullable=False),
        sa.Column("versions", sa.Integer(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("downloads", sa.BigInteger(), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("publisher_id", sa.Integer(), nullable=True),
        sa.Column("has_remarks", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["latest_id"], ["packages.id"], name=op.f("fk_name_summaries_latest_id_packages"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["namespaces.id"], name=op.f("fk_name_summaries_project_id_namespaces"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["publisher_id"], ["users.id"], name=op.f("fk_name_summaries_publisher_id_users"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("project_id", "normalized_name", name=op.f("pk_name_summaries")),
    )
    op.create_index(op.f("ix_name_summaries_latest_id"), "name_summaries", ["latest_id"], unique=False)
    op.create_index(
        op.f("ix_name_summaries_project_id_published_at"),
        "name_summaries",
        ["project_id", "published_at"],
        unique=False,
    )
    op.create_index(op.f("ix_name_summaries_publisher_id"), "name_summaries", ["publisher_id"], unique=False)
    connection = op.get_bind()
    statement = sa.text(VERSIONS).columns(created_at=sa.DateTime(timezone=True), size_bytes=sa.BigInteger())
    summaries = [
        summary(list(rows))
        for _, rows in groupby(connection.execute(statement), lambda row: (row.project_id, row.normalized_name))
    ]
    for start in range(0, len(summaries), BATCH):
        op.bulk_insert(table, summaries[start : start + BATCH])
    op.execute(DOWNLOADS)


def summary(versions: list[Any]) -> dict[str, Any]:
    ranks = {row.id: rank(row.version, bool(row.files) and row.files == row.yanked) for row in versions}
    latest = max(versions, key=lambda row: (ranks[row.id], row.id))
    newest = max(versions, key=lambda row: (row.created_at, row.id))
    return {
        "project_id": latest.project_id,
        "normalized_name": latest.normalized_name,
        "name": latest.name,
        "latest_id": latest.id,
        "latest_rank": ranks[latest.id],
        "versions": len(versions),
        "size_bytes": sum(row.size_bytes for row in versions),
        "downloads": 0,
        "published_at": newest.created_at,
        "publisher_id": newest.creator_id,
        "has_remarks": any(row.remarked for row in versions),
    }


def rank(text: str, is_yanked: bool) -> str:
    try:
        version = Version(text)
    except InvalidVersion:
        return f"{int(not is_yanked)}0{text.encode().hex()}"
    release = [*version.release]
    while release and release[-1] == 0:
        release.pop()
    if version.pre is not None:
        pre = f"1{PRE_RELEASES[version.pre[0]]}{number(version.pre[1])}"
    else:
        pre = "0" if version.post is None and version.dev is not None else "2"
    local = "" if version.local is None else "".join(map(local_part, version.local.split(".")))
    parts = (
        f"{int(not is_yanked)}{2 - version.is_prerelease}{number(version.epoch)}",
        *(f"1{number(each)}" for each in release),
        f"0{pre}",
        "0" if version.post is None else f"1{number(version.post)}",
        "1" if version.dev is None else f"0{number(version.dev)}",
        "0" if version.local is None else f"1{local}0",
    )
    return "".join(parts)


def number(value: int) -> str:
    digits = str(value)
    return f"{len(digits):03}{digits}"


def local_part(part: str) -> str:
    return f"2{number(int(part))}" if part.isdigit() else f"1{part.encode().hex()}0"
