"""Verification of the store against the database: reads every object and computes its digest again."""

from __future__ import annotations

import enum
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import or_, select
from sqlalchemy.orm import InstrumentedAttribute

from registry.database import db
from registry.domain.operation import cleanup
from registry.domain.packages import usage
from registry.domain.upstream import cached
from registry.models import CachedFile, FileStatus, PackageFile, Project
from registry.storage import ObjectMissing, Storage, object_key

ORPHAN_AGE = timedelta(days=1)  # younger orphans can belong to unfinished uploads, or are left to the next cleanup
BATCH = 500
NAMED_FILES = 10
CHUNK_BYTES = 1 << 20

DigestColumn = InstrumentedAttribute[str] | InstrumentedAttribute[str | None]


class Defect(enum.StrEnum):
    MISSING = "missing"
    DAMAGED = "damaged"  # unreadable, or with different content
    ORPHANED = "orphaned"  # no file refers to the object
    MISCOUNTED = "miscounted"  # the stored totals of a project differ from those of its files


@dataclass(frozen=True)
class Finding:
    """A defective object, or a project with wrong totals.

    :ivar key: the key of the object, or the full path of the project.
    :ivar files: the package files that use the object, as ``project: file name``; at most ``NAMED_FILES``. A cached
        file of the upstream is ``upstream: file name``.
    :ivar removed: whether the object was removed: one that is orphaned, or of a defective cached file.
    :ivar corrected: whether wrong totals were corrected.
    """

    defect: Defect
    key: str
    files: tuple[str, ...] = ()
    removed: bool = False
    corrected: bool = False


class Defective(Exception):
    """An object is missing or damaged."""

    def __init__(self, defect: Defect) -> None:
        super().__init__(defect)
        self.defect = defect


@dataclass(frozen=True)
class VerificationSummary:
    """What was found.

    :ivar checked: number of objects that records refer to; some of them ``missing`` or ``damaged``.
    :ivar orphaned: number of objects that no record refers to, of which ``removed`` were removed.
    :ivar miscounted: number of projects whose storage use was wrong, of which ``corrected`` were corrected.
    """

    checked: int
    missing: int
    damaged: int
    orphaned: int
    removed: int
    miscounted: int = 0
    corrected: int = 0

    @property
    def is_sound(self) -> bool:
        is_complete = not self.missing and not self.damaged
        return is_complete and self.orphaned == self.removed and self.miscounted == self.corrected


def verify(
    storage: Storage, now: datetime, report: Callable[[Finding], None], *, repair: bool = False
) -> VerificationSummary:
    """Check that every published or cached file has its object, that every object older than a day has a file, and that
    totals are right.

    Memory is bounded; the entire store is read.

    :param report: called with each problem as soon as it is found.
    :param repair: remove orphans and defective cached files, which are fetched again, and correct totals. Missing and
        damaged files can only be published again.
    :raises BackupUnderWay: a repair was requested while a backup is being made.
    """
    if repair:
        cleanup.refuse_during_backup()
    checked = 0
    found: Counter[str] = Counter()
    for problem in _problems(storage, now, repair):
        checked += 1
        if problem is not None:
            is_repaired = problem.removed and problem.defect is not Defect.ORPHANED
            found["repaired" if is_repaired else problem.defect] += 1
            found["removed"] += problem.removed and not is_repaired
            report(problem)
    orphaned = found[Defect.ORPHANED]
    missing, damaged = found[Defect.MISSING], found[Defect.DAMAGED]
    miscounts = list(_miscounts(repair))
    for problem in miscounts:
        report(problem)
    corrected = len(miscounts) if repair else 0
    return VerificationSummary(
        checked - orphaned, missing, damaged, orphaned, found["removed"], len(miscounts), corrected
    )


def _miscounts(repair: bool) -> Iterator[Finding]:
    found = usage.miscounts()
    db.session.rollback()
    for miscount in found:
        if repair:
            usage.recount(miscount.project_id)
        yield Finding(Defect.MISCOUNTED, miscount.full_path, corrected=repair)


