"""Which files of the upstream are in the store, and which of them leave first when there is no room.

Object and row are written and removed as those of uploads are: under ``AdvisoryLock.OBJECTS``, so that neither an
object that another row refers to is removed, nor a row written whose object is gone.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import InvalidVersion
from sqlalchemy import delete, func, select, union_all, update

from registry.database import AdvisoryLock, db, objects_removable, transaction
from registry.domain.packages.simple import SimpleFile
from registry.models import CachedFile, PackageFile
from registry.storage import StagedFile, Storage, object_key

METADATA_SUFFIX = ".metadata"
BATCH = 200


@dataclass(frozen=True)
class Totals:
    files: int
    size_bytes: int


def size_of(sha256: str) -> int | None:
    """Return the size of a cached file; ``None`` if it is not cached."""
    return db.session.scalar(select(CachedFile.size_bytes).where(CachedFile.sha256 == sha256))


def is_cached(sha256: str) -> bool:
    return size_of(sha256) is not None


def cached_among(digests: Collection[str]) -> set[str]:
    """Return those of these digests whose files are cached, in one statement."""
    return set(db.session.scalars(select(CachedFile.sha256).where(CachedFile.sha256.in_(digests))))


def totals() -> Totals:
    count, size_bytes = db.session.execute(select(func.count(), func.sum(CachedFile.size_bytes))).one()
    return Totals(count, int(size_bytes or 0))


def file_with(sha256: str, filename: str, normalized_name: str) -> SimpleFile | None:
    """Return a cached file as a page would list it, without the URL that it had, or ``None`` if it is not cached."""
    row = db.session.get(CachedFile, sha256)
    if row is None or (row.filename, row.normalized_name) != (filename, normalized_name):
        return None
    return SimpleFile(
        filename, "", sha256, row.size_bytes, "", row.uploaded_at, _document_of(filename, normalized_name), None
    )


def _document_of(filename: str, normalized_name: str) -> str | None:
    """Return the digest of the cached core metadata document of a file, which only their names connect.

    ``None`` also if the upstream has replaced the file or the document, so that it is not certain that they belong
    together.
    """
    document = filename + METADATA_SUFFIX
    rows = db.session.execute(
        select(CachedFile.filename, CachedFile.sha256)
        .where(CachedFile.normalized_name == normalized_name, CachedFile.filename.in_((filename, document)))
        .order_by(CachedFile.sha256)
    ).all()
    digests = {row.filename: row.sha256 for row in rows}
    return digests.get(document) if len(rows) == len(digests) else None


def store(
    staged: StagedFile, storage: Storage, *, filename: str, normalized_name: str, now: datetime,
    uploaded_at: datetime | None = None,
) -> None:  # fmt: skip
    """Keep a file whose digest was verified, and record it.

    The object is stored before the row: a crash leaves at most an object that the next cleanup removes. Shares
    ``AdvisoryLock.OBJECTS``, so that none removes it in the meantime.

    :raises Unavailable: the store is not available, or full.
    """
    key = object_key(staged.sha256)
    storage.put(key, staged)
    with transaction(lock=AdvisoryLock.OBJECTS, shared=True, changes_answers=False) as session:
        if not storage.exists(key):  # a cleanup has removed it, as no row referred to it; none runs now
            storage.put(key, staged)
        if session.get(CachedFile, staged.sha256) is None:
            session.add(
                CachedFile(
                    sha256=staged.sha256, filename=filename, normalized_name=normalized_name,
                    version=version_in(filename), size_bytes=staged.size_bytes, uploaded_at=uploaded_at,
                    stored_at=now, last_used_at=now,
                )
            )  # fmt: skip


def remove(digests: Collection[str], storage: Storage) -> bool:
    """Forget cached files, and remove the objects of those that are not published as well.

    Takes ``AdvisoryLock.OBJECTS``, so that none of them is published in the meantime.

    :return: false, without an effect, if a backup is being made.
    """
    with objects_removable() as removable:
        if not removable:
            return False
        with transaction(lock=AdvisoryLock.OBJECTS, changes_answers=False) as session:
            session.execute(
                delete(CachedFile).where(CachedFile.sha256.in_(digests)),
                execution_options={"synchronize_session": False},
            )
            published = set(
                session.scalars(
                    union_all(
                        select(PackageFile.sha256).where(PackageFile.sha256.in_(digests)),
                        select(PackageFile.core_metadata_sha256).where(PackageFile.core_metadata_sha256.in_(digests)),
                    )
                )
            )
            storage.delete(*(object_key(digest) for digest in digests if digest not in published))
    return True


def make_room(storage: Storage, most_bytes: int) -> Totals:
    """Remove the least recently used files until the others take no more than ``most_bytes``.

    :return: what was removed; nothing if a backup is being made.
    """
    files = size_bytes = 0
    excess = totals().size_bytes - most_bytes
    while excess > size_bytes:
        batch = _least_recently_used(excess - size_bytes)
        db.session.rollback()  # do not hold a snapshot while waiting for the lock
        if not batch or not remove(batch.keys(), storage):
            break
        files, size_bytes = files + len(batch), size_bytes + sum(batch.values())
    db.session.rollback()
    return Totals(files, size_bytes)


def _least_recently_used(excess_bytes: int) -> dict[str, int]:
    """Return the sizes, by digest, of the files to remove first, at most ``BATCH``."""
    rows = db.session.execute(
        select(CachedFile.sha256, CachedFile.size_bytes)
        .order_by(CachedFile.last_used_at, CachedFile.sha256)
        .limit(BATCH)
    )
    found: dict[str, int] = {}
    for sha256, size_bytes in rows:
        if sum(found.values()) >= excess_bytes:
            break
        found[sha256] = size_bytes
    return found


def note_uses(digests: Collection[str], now: datetime) -> None:
    """Record that these files were used, unless another transaction is changing their rows; waits for no lock."""
    free = select(CachedFile.sha256).where(CachedFile.sha256.in_(digests)).with_for_update(skip_locked=True)
    with transaction(changes_answers=False) as session:
        session.execute(
            update(CachedFile).where(CachedFile.sha256.in_(free)).values(last_used_at=now),
            execution_options={"synchronize_session": False},
        )


def version_in(filename: str) -> str:
    """Return the version in a file name, normalized; ``""`` if there is none that is valid."""
    filename = filename.removesuffix(METADATA_SUFFIX)
    try:
        if filename.endswith(".whl"):
            return str(parse_wheel_filename(filename)[1])
        return str(parse_sdist_filename(filename)[1])
    except (InvalidWheelFilename, InvalidSdistFilename, InvalidVersion):
        return ""
