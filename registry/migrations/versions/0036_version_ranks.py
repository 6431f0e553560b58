"""A text for each version by which databases sort versions as PEP 440 does."""

import sqlalchemy as sa
from alembic import op
from packaging.version import InvalidVersion, Version

revision = "0036"
down_revision = "0035"
branch_labels = None
depends_on = None

BATCH = 10_000
PRE_RELEASES = {"a": "0", "b": "1", "rc": "2"}
RANKS = sa.Table(
    "version_ranks",
    sa.MetaData(),
    sa.Column("version", sa.String(length=255), primary_key=True),
    sa.Column("version_rank", sa.Text(), nullable=False),
    prefixes=["TEMPORARY"],
)
FILL = """
    UPDATE packages SET version_rank = (
        SELECT version_rank FROM version_ranks WHERE version_ranks.version = packages.version
    )
"""


def upgrade() -> None:
    op.add_column("packages", sa.Column("version_rank", sa.Text(), nullable=False, server_default=""))
    connection = op.get_bind()
    versions = connection.scalars(sa.text("SELECT DISTINCT version FROM packages")).all()
    RANKS.create(connection)
    for start in range(0, len(versions), BATCH):
        batch = versions[start : start + BATCH]
        op.bulk_insert(RANKS, [{"version": version, "version_rank": rank(version)} for version in batch])
    op.execute(FILL)
    RANKS.drop(connection)
    op.create_index(
        op.f("ix_packages_project_id_version_rank"), "packages", ["project_id", "version_rank"], unique=False
    )


def rank(text: str) -> str:
    try:
        version = Version(text)
    except InvalidVersion:
        return f"0{text.encode().hex()}"
    release = [*version.release]
    while release and release[-1] == 0:
        release.pop()
    if version.pre is not None:
        pre = f"1{PRE_RELEASES[version.pre[0]]}{number(version.pre[1])}"
    else:
        pre = "0" if version.post is None and version.dev is not None else "2"
    local = "" if version.local is None else "".join(map(local_part, version.local.split(".")))
    parts = (
        f"1{number(version.epoch)}",
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
