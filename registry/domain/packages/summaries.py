"""A row for each package name of a project with what lists show and sort by, kept by the transactions that change it.

A publication adds to the row in one statement, whatever the number of versions. All other changes count again. Both
happen at the end of the transaction, when no other one can commit changes of the same name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import and_, bindparam, case, delete, func, insert, or_, select, update

from registry.database import Stage, Upsert, at_end, constant, db, execute
from registry.domain.packages.names import is_prerelease, version_key, version_rank
from registry.models import NameSummary, Package, PackageFile, PackageStatus, is_kept

Name = tuple[int, str]  # the ID of a project, and a normalized name


def rank(version: str, *, is_yanked: bool) -> str:
    """Return a text that sorts versions as ``versions.latest`` prefers them, in every collation.

    It consists of digits and the letters a to f. Versions that are not valid come first.
    """
    kind, in_order = version_key(version)[0], version_rank(version)[1:]
    is_final = kind and not is_prerelease(version)
    return f"{int(not is_yanked)}{kind + is_final}{in_order}"


def note_published(project_id: int, normalized_name: str, *, package_id: int, name: str, version: str,
                   published_at: datetime, publisher_id: int | None, size_bytes: int, is_new: bool, is_yanked: bool,
                   has_remarks: bool) -> None:  # fmt: skip
    """Note that the present transaction adds a file.

    :param published_at: when its version was first published.
    :param is_new: whether it is the first file of its version.
    """
    rows = at_end(_Summaries)
    if is_yanked and not is_new:  # the yank of the version can depend on its other files
        rows.changed.add((project_id, normalized_name))
        return
    rows.added.setdefault((project_id, normalized_name), []).append(
        {
            "project_id": project_id,
            "normalized_name": normalized_name,
            "name": name,
            "latest_id": package_id,
            "latest_rank": rank(version, is_yanked=is_yanked),
            "versions": int(is_new),
            "size_bytes": size_bytes,
            "downloads": 0,
            "published_at": published_at,
            "publisher_id": publisher_id,
            "has_remarks": has_remarks,
        }
    )


def note_changed(project_id: int, normalized_name: str) -> None:
    """Note that the present transaction deletes, yanks, or unyanks files of a name."""
    at_end(_Summaries).changed.add((project_id, normalized_name))


class _Summaries:
    """The changed names of one transaction."""

    order: ClassVar[int] = Stage.SUMMARIES

    def __init__(self) -> None:
        self.added: dict[Name, list[dict[str, Any]]] = {}
        self.changed: set[Name] = set()

    def apply(self) -> None:
        for name in sorted({*self.added, *self.changed}):  # in the order in which all transactions change them
            if name in self.changed:
                count(*name)
                continue
            for row in self.added[name]:
                _ADD.execute(row)


_summaries, _packages, _files = NameSummary.__table__, Package.__table__, PackageFile.__table__


def _with_file(new: Any) -> dict[str, Any]:
    """Return how a published file changes the row of its name."""
    is_latest = new.latest_rank >= _summaries.c.latest_rank
    is_newest = and_(new.versions > 0, new.published_at >= _summaries.c.published_at)
    later = case((new.published_at > _summaries.c.published_at, new.published_at), else_=_summaries.c.published_at)
    return {
        "name": case((is_latest, new.name), else_=_summaries.c.name),
        "latest_id": case((is_latest, new.latest_id), else_=_summaries.c.latest_id),
        "latest_rank": case((is_latest, new.latest_rank), else_=_summaries.c.latest_rank),
        "versions": _summaries.c.versions + new.versions,
        "size_bytes": _summaries.c.size_bytes + new.size_bytes,
        "published_at": later,
        "publisher_id": case((is_newest, new.publisher_id), else_=_summaries.c.publisher_id),
        "has_remarks": or_(_summaries.c.has_remarks, new.has_remarks),
    }


_ADD = Upsert(_summaries, _with_file)
_VERSIONS = (
    select(
        _packages.c.id,
        _packages.c.name,
        _packages.c.version,
        _packages.c.created_at,
        _packages.c.creator_id,
        func.count(_files.c.id).label("files"),
        func.count(_files.c.yanked_reason).label("yanked"),
        func.count(_files.c.remarks).label("remarked"),
        func.coalesce(func.sum(_files.c.size_bytes), 0).label("size_bytes"),
    )
    .select_from(_packages)
    .outerjoin(_files, and_(_files.c.package_id == _packages.c.id, is_kept(_files)))
    .where(
        _packages.c.project_id == bindparam("of_project"),
        _packages.c.normalized_name == bindparam("of_name"),
        _packages.c.status == constant(PackageStatus.DEFAULT),
    )
    .group_by(_packages.c.id)
    .order_by(_packages.c.id)
)
_IS_OF_NAME = and_(
    _summaries.c.project_id == bindparam("of_project"), _summaries.c.normalized_name == bindparam("of_name")
)
_CHANGE, _REMOVE = update(_summaries).where(_IS_OF_NAME), delete(_summaries).where(_IS_OF_NAME)
_COUNT_DOWNLOADS = _CHANGE.values(downloads=_summaries.c.downloads + bindparam("more"))


def count(project_id: int, normalized_name: str) -> None:
    """Update the row of a name from its packages and files, or remove it if there are none; keep its downloads."""
    name = {"of_project": project_id, "of_name": normalized_name}
    versions = execute(_VERSIONS, name).all()
    if not versions:
        execute(_REMOVE, name)
        return
    ranks = {each.id: rank(each.version, is_yanked=bool(each.files) and each.files == each.yanked) for each in versions}
    latest = max(versions, key=lambda each: (ranks[each.id], each.id))
    newest = max(versions, key=lambda each: (each.created_at, each.id))
    values = {
        "name": latest.name,
        "latest_id": latest.id,
        "latest_rank": ranks[latest.id],
        "versions": len(versions),
        "size_bytes": sum(each.size_bytes for each in versions),
        "published_at": newest.created_at,
        "publisher_id": newest.creator_id,
        "has_remarks": any(each.remarked for each in versions),
    }
    if execute(_CHANGE.values(values), name).rowcount == 0:
        key = {"project_id": project_id, "normalized_name": normalized_name}
        execute(insert(_summaries), {**key, **values, "downloads": 0})


def add_downloads(counts: Mapping[int, int]) -> None:
    """Add downloads to the rows of names, by the IDs of packages, which the transaction has locked."""
    rows = db.session.execute(
        select(Package.id, Package.project_id, Package.normalized_name).where(Package.id.in_(counts))
    )
    sums: Counter[Name] = Counter()
    for package_id, project_id, normalized_name in rows:
        sums[project_id, normalized_name] += counts[package_id]
    in_order = [
        {"of_project": project_id, "of_name": normalized_name, "more": more}
        for (project_id, normalized_name), more in sorted(sums.items())
    ]
    if in_order:
        db.session.connection().execute(_COUNT_DOWNLOADS, in_order)
