"""The rows by which package names are found, kept in the transactions that publish and delete packages.

A name is found by the summary of its version published last. The rows are changed at the end of a transaction, where no
other one commits changes of the same names.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from sqlalchemy import bindparam, delete, exists, or_, select, text

from registry.database import Stage, Statement, UTCDateTime, at_end, constant, execute, folded
from registry.models import Package, PackageStatus, SearchedName

_names, _packages = SearchedName.__table__, Package.__table__
# Whether a name is found by these words, or by those of a later version; part of a statement of every new version.
IS_FOUND = exists().where(
    _names.c.project_id == bindparam("project_id"),
    _names.c.normalized_name == bindparam("normalized_name"),
    or_(_names.c.words == bindparam("words"), _names.c.described_at > bindparam("described_at")),
)
_ADD = Statement(
    text(
        "INSERT INTO searched_names (project_id, normalized_name, words, described_at)"
        " VALUES (:project_id, :normalized_name, :words, :described_at)"
        " ON CONFLICT (project_id, normalized_name) DO UPDATE"
        " SET words = excluded.words, described_at = excluded.described_at"
        " WHERE searched_names.described_at <= excluded.described_at"
    ).bindparams(bindparam("described_at", type_=UTCDateTime))
)
_DELETE = delete(_names).where(
    _names.c.project_id == bindparam("of_project"), _names.c.normalized_name == bindparam("of_name")
)
_LATEST = (
    select(_packages.c.summary, _packages.c.created_at)
    .where(
        _packages.c.project_id == bindparam("of_project"),
        _packages.c.normalized_name == bindparam("of_name"),
        _packages.c.status == constant(PackageStatus.DEFAULT),
    )
    .order_by(_packages.c.created_at.desc(), _packages.c.id.desc())
    .limit(1)
)


def note_described(project_id: int, normalized_name: str, summary: str, published_at: datetime) -> None:
    """Note that the present transaction adds a version, or changes the summary of one."""
    at_end(_Rows).described[project_id, normalized_name] = (summary, published_at)


def note_deleted(project_id: int, normalized_name: str) -> None:
    """Note that the present transaction deletes a version, perhaps the last one."""
    at_end(_Rows).deleted.add((project_id, normalized_name))


class _Rows:
    order: ClassVar[int] = Stage.SEARCH

    def __init__(self) -> None:
        self.described: dict[tuple[int, str], tuple[str, datetime]] = {}
        self.deleted: set[tuple[int, str]] = set()

    def apply(self) -> None:
        for project_id, name in sorted(self.deleted):
            key = {"of_project": project_id, "of_name": name}
            execute(_DELETE, key)
            latest = execute(_LATEST, key).one_or_none()
            if latest is not None:
                _add(project_id, name, latest.summary, latest.created_at)
        for (project_id, name), (summary, published_at) in sorted(self.described.items()):
            _add(project_id, name, summary, published_at)


def _add(project_id: int, normalized_name: str, summary: str, published_at: datetime) -> None:
    row = {"project_id": project_id, "normalized_name": normalized_name, "described_at": published_at}
    _ADD.execute({**row, "words": folded(summary)})
