"""Storage usage of projects and groups, and storage limits.

The totals of a project are updated in the transaction that changes its files. They are sums of one or several rows, so
that on PostgreSQL, a transaction takes a row that no other one is changing. The usage of a group is the sum of the
projects in it. Administrators set default limits for all projects and all top-level groups, and override them for
individual ones.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import ClassVar

from sqlalchemy import (
    ColumnElement,
    ScalarSelect,
    Select,
    and_,
    bindparam,
    case,
    func,
    insert,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.orm import InstrumentedAttribute, aliased

from registry.database import AdvisoryLock, Reading, Stage, Statement, at_end, db, hold, transaction
from registry.errors import StorageLimitReached
from registry.models import Ancestry, FileStatus, Group, InstanceSettings, Namespace, PackageFile, Project, StorageUsage
from registry.storage.receptions import Promised


@dataclass(frozen=True)
class Limit:
    """A storage limit of a project or group."""

    namespace_id: int
    kind: str
    full_path: str
    size_bytes: int


# The statements of every upload are made once, and past the ORM: to make one takes as long as to execute it.
_namespaces, _ancestries, _instance, _usages = (
    model.__table__ for model in (Namespace, Ancestry, InstanceSettings, StorageUsage)
)
_LIMIT_BYTES = func.coalesce(
    _namespaces.c.storage_size_limit,
    case(
        (_namespaces.c.kind == "project", _instance.c.project_storage_size_limit),
        (
            and_(_namespaces.c.kind == "group", _namespaces.c.parent_id.is_(None)),
            _instance.c.group_storage_size_limit,
        ),
    ),
)
_LIMITS = (
    select(_namespaces.c.id, _namespaces.c.kind, _namespaces.c.full_path, _LIMIT_BYTES.label("size_bytes"))
    .join(_ancestries, _ancestries.c.ancestor_id == _namespaces.c.id)
    .join(_instance, _instance.c.id == 1)
    .where(_ancestries.c.namespace_id == bindparam("namespace_id"), _LIMIT_BYTES > 0)
    .order_by(_ancestries.c.distance)
)
_LIMITS_ON = Reading(_LIMITS)
_limits = _LIMITS.order_by(None).cte("limits")
_listed = _LIMITS.order_by(None).add_columns(_ancestries.c.distance).subquery()
_ALLOWANCE = Reading(
    select(_instance.c.pypi_max_file_size, _listed.c.id, _listed.c.kind, _listed.c.full_path, _listed.c.size_bytes)
    .select_from(_instance.outerjoin(_listed, true()))
    .where(_instance.c.id == 1)
    .order_by(_listed.c.distance)
)
_number_of_limits = select(func.count()).select_from(_limits).scalar_subquery()
_candidates = _usages.alias()
_free_row = (
    select(_candidates.c.id)
    .where(_candidates.c.project_id == bindparam("namespace_id"))
    .limit(1)
    .with_for_update(skip_locked=True)
)
_COUNT = Statement(
    update(_usages)
    .where(_usages.c.id == _free_row.scalar_subquery())
    .values(files=_usages.c.files + bindparam("added"), size_bytes=_usages.c.size_bytes + bindparam("growth"))
    .add_cte(_limits)
    .returning(_number_of_limits)
)
_COUNT_IN_NEW_ROW = Statement(
    insert(_usages)
    .values(project_id=bindparam("namespace_id"), files=bindparam("added"), size_bytes=bindparam("growth"))
    .add_cte(_limits)
    .returning(_number_of_limits)
)


@dataclass(frozen=True)
class Allowance:
    """The limits on uploads to a project.

    :ivar file_bytes: maximum size of a file by the settings of the instance; ``None`` and 0 are unlimited.
    :ivar limits: the storage limits of the project and its ancestors.
    """

    file_bytes: int | None
    limits: tuple[Limit, ...]


def note_removed(file: PackageFile) -> None:
    """Count a file that the current transaction removes, at its end; see ``count``."""
    count(file.project_id, -1, -file.size_bytes)


def count(project_id: int, files: int, size_bytes: int) -> None:
    """Add files and bytes to the totals of a project at the end of the current transaction.

    :raises StorageLimitReached: at the end of the transaction, if it would exceed a limit.
    :raises RecordNotFound: at the end of the transaction, if the project was deleted in the meantime.
    """
    at_end(_Totals).add(project_id, files, size_bytes)


class _Totals:
    """Changes of the totals of projects in one transaction."""

    order: ClassVar[int] = Stage.TOTALS

    def __init__(self) -> None:
        self._sums: dict[int, tuple[int, int]] = {}

    def add(self, project_id: int, files: int, size_bytes: int) -> None:
        standing = self._sums.get(project_id, (0, 0))
        self._sums[project_id] = (standing[0] + files, standing[1] + size_bytes)

    def apply(self) -> None:
        """Update the totals; takes ``AdvisoryLock.LIMITED_NAMESPACE`` of projects and groups with limits.

        :raises StorageLimitReached: a limit would be exceeded.
        :raises RecordNotFound: a project was deleted in the meantime.
        """
        limits: dict[int, tuple[Limit, ...]] = {}
        for project_id, (files, growth) in sorted(self._sums.items()):
            is_limited = _add(project_id, files, growth)
            if is_limited and growth > 0:
                limits[project_id] = limits_on(project_id)
        for namespace_id in sorted({limit.namespace_id for found in limits.values() for limit in found}):
            hold(AdvisoryLock.LIMITED_NAMESPACE, part=namespace_id)
        for project_id, found in limits.items():
            _refuse_passed(found, self._sums[project_id][1])


def _add(project_id: int, files: int, size_bytes: int) -> bool:
    """Update the totals of a project, and return whether it is limited, which most are not."""
    values = {"namespace_id": project_id, "added": files, "growth": size_bytes}
    rows = _COUNT.execute(values).rows
    if not rows:  # other transactions are changing all rows; at most as many are needed as there are threads
        rows = _COUNT_IN_NEW_ROW.execute(values).rows
    return any(limits for (limits,) in rows)


def _refuse_passed(limits: Iterable[Limit], growth: int) -> None:
    for limit in limits:
        held = size_of(limit.namespace_id)
        if held > limit.size_bytes:
            raise _reached(limit, held - growth, growth)


def size_of(namespace_id: int) -> int:
    """Return the total size of the files of a project or group, in bytes."""
    return sizes_of([namespace_id])[namespace_id]


def sizes_of(namespace_ids: Iterable[int]) -> dict[int, int]:
    """Return the same for many namespaces by ID, in one statement."""
    sizes = dict.fromkeys(namespace_ids, 0)
    rows = db.session.execute(
        select(Ancestry.ancestor_id, func.sum(StorageUsage.size_bytes))
        .join(StorageUsage, StorageUsage.project_id == Ancestry.namespace_id)
        .where(Ancestry.ancestor_id.in_(sizes))
        .group_by(Ancestry.ancestor_id)
    )
    return sizes | {namespace_id: int(size) for namespace_id, size in rows}


def limits_on(namespace_id: int) -> tuple[Limit, ...]:
    """Return the limits that apply to a project or group: its own and those of ancestors, outermost last."""
    rows = _LIMITS_ON.rows({"namespace_id": namespace_id})
    return tuple(Limit(row.id, row.kind, row.full_path, row.size_bytes) for row in rows)


def allowance(project: Project) -> Allowance:
    """Return the limits on uploads to a project, in one statement."""
    rows = _ALLOWANCE.rows({"namespace_id": project.id})
    limits = tuple(Limit(row.id, row.kind, row.full_path, row.size_bytes) for row in rows if row.id is not None)
    return Allowance(rows[0].pypi_max_file_size, limits)


def default_limit(namespace: Group | Project) -> int | None:
    """Return the instance's default limit for a project or group."""
    settings = InstanceSettings.current()
    if isinstance(namespace, Project):
        return settings.project_storage_size_limit
    return settings.group_storage_size_limit if namespace.parent_id is None else None


