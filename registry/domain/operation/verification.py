"""The store compared with the rows: every object is read and digested again."""

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
from registry.models import FileStatus, PackageFile, Project
from registry.storage import ObjectMissing, Storage, object_key

ORPHAN_AGE = timedelta(days=1)  # younger ones are uploads under way, or wait for the next cleanup
BATCH = 500
NAMED_FILES = 10
CHUNK_BYTES = 1 << 20

DigestColumn = InstrumentedAttribute[str] | InstrumentedAttribute[str | None]


class Defect(enum.StrEnum):
    MISSING = "missing"
    DAMAGED = "damaged"  # cannot be read, or holds other bytes
    ORPHANED = "orphaned"  # no file refers to it
    MISCOUNTED = "miscounted"  # no object: the sums kept for a project are not those of its files


@dataclass(frozen=True)
class Finding:
    """One object, or what is counted of one project, that is not as it should be.

    :ivar key: the object's, or the project's full path.

    :ivar files: whose bytes or core metadata these are, as ``project: file name``; at most ``NAMED_FILES``.
    :ivar removed: it was an orphan, and is gone.
    :ivar corrected: it was a wrong sum, and is right now.
    """

    defect: Defect
    key: str
    files: tuple[str, ...] = ()
    removed: bool = False
    corrected: bool = False


class Defective(Exception):
    """An object is not as it should be."""

    def __init__(self, defect: Defect) -> None:
        super().__init__(defect)
        self.defect = defect


@dataclass(frozen=True)
class VerificationSummary:
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
    storage: Storage, now: datetime, tell: Callable[[Finding], None], *, repair: bool = False
) -> VerificationSummary:
    """Compare both ways: every file has its bytes, and every object older than a day has a file; and count again.

    Memory is bounded; the time is that of reading the whole store.

    :param tell: called with each problem as it is found.
    :param repair: remove the orphans, and correct the sums. What is missing or damaged can only be published again.
    :raises BackupUnderWay: a repair cannot be made while a backup is.
    """
    if repair:
        cleanup.refuse_during_backup()
    checked = 0
    found: Counter[str] = Counter()
    for problem in _problems(storage, now, repair):
        checked += 1
        if problem is not None:
            found[problem.defect] += 1
            found["removed"] += problem.removed
            tell(problem)
    orphaned = found[Defect.ORPHANED]
    missing, damaged = found[Defect.MISSING], found[Defect.DAMAGED]
    miscounts = list(_miscounts(repair))
    for problem in miscounts:
        tell(problem)
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
    """One entry for each object looked at; ``None`` when it is as it should be."""
    for column in (PackageFile.sha256, PackageFile.core_metadata_sha256):
        for digest in _digests(column):
            yield _problem(storage, digest)
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
        db.session.rollback()  # no transaction stays open while the objects are read
        yield from digests
        last = digests[-1]


def _problem(storage: Storage, digest: str) -> Finding | None:
    found = defect(storage, digest)
    if found is None:
        return None
    files = files_with(digest)
    # Without files it was deleted since its digest was read, and is nobody's loss.
    return Finding(found, object_key(digest), files) if files else None


def defect(storage: Storage, digest: str) -> Defect | None:
    """What is wrong with an object, after reading it; ``None`` when it is as it should be."""
    try:
        for _ in content(storage, digest):
            pass
    except Defective as error:
        return error.defect
    return None


def content(storage: Storage, digest: str) -> Iterator[bytes]:
    """The bytes of an object, in pieces.

    :raises Defective: it is missing or cannot be read, or what was read to the end are not the bytes of this digest.
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
    """Whose bytes or core metadata have this digest, as ``project: file name``; at most ``NAMED_FILES``."""
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
