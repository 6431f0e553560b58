"""Download counts of package files by day.

A download writes nothing: each process counts in memory and adds its counts to the database every few seconds
(``Tally.flush``). If a process is killed, only the counts since its last flush are lost.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import islice
from threading import Lock

from sqlalchemy import ColumnElement, bindparam, case, func, insert, select, update

from registry.database import AdvisoryLock, db, transaction, utcnow
from registry.domain.packages import summaries
from registry.models import FileDownloads, FileStatus, Package, PackageFile

BATCH = 1000
RECENT = timedelta(days=30)

Counts = dict[tuple[int, date], int]  # by file id and day


class Tally:
    """The downloads that this process has counted and not yet added to the database."""

    def __init__(self) -> None:
        self._noted: deque[int] = deque()
        self._lock = Lock()
        self._counts: Counter[tuple[int, date]] = Counter()

    def note(self, file_id: int) -> None:
        """Count one download, for the day (UTC) of the next flush."""
        self._noted.append(file_id)  # cheap, as the request as a whole takes 30 µs

    def flush(self) -> None:
        """Add all counts to the database; after a failure, the remaining counts are kept for the next flush."""
        now = utcnow()
        with self._lock:
            for _ in range(len(self._noted)):
                self._counts[self._noted.popleft(), now.date()] += 1
            while batch := dict(islice(self._counts.items(), BATCH)):
                _add(batch, now)
                for key in batch:
                    del self._counts[key]


def _add(counts: Counts, now: datetime) -> None:
    """Add a batch of counts in one transaction, ignoring files that were deleted.

    Shares ``AdvisoryLock.TREE``: no project is deleted meanwhile. Changing the packages first locks them, so processes
    add the counts of a package one after the other, and none of its files is deleted meanwhile.
    """
    with transaction(lock=AdvisoryLock.TREE, shared=True, changes_answers=False):
        _record_last_download(_live_files(counts).values(), now)
        live_files = _live_files(counts)
        counts = {key: count for key, count in counts.items() if key[0] in live_files}
        existing = _existing(counts)
        _increase({key: count for key, count in counts.items() if key in existing})
        _insert({key: count for key, count in counts.items() if key not in existing})
        of_packages: Counter[int] = Counter()
        for (file_id, _), count in counts.items():
            of_packages[live_files[file_id]] += count
        summaries.add_downloads(of_packages)


def _live_files(counts: Counts) -> dict[int, int]:
    """Return the package id of each file that was not deleted, by file id."""
    found = select(PackageFile.id, PackageFile.package_id).where(
        PackageFile.id.in_({file_id for file_id, _ in counts}), PackageFile.status == FileStatus.DEFAULT
    )
    return {row.id: row.package_id for row in db.session.execute(found)}


def _existing(counts: Counts) -> set[tuple[int, date]]:
    """Return the keys that already have a row."""
    found = select(FileDownloads.file_id, FileDownloads.day).where(
        FileDownloads.file_id.in_({file_id for file_id, _ in counts}), FileDownloads.day.in_({day for _, day in counts})
    )
    return {(file_id, day) for file_id, day in db.session.execute(found)}


def _increase(counts: Counts) -> None:
    if not counts:
        return
    statement = (
        update(FileDownloads)
        .where(FileDownloads.file_id == bindparam("of_file"), FileDownloads.day == bindparam("on_day"))
        .values(count=FileDownloads.count + bindparam("more"))
    )
    rows = [{"of_file": file_id, "on_day": day, "more": count} for (file_id, day), count in counts.items()]
    db.session.connection().execute(statement, rows)


def _insert(counts: Counts) -> None:
    rows = [{"file_id": file_id, "day": day, "count": count} for (file_id, day), count in counts.items()]
    if rows:
        db.session.execute(insert(FileDownloads), rows)


def _record_last_download(package_ids: Iterable[int], now: datetime) -> None:
    for package_id in sorted(set(package_ids)):  # in the order in which deletions lock packages
        db.session.execute(
            update(Package)
            .where(Package.id == package_id)
            .values(last_downloaded_at=now, updated_at=Package.updated_at),
            execution_options={"synchronize_session": False},
        )


@dataclass(frozen=True)
class Downloads:
    """Download counts.

    :ivar recent: in the last thirty days, including today (UTC).
    """

    recent: int = 0
    total: int = 0


def of_files(files: Iterable[PackageFile], today: date) -> dict[int, Downloads]:
    """Return the downloads of each file by id, in one statement."""
    found = {file.id: Downloads() for file in files}
    rows = db.session.execute(
        select(FileDownloads.file_id, *_sums(today))
        .where(FileDownloads.file_id.in_(found))
        .group_by(FileDownloads.file_id)
    )
    return found | {file_id: Downloads(int(recent), int(total)) for file_id, recent, total in rows}


def of_package(package: Package, today: date) -> Downloads:
    """Return the total downloads of the files of a package that are not deleted."""
    row = db.session.execute(
        select(*_sums(today))
        .join(PackageFile, PackageFile.id == FileDownloads.file_id)
        .where(PackageFile.package_id == package.id, PackageFile.status == FileStatus.DEFAULT)
    ).one()
    return Downloads(int(row[0] or 0), int(row[1] or 0))


def by_day(package: Package, today: date, days: int) -> list[tuple[date, int]]:
    """Return the downloads of a package on each of the last days, including today (UTC), in one statement."""
    first = today - timedelta(days=days - 1)
    rows = db.session.execute(
        select(FileDownloads.day, func.sum(FileDownloads.count))
        .join(PackageFile, PackageFile.id == FileDownloads.file_id)
        .where(
            PackageFile.package_id == package.id, PackageFile.status == FileStatus.DEFAULT, FileDownloads.day >= first
        )
        .group_by(FileDownloads.day)
    )
    counts = {day: int(count) for day, count in rows}
    return [(day, counts.get(day, 0)) for day in (first + timedelta(days=number) for number in range(days))]


def _sums(today: date) -> tuple[ColumnElement[int], ColumnElement[int]]:
    is_recent = FileDownloads.day > today - RECENT
    return func.sum(case((is_recent, FileDownloads.count), else_=0)), func.sum(FileDownloads.count)
