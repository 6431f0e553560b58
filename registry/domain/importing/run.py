"""Import of packages: publishes the files of another index, of a GitLab instance, or of a folder to a project.

Every file passes the same inspection as an upload. Its upload time, its yank, and the status of its package name are
preserved. Files that already exist are skipped, so an interrupted import can simply be run again.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass
from threading import Event
from typing import Any

from packaging.utils import NormalizedName

from registry.database import transaction
from registry.domain import audit
from registry.domain.importing.files import (
    Destination,
    ImportOutcome,
    ImportResult,
    Interrupted,
    Lookup,
    PendingFile,
    look_up,
    project_of,
    receive,
)
from registry.domain.importing.selections import Selection
from registry.domain.importing.source import Source, SourcePage
from registry.domain.packages import releases
from registry.domain.packages.names import package_name
from registry.errors import BadRequest, Forbidden, InvalidParameter, NotFound, SourceError
from registry.models import NameStatus

# A Ctrl-C just before the main thread begins to wait is noticed at the end of the wait.
LONGEST_WAIT_SECONDS = 1
# Called with each outcome and the number of files and names that remain.
Report = Callable[[ImportOutcome, int], object]


@dataclass(frozen=True)
class ImportSummary:
    """The number of files by result.

    :ivar size_bytes: total size of the imported files.
    :ivar remarked: number of imported files with remarks.
    """

    imported: int
    present: int
    refused: int
    conflicts: int
    failed: int
    size_bytes: int
    is_interrupted: bool
    remarked: int = 0

    @property
    def is_complete(self) -> bool:
        """Whether the project now has every selected file that it accepts."""
        return not (self.conflicts or self.failed or self.is_interrupted)


def import_packages(
    source: Source, destination: Destination, names: Iterable[Selection], *, jobs: int, report: Report
) -> ImportSummary:
    """Publish the selected files of the source that the project lacks.

    Each file is published separately and atomically, so the import can be interrupted at any time. Files are received
    into the staging folder of the storage, at most ``jobs`` at a time, and never kept in memory. A keyboard interrupt
    ends the import with a summary. Takes no lock for itself, as publishing a file takes those it needs.

    :param names: the packages to import; empty for every package of the source.
    :param jobs: number of files received and examined in parallel; each one can use a database connection.
    :param report: called in the calling thread with each outcome as soon as it is known.
    :raises SourceError: the source does not list its packages.
    :raises RegistryError: files cannot be stored, or the project was deleted during the import.
    """
    names = list(names)
    if not names:
        try:
            names = [Selection(name) for name in source.names()]
        except SourceError as error:
            raise SourceError(f"{source.address}: {error.sentence}") from error
    summary = _Import(source, destination, names, report).run(jobs)
    if summary.imported:
        with destination.session(), transaction(changes_answers=False):
            audit.record(
                destination.principal, "packages_imported", source.address[:255], project_of(destination),
                files=summary.imported, size_bytes=summary.size_bytes,
            )  # fmt: skip
    return summary


class _Import:
    """A running import: worker threads look up packages and receive files, and ``run`` reports in its own thread."""

    def __init__(self, source: Source, destination: Destination, names: Iterable[Selection], report: Report) -> None:
        self._source, self._destination, self._report = source, destination, report
        self._names = deque(names)
        self._pending: deque[tuple[Lookup, PendingFile]] = deque()
        self._looking_up: set[Future[Lookup | ImportOutcome]] = set()
        self._receiving: dict[Future[ImportOutcome], Lookup] = {}
        self._counts: Counter[ImportResult] = Counter()
        self._size_bytes = self._remarked = 0
        self._is_stopping = Event()

    def run(self, jobs: int) -> ImportSummary:
        is_interrupted = False
        with ThreadPoolExecutor(jobs, thread_name_prefix="import") as pool, closing(self._source):
            try:
                while self._fill(pool, jobs):
                    running: list[Future[Any]] = [*self._looking_up, *self._receiving]
                    wait(running, LONGEST_WAIT_SECONDS, FIRST_COMPLETED)
                    self._collect()
            except KeyboardInterrupt:
                is_interrupted = True
                self._stop(pool)
                self._collect()
            except BaseException:
                self._stop(pool)
                raise
        count = self._counts
        return ImportSummary(
            count[ImportResult.IMPORTED], count[ImportResult.PRESENT], count[ImportResult.REFUSED],
            count[ImportResult.CONFLICT],
            count[ImportResult.FAILED], self._size_bytes, is_interrupted, self._remarked,
        )  # fmt: skip

    def _stop(self, pool: ThreadPoolExecutor) -> None:
        """Abort the files being received, and wait for those being published."""
        self._is_stopping.set()
        self._source.close()
        pool.shutdown(cancel_futures=True)

    def _fill(self, pool: ThreadPoolExecutor, jobs: int) -> bool:
        """Start up to ``jobs`` tasks and return whether any task is running.

        Files come before names, so that the list of pending files stays short.
        """
        while len(self._looking_up) + len(self._receiving) < jobs and (self._pending or self._names):
            if self._pending:
                lookup, pending = self._pending.popleft()
                self._receiving[pool.submit(self._try_receive, pending)] = lookup
            else:
                self._looking_up.add(pool.submit(self._try_look_up, self._names.popleft()))
        return bool(self._looking_up or self._receiving)

    def _collect(self) -> None:
        """Report the outcomes of finished tasks; re-raise any other exception of a worker thread."""
        for looking_up in [future for future in self._looking_up if future.done()]:
            self._looking_up.remove(looking_up)
            if not _was_interrupted(looking_up):
                self._record_lookup(looking_up.result())
        for receiving in [future for future in self._receiving if future.done()]:
            lookup = self._receiving.pop(receiving)
            if not _was_interrupted(receiving):
                self._record(receiving.result(), lookup)
                self._finish(lookup)

    def _record_lookup(self, lookup: Lookup | ImportOutcome) -> None:
        if isinstance(lookup, ImportOutcome):
            self._record(lookup)
            return
        self._pending.extend((lookup, pending) for pending in lookup.pending)
        for outcome in lookup.outcomes:
            self._record(outcome, lookup)
        self._finish(lookup)

    def _record(self, outcome: ImportOutcome, lookup: Lookup | None = None) -> None:
        self._counts[outcome.result] += 1
        self._size_bytes += outcome.size_bytes
        self._remarked += bool(outcome.remarks)
        if lookup is not None:
            lookup.reported += 1
            lookup.has_failed |= outcome.result is ImportResult.FAILED
        remaining = len(self._pending) + len(self._names) + len(self._looking_up) + len(self._receiving)
        self._report(outcome, remaining)

    def _finish(self, lookup: Lookup) -> None:
        """Copy the status of a package name once all of its files exist, as archived names accept no files."""
        if lookup.is_finished and not (lookup.has_failed or lookup.selection.versions):
            _keep_status(lookup.selection.name, lookup.page, self._destination)

    def _try_look_up(self, selection: Selection) -> Lookup | ImportOutcome:
        try:
            return look_up(selection, self._source, self._destination)
        except SourceError as error:
            return self._failed(selection.name, error)

    def _try_receive(self, pending: PendingFile) -> ImportOutcome:
        try:
            return receive(pending, self._source, self._destination, self._is_stopping)
        except SourceError as error:
            return self._failed(pending.file.filename, error)
        except (BadRequest, Forbidden, InvalidParameter) as refusal:
            return ImportOutcome(ImportResult.REFUSED, pending.file.filename, refusal.reason)

    def _failed(self, subject: str, error: SourceError) -> ImportOutcome:
        if self._is_stopping.is_set():  # the error is due to closing the source
            raise Interrupted from error
        return ImportOutcome(ImportResult.FAILED, subject, error.sentence)


def _was_interrupted(future: Future[ImportOutcome] | Future[Lookup | ImportOutcome]) -> bool:
    return future.cancelled() or isinstance(future.exception(), Interrupted)


def _keep_status(name: NormalizedName, page: SourcePage, destination: Destination) -> None:
    """Copy the status of a package name from the source, unless the project has already set one."""
    if page.status not in set(NameStatus) - {NameStatus.ACTIVE}:
        return
    with destination.session():
        project = project_of(destination)
        try:
            existing = package_name(project, name)
        except NotFound:  # sources offer no files of quarantined names
            return
        if existing.status is NameStatus.ACTIVE and not existing.reason:
            status = NameStatus(page.status)
            releases.set_name_status(project, name, status, page.status_reason, by=destination.principal)
