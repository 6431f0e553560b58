"""Copying of all objects in the database from one store to another while the registry is running."""

from __future__ import annotations

import enum
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial

from sqlalchemy import func, select, true

from registry.database import db
from registry.errors import Unavailable
from registry.models import CachedFile, FileStatus, PackageFile
from registry.storage import ObjectMissing, Storage, StorageFull, object_key

JOBS = 4
BATCH = 200
CHUNK_BYTES = 1 << 20
PAUSES_SECONDS = (5, 10, 20)  # between attempts while a store is unavailable


class CopyResult(enum.StrEnum):
    COPIED = "copied"
    PRESENT = "present"  # already exists in the target
    MISSING = "missing"  # from the source
    DAMAGED = "damaged"  # unreadable in the source, or with different content


@dataclass(frozen=True)
class CopyOutcome:
    """The result of copying one object; ``size_bytes`` is 0 unless it was copied."""

    result: CopyResult
    digest: str
    size_bytes: int = 0


@dataclass(frozen=True)
class CopySummary:
    """The numbers of objects by outcome.

    :ivar present: those that the target had before.
    :ivar missing: those that the source lacks.
    :ivar size_bytes: of those that were copied.
    """

    copied: int
    present: int
    missing: int
    damaged: int
    size_bytes: int

    @property
    def is_complete(self) -> bool:
        return not (self.missing or self.damaged)


def copy(source: Storage, target: Storage, report: Callable[[CopyOutcome], None]) -> CopySummary:
    """Copy the objects that the target lacks, verifying the digest of each one.

    Memory is bounded. After an interruption, another call resumes the copy. Objects published during the copy can be
    missing from the target.

    :param report: called with each outcome.
    :raises Unavailable: one of the stores was unavailable for more than half a minute, or is full.
    """
    found: Counter[str] = Counter()
    size_bytes = 0
    for outcome in _outcomes(source, target):
        report(outcome)
        found[outcome.result] += 1
        size_bytes += outcome.size_bytes
    return CopySummary(
        copied=found[CopyResult.COPIED],
        present=found[CopyResult.PRESENT],
        missing=found[CopyResult.MISSING],
        damaged=found[CopyResult.DAMAGED],
        size_bytes=size_bytes,
    )


def count() -> int:
    """Return the number of objects in the database."""
    is_live = PackageFile.status == FileStatus.DEFAULT
    digests = (PackageFile.sha256, PackageFile.core_metadata_sha256)
    counts = [select(func.count(digest.distinct())).where(is_live) for digest in digests]
    number = sum(db.session.scalar(each) or 0 for each in (*counts, select(func.count(CachedFile.sha256))))
    db.session.rollback()
    return number


def _outcomes(source: Storage, target: Storage) -> Iterator[CopyOutcome]:
    with ThreadPoolExecutor(JOBS, "copy") as threads:
        for batch in _batches():
            for outcome in threads.map(partial(_copied_with_retries, source, target), *zip(*batch, strict=True)):
                # A missing object may have been deleted since its digest was read.
                if outcome.result is not CopyResult.MISSING or _is_known(outcome.digest):
                    yield outcome


def _batches() -> Iterator[list[tuple[str, str]]]:
    """Yield batches of digests, each with the file name of a package file, or ``""`` for core metadata.

    Cached files of the upstream are included, as a closed network could not fetch them again.
    """
    is_live = PackageFile.status == FileStatus.DEFAULT
    for column, filename, condition in (
        (PackageFile.sha256, func.min(PackageFile.filename), is_live),
        (PackageFile.core_metadata_sha256, func.min(""), is_live),
        (CachedFile.sha256, func.min(CachedFile.filename), true()),
    ):
        last = ""
        statement = select(column, filename).where(condition).group_by(column).order_by(column).limit(BATCH)
        while batch := [(str(row[0]), str(row[1])) for row in db.session.execute(statement.where(column > last))]:
            db.session.rollback()  # do not keep a transaction open while copying objects
            yield batch
            last = batch[-1][0]
    db.session.rollback()


def _is_known(digest: str) -> bool:
    columns = (PackageFile.sha256, PackageFile.core_metadata_sha256)
    is_live = PackageFile.status == FileStatus.DEFAULT
    found = any(db.session.scalar(select(PackageFile.id).where(column == digest, is_live)) for column in columns)
    found = found or db.session.get(CachedFile, digest) is not None
    db.session.rollback()
    return found


def _copied_with_retries(source: Storage, target: Storage, digest: str, filename: str) -> CopyOutcome:
    for pause in PAUSES_SECONDS:
        try:
            return _copied(source, target, digest, filename)
        except StorageFull:
            raise
        except Unavailable:
            time.sleep(pause)
    return _copied(source, target, digest, filename)


def _copied(source: Storage, target: Storage, digest: str, filename: str) -> CopyOutcome:
    key = object_key(digest)
    if target.exists(key):
        return CopyOutcome(CopyResult.PRESENT, digest)
    with closing(target.stage()) as staged:
        try:
            with source.open(key) as file:
                shutil.copyfileobj(file, staged, CHUNK_BYTES)
        except ObjectMissing:
            return CopyOutcome(CopyResult.MISSING, digest)
        except OSError:
            return CopyOutcome(CopyResult.DAMAGED, digest)
        if staged.sha256 != digest:
            return CopyOutcome(CopyResult.DAMAGED, digest)
        staged.filename = filename
        target.put(key, staged)
        return CopyOutcome(CopyResult.COPIED, digest, staged.size_bytes)
