"""Import of packages: publishes the files of another index or of a folder to a project.

Every file passes the same inspection as an upload. Its upload time, its yank, and the status of its package name are
preserved. Files that already exist are skipped, so an interrupted import can simply be run again.
"""

from __future__ import annotations

import enum
import hashlib
import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from threading import Event
from typing import Any

from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version
from sqlalchemy import bindparam, select

from registry.database import db, execute, transaction, utcnow
from registry.domain import audit
from registry.domain.access import Principal
from registry.domain.distributions import filenames
from registry.domain.distributions.filenames import ParsedFilename
from registry.domain.importing.sources import Source, SourceError, SourceFile, SourcePage
from registry.domain.packages import publishing, releases
from registry.domain.packages.names import package_name
from registry.domain.packages.publishing import Origin, Upload
from registry.errors import (
    BadRequest,
    DuplicateFile,
    Forbidden,
    InvalidDistribution,
    InvalidParameter,
    NotFound,
    TooLarge,
)
from registry.models import FileStatus, NameStatus, Package, PackageFile, Project
from registry.storage import StagedFile, Storage

_SELECTION = re.compile(r"(?P<name>[^=\s]+)(?:==(?P<version>[^=\s]+))?")


class ImportResult(enum.StrEnum):
    """The result of importing one file."""

    IMPORTED = "imported"
    PRESENT = "present"  # already exists with the same content
    REFUSED = "refused"  # an upload of the file would also be refused
    CONFLICT = "conflict"  # already exists with different content
    FAILED = "failed"  # not received, or not with the size and digests that the source declares


@dataclass(frozen=True)
class ImportOutcome:
    """The result of importing one file, or of failing to look up one package.

    :ivar subject: the name of the file, or of the package if the failure concerns the entire package.
    :ivar size_bytes: size of the file if it was imported, otherwise 0.
    """

    result: ImportResult
    subject: str
    reason: str = ""
    size_bytes: int = 0


@dataclass(frozen=True)
class ImportSummary:
    """The number of files by result; ``size_bytes`` is the total size of the imported ones."""

    imported: int
    present: int
    refused: int
    conflicts: int
    failed: int
    size_bytes: int
    is_interrupted: bool

    @property
    def is_complete(self) -> bool:
        """Whether the project now has every selected file that it accepts."""
        return not (self.conflicts or self.failed or self.is_interrupted)


@dataclass(frozen=True)
class Selection:
    """A package name, and its versions to import; empty for all versions."""

    name: NormalizedName
    versions: frozenset[Version] = frozenset()


@dataclass(frozen=True)
class Destination:
    """The project and the storage that receive the files.

    :ivar session: returns a context in which a thread has its own ``db.session``.
    :ivar max_size_bytes: maximum size of a file; 0 for no limit.
    """

    project_id: int
    principal: Principal
    storage: Storage
    session: Callable[[], AbstractContextManager[object]]
    max_size_bytes: int = 0


# Called with each outcome and the number of files and names that remain.
Report = Callable[[ImportOutcome, int], object]


def parse_selections(texts: Iterable[str]) -> list[Selection]:
    """Parse texts of the form ``name`` and ``name==version`` into one selection per name.

    A name without a version selects all of its versions.

    :raises SourceError: a text has neither form.
    """
    found: dict[NormalizedName, set[Version]] = {}
    whole: set[NormalizedName] = set()
    for text in texts:
        match = _SELECTION.fullmatch("".join(text.split()))
        version = filenames.version(match["version"]) if match and match["version"] else None
        if match is None or not filenames.is_valid_name(match["name"]) or (match["version"] and version is None):
            raise SourceError(f"{text[:300]!r} is neither a package name nor a name and version such as demo==1.0")
        name = canonicalize_name(match["name"])
        found.setdefault(name, set()).update({version} if version else ())
        whole.update(() if version else {name})
    return [Selection(name, frozenset() if name in whole else frozenset(versions)) for name, versions in found.items()]


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
                destination.principal, "packages_imported", source.address[:255], _project(destination),
                files=summary.imported, size_bytes=summary.size_bytes,
            )  # fmt: skip
    return summary


def _project(destination: Destination) -> Project:
    """Return the project.

    :raises NotFound: the project was deleted during the import.
    """
    project = db.session.get(Project, destination.project_id)
    if project is None:
        raise NotFound("Project")
    return project