def refuse_growth(limits: Collection[Limit], size_bytes: int, others: Iterable[Promised] = ()) -> int | None:
    """Refuse growth beyond a limit, as an early check; the check at the end of the transaction is authoritative.

    Returns how many bytes there is room for; ``None`` without limits.

    :param limits: as ``limits_on`` returned them.
    :param others: other uploads that are being received.
    :raises StorageLimitReached: this many more bytes would exceed one of them.
    """
    if not limits:
        return None
    others, rooms = list(others), []
    held = sizes_of(limit.namespace_id for limit in limits)
    for limit in limits:
        received = sum(other.size_bytes for other in others if limit.namespace_id in other.namespace_ids)
        rooms.append(limit.size_bytes - held[limit.namespace_id] - received)
        if size_bytes > rooms[-1]:
            raise _reached(limit, held[limit.namespace_id], size_bytes, received)
    return min(rooms)


def largest_file(project_id: int) -> int:
    """Return the size of the largest file of a project; 0 without files."""
    return db.session.scalar(select(func.max(PackageFile.size_bytes)).where(PackageFile.project_id == project_id)) or 0


def _reached(limit: Limit, held: int, size_bytes: int, received: int = 0) -> StorageLimitReached:
    """Return the refusal; of a group, it does not state how much it holds, as the uploader can have no role there."""
    known = held if limit.kind == "project" else None
    return StorageLimitReached(f"{limit.kind} {limit.full_path}", limit.size_bytes, known, size_bytes, received)


