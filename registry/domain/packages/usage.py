"""What projects hold in the store, counted as files come and go, and the limits on it.

The sums of a project change in the transaction that changes its files; a group holds what the projects below it hold,
wherever it is moved. Limits are set by administrators: the instance's for every project and every top-level group,
and own ones in their place.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, case, func, or_, select, update

from registry.database import AdvisoryLock, at_end, db, hold, transaction
from registry.errors import RecordNotFound, StorageLimitReached
from registry.models import Ancestry, FileStatus, Group, InstanceSettings, Namespace, PackageFile, Project, StorageUsage


@dataclass(frozen=True)
class Limit:
    """The most that a project or group may hold."""

    namespace_id: int
    kind: str
    full_path: str
    size_bytes: int


# Counting -------------------------------------------------------------------------------------------------------


def note(file: PackageFile, *, removed: bool = False) -> None:
    """Count a file that is added, or removed, in the present transaction, when this ends.

    :raises StorageLimitReached: at the end of the transaction: it would pass a limit.
    :raises RecordNotFound: at the end of the transaction: the project was deleted meanwhile.
    """
    sign = -1 if removed else 1
    at_end(Changes).add(file.project_id, sign, sign * file.size_bytes)


class Changes:
    """What one transaction adds to the sums of projects, or takes from them."""

    def __init__(self) -> None:
        self._sums: dict[int, tuple[int, int]] = {}

    def add(self, project_id: int, files: int, size_bytes: int) -> None:
        standing = self._sums.get(project_id, (0, 0))
        self._sums[project_id] = (standing[0] + files, standing[1] + size_bytes)

    def apply(self) -> None:
        """Change the sums; takes ``AdvisoryLock.LIMITED_GROUP`` of groups that may grow in other projects meanwhile.

        :raises StorageLimitReached: a limit would be passed.
        :raises RecordNotFound: a project was deleted meanwhile.
        """
        limits = {project_id: limits_on(project_id) for project_id, (_, growth) in self._sums.items() if growth > 0}
        groups = {limit.namespace_id for found in limits.values() for limit in found if limit.kind == "group"}
        for group_id in sorted(groups):
            hold(AdvisoryLock.LIMITED_GROUP, part=group_id)
        for project_id, (files, growth) in sorted(self._sums.items()):
            _add(project_id, files, growth)
            _refuse_passed(limits.get(project_id, ()), growth)


def _add(project_id: int, files: int, size_bytes: int) -> None:
    counted = db.session.execute(
        update(StorageUsage)
        .where(StorageUsage.project_id == project_id)
        .values(files=StorageUsage.files + files, size_bytes=StorageUsage.size_bytes + size_bytes)
        .returning(StorageUsage.project_id),
        execution_options={"synchronize_session": False},
    )
    if counted.scalar() is None:
        raise RecordNotFound


def _refuse_passed(limits: Iterable[Limit], growth: int) -> None:
    for limit in limits:
        held = size_of(limit.namespace_id)
        if held > limit.size_bytes:
            raise _reached(limit, held - growth, growth)


def size_of(namespace_id: int) -> int:
    """The bytes of all files of a project, or below a group."""
    return sizes_of([namespace_id])[namespace_id]


def sizes_of(namespace_ids: Iterable[int]) -> dict[int, int]:
    """The same for many, by id, in one statement."""
    sizes = dict.fromkeys(namespace_ids, 0)
    rows = db.session.execute(
        select(Ancestry.ancestor_id, func.sum(StorageUsage.size_bytes))
        .join(StorageUsage, StorageUsage.project_id == Ancestry.namespace_id)
        .where(Ancestry.ancestor_id.in_(sizes))
        .group_by(Ancestry.ancestor_id)
    )
    return sizes | {namespace_id: int(size) for namespace_id, size in rows}


# Limits ---------------------------------------------------------------------------------------------------------


def limits_on(namespace_id: int) -> list[Limit]:
    """The limits that bear on a project, or on a group: its own and those above, the outermost last."""
    is_top_level_group = and_(Namespace.kind == "group", Namespace.parent_id.is_(None))
    default = case(
        (Namespace.kind == "project", InstanceSettings.project_storage_size_limit),
        (is_top_level_group, InstanceSettings.group_storage_size_limit),
    )
    size_bytes = func.coalesce(Namespace.storage_size_limit, default)
    rows = db.session.execute(
        select(Namespace.id, Namespace.kind, Namespace.full_path, size_bytes.label("size_bytes"))
        .join(Ancestry, Ancestry.ancestor_id == Namespace.id)
        .join(InstanceSettings, InstanceSettings.id == 1)
        .where(Ancestry.namespace_id == namespace_id, size_bytes > 0)
        .order_by(Ancestry.distance)
    )
    return [Limit(row.id, row.kind, row.full_path, row.size_bytes) for row in rows]


def default_limit(namespace: Group | Project) -> int | None:
    """The instance's limit for a project or group that has none of its own."""
    settings = InstanceSettings.current()
    if isinstance(namespace, Project):
        return settings.project_storage_size_limit
    return settings.group_storage_size_limit if namespace.parent_id is None else None


def refuse_growth(project: Project, size_bytes: int) -> None:
    """A first look, before anything is stored; the end of the transaction that adds a file decides.

    :raises StorageLimitReached: with so many bytes more, a limit on the project or a group above it is passed.
    """
    limits = limits_on(project.id)
    held = sizes_of(limit.namespace_id for limit in limits) if limits else {}
    for limit in limits:
        if held[limit.namespace_id] + size_bytes > limit.size_bytes:
            raise _reached(limit, held[limit.namespace_id], size_bytes)


def _reached(limit: Limit, held: int, size_bytes: int) -> StorageLimitReached:
    return StorageLimitReached(f"{limit.kind} {limit.full_path}", limit.size_bytes, held, size_bytes)


# Verifying ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Miscount:
    """A project whose sums are not those of its files."""

    project_id: int
    full_path: str
    counted_bytes: int
    size_bytes: int


def miscounts() -> list[Miscount]:
    """Sums and files are read in one statement: what is published meanwhile is in both or in neither."""
    files, size_bytes = _true_sums()
    rows = db.session.execute(
        select(Project.id, Project.full_path, StorageUsage.size_bytes.label("counted"), size_bytes.label("size_bytes"))
        .join(StorageUsage, StorageUsage.project_id == Project.id)
        .where(or_(StorageUsage.files != files, StorageUsage.size_bytes != size_bytes))
        .order_by(Project.id)
    ).all()
    return [Miscount(row.id, row.full_path, row.counted, int(row.size_bytes)) for row in rows]


def recount(project_id: int) -> None:
    """Set the sums of a project to those of its files."""
    with transaction(changes_answers=False) as session:
        # Whoever changes files changes the sums last: once they are locked, all that is counted is there to be read.
        session.scalar(select(StorageUsage.files).where(StorageUsage.project_id == project_id).with_for_update())
        files, size_bytes = _true_sums()
        session.execute(
            update(StorageUsage)
            .where(StorageUsage.project_id == project_id)
            .values(files=files, size_bytes=size_bytes),
            execution_options={"synchronize_session": False},
        )


def _true_sums() -> tuple[ColumnElement[int], ColumnElement[int]]:
    kept = (PackageFile.project_id == StorageUsage.project_id, PackageFile.status == FileStatus.DEFAULT)
    files = select(func.count(PackageFile.id)).where(*kept).correlate(StorageUsage).scalar_subquery()
    size = select(func.coalesce(func.sum(PackageFile.size_bytes), 0)).where(*kept).correlate(StorageUsage)
    return files, size.scalar_subquery()