class _Interrupted(Exception):
    """The import is being interrupted; a partially received file is discarded."""


@dataclass(frozen=True)
class _PendingFile:
    """A file to receive; ``yanked_reason`` is the one to publish it with."""

    file: SourceFile
    parsed: ParsedFilename
    yanked_reason: str | None


@dataclass
class _Lookup:
    """A package that was looked up in the source.

    :ivar outcomes: of the files that need not be received.
    :ivar pending: the files to receive.
    :ivar reported: number of files of both kinds whose outcome was reported.
    """

    selection: Selection
    page: SourcePage
    outcomes: tuple[ImportOutcome, ...]
    pending: tuple[_PendingFile, ...]
    reported: int = 0
    has_failed: bool = False

    @property
    def is_finished(self) -> bool:
        return self.reported == len(self.outcomes) + len(self.pending)


class _Import:
    """A running import: worker threads look up packages and receive files, and ``run`` reports in its own thread."""

    def __init__(self, source: Source, destination: Destination, names: Iterable[Selection], report: Report) -> None:
        self._source, self._destination, self._report = source, destination, report
        self._names = deque(names)
        self._pending: deque[tuple[_Lookup, _PendingFile]] = deque()
        self._looking_up: set[Future[_Lookup | ImportOutcome]] = set()
        self._receiving: dict[Future[ImportOutcome], _Lookup] = {}
        self._counts: Counter[ImportResult] = Counter()
        self._size_bytes = 0
        self._is_stopping = Event()

    def run(self, jobs: int) -> ImportSummary:
        is_interrupted = False
        with ThreadPoolExecutor(jobs, thread_name_prefix="import") as pool, closing(self._source):
            try:
                while self._fill(pool, jobs):
                    running: list[Future[Any]] = [*self._looking_up, *self._receiving]
                    wait(running, return_when=FIRST_COMPLETED)
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
            count[ImportResult.FAILED], self._size_bytes, is_interrupted,
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

    def _record_lookup(self, lookup: _Lookup | ImportOutcome) -> None:
        if isinstance(lookup, ImportOutcome):
            self._record(lookup)
            return
        self._pending.extend((lookup, pending) for pending in lookup.pending)
        for outcome in lookup.outcomes:
            self._record(outcome, lookup)
        self._finish(lookup)

    def _record(self, outcome: ImportOutcome, lookup: _Lookup | None = None) -> None:
        self._counts[outcome.result] += 1
        self._size_bytes += outcome.size_bytes
        if lookup is not None:
            lookup.reported += 1
            lookup.has_failed |= outcome.result is ImportResult.FAILED
        remaining = len(self._pending) + len(self._names) + len(self._looking_up) + len(self._receiving)
        self._report(outcome, remaining)

    def _finish(self, lookup: _Lookup) -> None:
        """Copy the status of a package name once all of its files exist, as archived names accept no files."""
        if lookup.is_finished and not (lookup.has_failed or lookup.selection.versions):
            _keep_status(lookup.selection.name, lookup.page, self._destination)

    def _try_look_up(self, selection: Selection) -> _Lookup | ImportOutcome:
        try:
            return _look_up(selection, self._source, self._destination)
        except SourceError as error:
            return self._failed(selection.name, error)

    def _try_receive(self, pending: _PendingFile) -> ImportOutcome:
        try:
            return _receive(pending, self._source, self._destination, self._is_stopping)
        except SourceError as error:
            return self._failed(pending.file.filename, error)
        except (BadRequest, Forbidden, InvalidParameter) as refusal:
            return ImportOutcome(ImportResult.REFUSED, pending.file.filename, refusal.reason)

    def _failed(self, subject: str, error: SourceError) -> ImportOutcome:
        if self._is_stopping.is_set():  # the error is due to closing the source
            raise _Interrupted from error
        return ImportOutcome(ImportResult.FAILED, subject, error.sentence)


def _was_interrupted(future: Future[ImportOutcome] | Future[_Lookup | ImportOutcome]) -> bool:
    return future.cancelled() or isinstance(future.exception(), _Interrupted)