@dataclass(frozen=True)
class Miscount:
    """A project with totals that differ from those of its files."""

    project_id: int
    full_path: str
    counted_bytes: int
    size_bytes: int


def miscounts() -> list[Miscount]:
    """Return the projects with wrong totals; totals and files are read in one statement, at the same moment."""
    files, size_bytes = _true_totals(Project.id)
    counted = _counted_totals(StorageUsage.project_id == Project.id)
    counted_files, counted_bytes = (total.correlate(Project).scalar_subquery() for total in counted)
    rows = db.session.execute(
        select(Project.id, Project.full_path, counted_bytes.label("counted"), size_bytes.label("size_bytes"))
        .where(or_(counted_files != files, counted_bytes != size_bytes))
        .order_by(Project.id)
    ).all()
    return [Miscount(row.id, row.full_path, int(row.counted), int(row.size_bytes)) for row in rows]


def recount(project_id: int) -> None:
    """Set the totals of a project to those of its files; locks one of its rows."""
    with transaction(changes_answers=False) as session:
        rows = select(StorageUsage.id).where(StorageUsage.project_id == project_id).order_by(StorageUsage.id)
        # No other transaction changes this row until the end. What others count is visible together with their files.
        row_id = session.scalar(rows.limit(1).with_for_update())
        other = aliased(StorageUsage)
        others = _counted_totals(other.project_id == project_id, other.id.is_distinct_from(row_id), of=other)
        files, size_bytes = (
            true - counted.scalar_subquery() for true, counted in zip(_true_totals(project_id), others, strict=True)
        )
        if row_id is None:
            totals = select(Project.id, files, size_bytes).where(Project.id == project_id)
            session.execute(insert(StorageUsage).from_select(["project_id", "files", "size_bytes"], totals))
        else:
            session.execute(
                update(StorageUsage).where(StorageUsage.id == row_id).values(files=files, size_bytes=size_bytes),
                execution_options={"synchronize_session": False},
            )


def _true_totals(project_id: int | InstrumentedAttribute[int]) -> tuple[ScalarSelect[int], ScalarSelect[int]]:
    """Select the number and size of the files of a project."""
    kept = (PackageFile.project_id == project_id, PackageFile.status == FileStatus.DEFAULT)
    files = select(func.count(PackageFile.id)).where(*kept)
    size_bytes = select(func.coalesce(func.sum(PackageFile.size_bytes), 0)).where(*kept)
    return files.scalar_subquery(), size_bytes.scalar_subquery()


def _counted_totals(
    *conditions: ColumnElement[bool], of: type[StorageUsage] = StorageUsage
) -> tuple[Select[int], Select[int]]:
    """Select the sums of the rows that meet the conditions."""
    files, size_bytes = (
        select(func.coalesce(func.sum(column), 0)).where(*conditions) for column in (of.files, of.size_bytes)
    )
    return files, size_bytes
