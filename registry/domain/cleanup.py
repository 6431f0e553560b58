"""The sweep: rows of what was deleted, and objects that no file refers to any more.

Every statement, every transaction and the memory used are bounded, whatever the size of the registry. A sweep may run
while packages are published and downloaded, beside another one, and again after it was stopped half-way.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

from sqlalchemy import ColumnElement, delete, exists, or_, select, union_all

from registry.database import OBJECTS_LOCK, db, transaction
from registry.models import FileStatus, Package, PackageFile, PackageStatus
from registry.storage import Storage, StoredObject, digest_in

# An upload stores its bytes before its row, so a young object may belong to one under way. Taking it would be safe
# (see remove_orphans), but would make the upload write it again.
GRACE = timedelta(hours=1)
BATCH = 200


@dataclass(frozen=True)
class Report:
    """What was removed; ``size_bytes`` is the size of the objects."""

    packages: int
    files: int
    objects: int
    size_bytes: int
    staged_files: int


def run(storage: Storage, now: datetime) -> Report:
    """Remove what nobody can reach any more: rows at once, objects once they are older than ``GRACE``.

    A package that is left without files stays, as its name must not be looked for elsewhere. Tokens and jobs stay
    when they have ended: they say who published what.
    """
    files = _purge(PackageFile, or_(PackageFile.status == FileStatus.PENDING_DESTRUCTION, _package_is_deleted()))
    packages = _purge(Package, Package.status == PackageStatus.PENDING_DESTRUCTION)
    objects = size_bytes = 0
    for orphan in remove_orphans(storage, stored_before=now - GRACE):
        objects += 1
        size_bytes += orphan.size_bytes
    return Report(packages, files, objects, size_bytes, storage.sweep())


def remove_orphans(storage: Storage, *, stored_before: datetime) -> Generator[StoredObject, None, None]:
    """Remove the objects that no file refers to; yields them once they are gone.

    Each is looked up again under ``OBJECTS_LOCK``, which an upload shares while it writes its row and makes sure that
    its object is still there: either the row is seen here, or the missing object is seen there.
    """
    for orphans in orphaned_objects(storage, stored_before=stored_before):
        with transaction(lock=OBJECTS_LOCK, changes_answers=False):
            removed = _unreferenced(orphans)
            for orphan in removed:
                storage.delete(orphan.key)
        yield from removed


def orphaned_objects(storage: Storage, *, stored_before: datetime) -> Iterator[list[StoredObject]]:
    """The objects that no file refers to, in batches; what else lies in the store is passed over."""
    candidates = (
        found for found in storage.objects() if found.modified_at < stored_before and digest_in(found.key) is not None
    )
    while batch := list(islice(candidates, BATCH)):
        orphans = _unreferenced(batch)
        db.session.rollback()  # no transaction stays open while the store is listed
        if orphans:
            yield orphans


def _unreferenced(objects: list[StoredObject]) -> list[StoredObject]:
    digests = [digest_in(found.key) for found in objects]
    referenced = set(
        db.session.scalars(
            union_all(
                select(PackageFile.sha256).where(PackageFile.sha256.in_(digests)),
                select(PackageFile.core_metadata_sha256).where(PackageFile.core_metadata_sha256.in_(digests)),
            )
        )
    )
    return [found for found, digest in zip(objects, digests, strict=True) if digest not in referenced]


def _purge(kind: type[Package] | type[PackageFile], condition: ColumnElement[bool]) -> int:
    """Delete the rows that meet the condition, in one pass by id; their number."""
    purged = last = 0
    while ids := db.session.scalars(
        select(kind.id).where(kind.id > last, condition).order_by(kind.id).limit(BATCH)
    ).all():
        with transaction(changes_answers=False) as session:
            session.execute(delete(kind).where(kind.id.in_(ids)), execution_options={"synchronize_session": False})
        purged, last = purged + len(ids), ids[-1]
    db.session.rollback()
    return purged


def _package_is_deleted() -> ColumnElement[bool]:
    return exists().where(Package.id == PackageFile.package_id, Package.status == PackageStatus.PENDING_DESTRUCTION)