def _keep_status(name: NormalizedName, page: SourcePage, destination: Destination) -> None:
    """Copy the status of a package name from the source, unless the project has already set one."""
    if page.status not in set(NameStatus) - {NameStatus.ACTIVE}:
        return
    with destination.session():
        project = _project(destination)
        try:
            existing = package_name(project, name)
        except NotFound:  # sources offer no files of quarantined names
            return
        if existing.status is NameStatus.ACTIVE and not existing.reason:
            status = NameStatus(page.status)
            releases.set_name_status(project, name, status, page.status_reason, by=destination.principal)


@dataclass(frozen=True)
class _ExistingFile:
    """A file that the project already has."""

    filename: str
    version: str
    sha256: str
    md5: str
    yanked_reason: str | None


def _look_up(name: Selection, source: Source, destination: Destination) -> _Lookup:
    """Look up the files of a package in the source and compare them with those of the project.

    :raises SourceError: the source does not list the files.
    """
    page = source.page(name.name)
    with destination.session():
        existing = {file.filename: file for file in _existing_files(name.name, destination.project_id)}
    yanked_versions = _yanked_versions(existing.values(), page)
    outcomes, pending, missing = [], [], set(name.versions)
    for file in page.files:
        parsed = _parsed(file, name)
        if isinstance(parsed, ImportOutcome):
            outcomes.append(parsed)
        elif not name.versions or parsed.version in name.versions:
            missing.discard(parsed.version)
            known = _outcome_without_receiving(file, existing.get(file.filename), source, destination.max_size_bytes)
            if known is not None:
                outcomes.append(known)
            else:
                yanked_reason = (
                    yanked_versions.get(parsed.version) if file.yanked_reason is None else file.yanked_reason
                )
                pending.append(_PendingFile(file, parsed, yanked_reason))
    for version in sorted(missing):
        outcomes.append(
            ImportOutcome(ImportResult.FAILED, f"{name.name}=={version}", "the source has no file of this version")
        )
    return _Lookup(name, page, tuple(outcomes), tuple(pending))


def _existing_files(name: NormalizedName, project_id: int) -> list[_ExistingFile]:
    rows = execute(_EXISTING_FILES, {"project_id": project_id, "normalized_name": name})
    return [_ExistingFile(row.filename, row.version, row.sha256, row.md5, row.yanked_reason) for row in rows]


_packages, _files = Package.__table__, PackageFile.__table__
_EXISTING_FILES = (
    select(_files.c.filename, _packages.c.version, _files.c.sha256, _files.c.md5, _files.c.yanked_reason)
    .join(_packages, _packages.c.id == _files.c.package_id)
    .where(
        _packages.c.project_id == bindparam("project_id"),
        _packages.c.normalized_name == bindparam("normalized_name"),
        _files.c.status == FileStatus.DEFAULT,
    )
    .order_by(_files.c.id)
)


def _yanked_versions(existing: Iterable[_ExistingFile], page: SourcePage) -> Mapping[Version, str]:
    """Return the versions that are entirely yanked in the project but not in the source, with their reasons.

    Like an upload, an imported file of such a version is yanked, too.
    """
    yanked_there = {file.filename for file in page.files if file.yanked_reason is not None}
    versions: dict[Version, list[_ExistingFile]] = {}
    for file in existing:
        if (version := filenames.version(file.version)) is not None:
            versions.setdefault(version, []).append(file)
    return {
        version: files[-1].yanked_reason or ""
        for version, files in versions.items()
        if all(file.yanked_reason is not None for file in files)
        and not all(file.filename in yanked_there for file in files)
    }


def _parsed(file: SourceFile, name: Selection) -> ParsedFilename | ImportOutcome:
    try:
        parsed = filenames.parse_filename(file.filename)
    except InvalidDistribution as refusal:
        return ImportOutcome(ImportResult.REFUSED, file.filename, refusal.reason)
    if parsed.normalized_name != name.name:
        return ImportOutcome(
            ImportResult.REFUSED, file.filename, f"the file name belongs to {parsed.normalized_name}, not {name.name}"
        )
    return parsed


