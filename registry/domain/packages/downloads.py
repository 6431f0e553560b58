"""Downloads of package files, counted by day.

A download costs no write: each process counts in memory and adds what it has to the database every few seconds
(``Tally.flush``). Only what a process had not added when it was killed is lost.
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
from registry.models import FileDownloads, FileStatus, Package, PackageFile

BATCH = 1000
RECENT = timedelta(days=30)

Counts = dict[tuple[int, date], int]  # by the file's id and the day


class Tally:
    """What this process has counted and not yet added to the database."""

    def __init__(self) -> None:
        self._noted: deque[int] = deque()
        self._lock = Lock()
        self._counts: Counter[tuple[int, date]] = Counter()

    def note(self, file_id: int) -> None:
        """Count one download; it counts for the day (UTC) of the next flush."""
        self._noted.append(file_id)  # and no more, in a request that takes 30 µs

    def flush(self) -> None:
        """Add everything to the database; what cannot be added now is kept for the next time."""
        now = utcnow()
        with self._lock:
            for _ in range(len(self._noted)):
                self._counts[self._noted.popleft(), now.date()] += 1
            while batch := dict(islice(self._counts.items(), BATCH)):
                _add(batch, now)
                for key in batch:
                    del self._counts[key]


def _add(counts: Counts, now: datetime) -> None:
    """One transaction, whatever was downloaded; files that are gone are passed over."""
    with transaction(lock=AdvisoryLock.DOWNLOADS, changes_answers=False):
        packages = _packages({file_id for file_id, _ in counts})
        counts = {key: count for key, count in counts.items() if key[0] in packages}
        standing = _standing(counts)
        _raise({key: count for key, count in counts.items() if key in standing})
        _insert({key: count for key, count in counts.items() if key not in standing})
        _note_last_download(sorted(set(packages.values())), now)


def _packages(file_ids: set[int]) -> dict[int, int]:
    """The id of its package for each file that is still there."""
    found = select(PackageFile.id, PackageFile.package_id).where(PackageFile.id.in_(file_ids))
    return {row.id: row.package_id for row in db.session.execute(found)}


def _standing(counts: Counts) -> set[tuple[int, date]]:
    """Which of these have a row."""
    found = select(FileDownloads.file_id, FileDownloads.day).where(
        FileDownloads.file_id.in_({file_id for file_id, _ in counts}), FileDownloads.day.in_({day for _, day in counts})
    )
    return {(file_id, day) for file_id, day in db.session.execute(found)}


def _raise(counts: Counts) -> None:
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


def _note_last_download(package_ids: list[int], now: datetime) -> None:
    for package_id in package_ids:  # in one order, as those who delete packages lock them
        db.session.execute(
            update(Package)
            .where(Package.id == package_id)
            .values(last_downloaded_at=now, updated_at=Package.updated_at),
            execution_options={"synchronize_session": False},
        )


# Reading --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Downloads:
    """How often something was downloaded.

    :ivar recent: in the last thirty days, today (UTC) among them.
    """

    recent: int = 0
    total: int = 0


def of_files(files: Iterable[PackageFile], today: date) -> dict[int, Downloads]:
    """The downloads of each of many files, by its id, in one statement."""
    found = {file.id: Downloads() for file in files}
    rows = db.session.execute(
        select(FileDownloads.file_id, *_sums(today))
        .where(FileDownloads.file_id.in_(found))
        .group_by(FileDownloads.file_id)
    )
    return found | {file_id: Downloads(int(recent), int(total)) for file_id, recent, total in rows}


def of_package(package: Package, today: date) -> Downloads:
    """The downloads of the files of a package together, those deleted left out."""
    row = db.session.execute(
        select(*_sums(today))
        .join(PackageFile, PackageFile.id == FileDownloads.file_id)
        .where(PackageFile.package_id == package.id, PackageFile.status == FileStatus.DEFAULT)
    ).one()
    return Downloads(int(row[0] or 0), int(row[1] or 0))


def _sums(today: date) -> tuple[ColumnElement[int], ColumnElement[int]]:
    is_recent = FileDownloads.day > today - RECENT
    return func.sum(case((is_recent, FileDownloads.count), else_=0)), func.sum(FileDownloads.count)