def _problems(storage: Storage, now: datetime, repair: bool) -> Iterator[Finding | None]:
    """Yield one entry for each object checked: its problem, or ``None``."""
    for column in (PackageFile.sha256, PackageFile.core_metadata_sha256):
        for digest in _digests(column):
            yield _problem(storage, digest)
    for digest, filename in _cached():
        yield _cached_problem(storage, digest, filename, repair)
    stored_before = now - ORPHAN_AGE
    if repair:
        for orphan in cleanup.remove_orphans(storage, stored_before=stored_before):
            yield Finding(Defect.ORPHANED, orphan.key, removed=True)
    else:
        for orphans in cleanup.orphaned_objects(storage, stored_before=stored_before):
            for orphan in orphans:
                yield Finding(Defect.ORPHANED, orphan.key)


def _digests(column: DigestColumn) -> Iterator[str]:
    last = ""
    statement = select(column).distinct().where(PackageFile.status == FileStatus.DEFAULT).order_by(column).limit(BATCH)
    while digests := [digest for digest in db.session.scalars(statement.where(column > last)) if digest]:
        db.session.rollback()  # do not keep a transaction open while reading objects
        yield from digests
        last = digests[-1]


def _cached() -> Iterator[tuple[str, str]]:
    """Yield digest and file name of every cached file."""
    last = ""
    statement = select(CachedFile.sha256, CachedFile.filename).order_by(CachedFile.sha256).limit(BATCH)
    while batch := [(row[0], row[1]) for row in db.session.execute(statement.where(CachedFile.sha256 > last))]:
        db.session.rollback()  # do not keep a transaction open while reading objects
        yield from batch
        last = batch[-1][0]
    db.session.rollback()


def _cached_problem(storage: Storage, digest: str, filename: str, repair: bool) -> Finding | None:
    found = defect(storage, digest)
    if found is None:
        return None
    is_known = cached.is_cached(digest)
    db.session.rollback()
    if not is_known:  # it was removed since its digest was read
        return None
    return Finding(
        found, object_key(digest), (f"upstream: {filename}",), removed=repair and cached.remove([digest], storage)
    )


def _problem(storage: Storage, digest: str) -> Finding | None:
    found = defect(storage, digest)
    if found is None:
        return None
    files = files_with(digest)
    # Without files, the object was deleted since its digest was read.
    return Finding(found, object_key(digest), files) if files else None


def defect(storage: Storage, digest: str) -> Defect | None:
    """Read an object and return its defect; ``None`` if it has none."""
    try:
        for _ in content(storage, digest):
            pass
    except Defective as error:
        return error.defect
    return None


def content(storage: Storage, digest: str) -> Iterator[bytes]:
    """Yield the content of an object in chunks, verifying its digest at the end.

    :raises Defective: the object is missing, cannot be read, or does not match its digest.
    """
    sha256 = hashlib.sha256()
    try:
        with storage.open(object_key(digest)) as file:
            while chunk := file.read(CHUNK_BYTES):
                sha256.update(chunk)
                yield chunk
    except ObjectMissing as error:
        raise Defective(Defect.MISSING) from error
    except OSError as error:
        raise Defective(Defect.DAMAGED) from error
    if sha256.hexdigest() != digest:
        raise Defective(Defect.DAMAGED)


def files_with(digest: str) -> tuple[str, ...]:
    """Return the package files that use an object, as ``project: file name``; at most ``NAMED_FILES``."""
    has_digest = or_(PackageFile.sha256 == digest, PackageFile.core_metadata_sha256 == digest)
    files = tuple(
        f"{project}: {filename}"
        for project, filename in db.session.execute(
            select(Project.full_path, PackageFile.filename)
            .join(PackageFile, PackageFile.project_id == Project.id)
            .where(has_digest, PackageFile.status == FileStatus.DEFAULT)
            .order_by(PackageFile.id)
            .limit(NAMED_FILES)
        )
    )
    db.session.rollback()
    return files