def _outcome_without_receiving(
    file: SourceFile, existing: _ExistingFile | None, source: Source, max_size_bytes: int
) -> ImportOutcome | None:
    """Return the outcome of a file if it can be determined without receiving the file."""
    if existing is not None:
        try:
            digests = source.digests(file)
        except SourceError as error:
            return ImportOutcome(ImportResult.FAILED, file.filename, error.sentence)
        for algorithm in ("sha256", "md5"):
            if algorithm in digests:
                return _compared(file.filename, digests[algorithm], getattr(existing, algorithm))
    if max_size_bytes and (file.size_bytes or 0) > max_size_bytes:
        return ImportOutcome(ImportResult.REFUSED, file.filename, TooLarge().reason)
    return None


def _compared(filename: str, there: str, here: str) -> ImportOutcome:
    if there == here:
        return ImportOutcome(ImportResult.PRESENT, filename)
    return ImportOutcome(
        ImportResult.CONFLICT, filename, f"the project has different content: {here}; the source has {there}"
    )


class _BoundedFile:
    """A staged file with a maximum size, which accepts no more data once the import is interrupted."""

    def __init__(self, staged: StagedFile, max_size_bytes: int, is_stopping: Event) -> None:
        self._staged, self._max_size_bytes, self._is_stopping = staged, max_size_bytes, is_stopping

    @property
    def size_bytes(self) -> int:
        return self._staged.size_bytes

    def write(self, data: bytes) -> int:
        """Append ``data``.

        :raises TooLarge: the file exceeds its maximum size.
        """
        if self._is_stopping.is_set():
            raise _Interrupted
        if self._max_size_bytes and self.size_bytes + len(data) > self._max_size_bytes:
            raise TooLarge
        return self._staged.write(data)


def _receive(pending: _PendingFile, source: Source, destination: Destination, is_stopping: Event) -> ImportOutcome:
    """Receive a file and publish it.

    :raises SourceError: the file cannot be received, or differs from the size and digests that the source declares.
    :raises BadRequest: the file is not a valid distribution, or too large.
    :raises Forbidden: the project accepts no files of this package name.
    """
    with closing(destination.storage.stage()) as staged:
        source.receive(pending.file, _BoundedFile(staged, destination.max_size_bytes, is_stopping))
        refuse_other_content(pending.file, staged)
        with destination.session():
            return _publish(pending, staged, destination)


def refuse_other_content(file: SourceFile, staged: StagedFile) -> None:
    """Compare a received file with the size and digests that the source declares.

    :raises SourceError: one of them differs.
    """
    if file.size_bytes not in (None, staged.size_bytes):
        raise SourceError(f"received {staged.size_bytes} bytes; the source declares {file.size_bytes}")
    digests = file.digests
    for algorithm in ["sha256"] if "sha256" in digests else digests:
        computed = _digest(staged, algorithm)
        if digests[algorithm] != computed:
            raise SourceError(
                f"the received file has the {algorithm} {computed}; the source declares {digests[algorithm]}"
            )


def _digest(staged: StagedFile, algorithm: str) -> str:
    if algorithm in ("sha256", "md5"):
        digest: str = getattr(staged, algorithm)
        return digest
    staged.seek(0)
    return hashlib.file_digest(staged.file, algorithm).hexdigest()  # type: ignore[arg-type]


def _publish(pending: _PendingFile, staged: StagedFile, destination: Destination) -> ImportOutcome:
    file, now = pending.file, utcnow()
    published_at = min(file.uploaded_at or now, now)
    upload = Upload(
        pending.parsed.normalized_name, str(pending.parsed.version), file.filename, staged, fields=None,
        origin=Origin(published_at, pending.yanked_reason),
    )  # fmt: skip
    try:
        published = publishing.publish(
            upload, project=_project(destination), principal=destination.principal, storage=destination.storage,
            max_size_bytes=destination.max_size_bytes, now=now,
        )  # fmt: skip
    except DuplicateFile:
        return _compared(file.filename, staged.sha256, _existing_sha256(file.filename, destination))
    if not published.is_new:
        return ImportOutcome(ImportResult.PRESENT, file.filename)
    return ImportOutcome(ImportResult.IMPORTED, file.filename, size_bytes=staged.size_bytes)


def _existing_sha256(filename: str, destination: Destination) -> str:
    existing = db.session.scalar(
        select(PackageFile.sha256).where(
            PackageFile.project_id == destination.project_id,
            PackageFile.filename == filename,
            PackageFile.status == FileStatus.DEFAULT,
        )
    )
    return existing or "deleted in the meantime"
