"""Import: what another index or a folder holds is published in a project, as if it had been uploaded here.

Every file passes the same gate as an upload. What it was elsewhere it stays: its upload time, its yank, the status of
its package name. What is here already is left as it is, so an import that was interrupted is begun again and goes on.
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
from sqlalchemy import select

from registry.database import db, transaction, utcnow
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

_WANTED = re.compile(r"(?P<name>[^=\s]+)(?:==(?P<version>[^=\s]+))?")


class ImportResult(enum.StrEnum):
    """What became of a file."""

    IMPORTED = "imported"
    PRESENT = "present"  # here before, with the same bytes
    REFUSED = "refused"  # an upload of it would be, too
    CONFLICT = "conflict"  # here before, with other bytes
    FAILED = "failed"  # not received, or not as the source says it is


@dataclass(frozen=True)
class ImportOutcome:
    """:ivar subject: a file name, or that of a package of which no file could be looked at.

    :ivar size_bytes: of what was imported.
    """

    result: ImportResult
    subject: str
    reason: str = ""
    size_bytes: int = 0


@dataclass(frozen=True)
class ImportSummary:
    """How many files had which result; ``size_bytes`` is the size of those that were imported."""

    imported: int
    present: int
    refused: int
    conflicts: int
    failed: int
    size_bytes: int
    is_interrupted: bool

    @property
    def is_complete(self) -> bool:
        """Whether the project has all that was wanted of the source and that it may have."""
        return not (self.conflicts or self.failed or self.is_interrupted)


@dataclass(frozen=True)
class Selection:
    """A package name, and the versions of it that are wanted; none are all."""

    name: NormalizedName
    versions: frozenset[Version] = frozenset()


@dataclass(frozen=True)
class Destination:
    """Where files go, and how.

    :ivar session: opens what a thread needs to use ``db.session``, which is then its own.
    :ivar max_size_bytes: largest file accepted; 0 is no limit.
    """

    project_id: int
    principal: Principal
    storage: Storage
    session: Callable[[], AbstractContextManager[object]]
    max_size_bytes: int = 0


# Told each outcome, and how many files and names are still to be looked at.
Tell = Callable[[ImportOutcome, int], object]


def wanted(texts: Iterable[str]) -> list[Selection]:
    """Several of ``name`` and ``name==version``, each name once; a name without a version is all of them.

    :raises SourceError: a text is neither.
    """
    found: dict[NormalizedName, set[Version]] = {}
    whole: set[NormalizedName] = set()
    for text in texts:
        match = _WANTED.fullmatch("".join(text.split()))
        version = filenames.version(match["version"]) if match and match["version"] else None
        if match is None or not filenames.is_valid_name(match["name"]) or (match["version"] and version is None):
            raise SourceError(f"{text[:300]!r} is not the name of a package, or name and version as in demo==1.0")
        name = canonicalize_name(match["name"])
        found.setdefault(name, set()).update({version} if version else ())
        whole.update(() if version else {name})
    return [Selection(name, frozenset() if name in whole else frozenset(versions)) for name, versions in found.items()]


def import_packages(
    source: Source, destination: Destination, names: Iterable[Selection], *, jobs: int, tell: Tell
) -> ImportSummary:
    """Publish what the source has and the project has not.

    Each file is an upload of its own, wholly here or not at all, whenever the import ends. At most ``jobs`` of them lie
    in the store's staging folder, and nothing in memory. The interrupt of the keyboard ends it with a summary.

    :param names: what is wanted; nothing is everything that the source has.
    :param jobs: files that are received and examined at the same time; each may use a connection to the database.
    :param tell: called in this thread, with each outcome as it is known.
    :raises SourceError: the source does not say which names it has.
    :raises RegistryError: files cannot be stored, or the project was deleted.
    """
    names = list(names)
    if not names:
        try:
            names = [Selection(name) for name in source.names()]
        except SourceError as error:
            raise SourceError(f"{source.address}: {error.sentence}") from error
    summary = _Import(source, destination, names, tell).run(jobs)
    if summary.imported:
        with destination.session(), transaction(changes_answers=False):
            audit.record(
                destination.principal, "packages_imported", source.address[:255], _project(destination),
                files=summary.imported, size_bytes=summary.size_bytes,
            )  # fmt: skip
    return summary


def _project(destination: Destination) -> Project:
    """:raises NotFound: it was deleted meanwhile."""
    project = db.session.get(Project, destination.project_id)
    if project is None:
        raise NotFound("Project")
    return project


# One import under way -------------------------------------------------------------------------------------------


class _Interrupted(Exception):
    """The import ends here; what was received of a file is dropped."""


@dataclass(frozen=True)
class _Wish:
    """A file to be received; ``yanked_reason`` as it will be here."""

    file: SourceFile
    parsed: ParsedFilename
    yanked_reason: str | None


@dataclass
class _Name:
    """A name that was looked up: what is known at once, the files to be received, how many of both were told."""

    wanted: Selection
    page: SourcePage
    outcomes: tuple[ImportOutcome, ...]
    wishes: tuple[_Wish, ...]
    told: int = 0
    has_failed: bool = False

    @property
    def is_finished(self) -> bool:
        return self.told == len(self.outcomes) + len(self.wishes)


class _Import:
    """Names are looked up and files received in threads; results are told in the one that runs it."""

    def __init__(self, source: Source, destination: Destination, names: Iterable[Selection], tell: Tell) -> None:
        self._source, self._destination, self._tell = source, destination, tell
        self._names = deque(names)
        self._wishes: deque[tuple[_Name, _Wish]] = deque()
        self._looking_up: set[Future[_Name | ImportOutcome]] = set()
        self._receiving: dict[Future[ImportOutcome], _Name] = {}
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
                    self._settle()
            except KeyboardInterrupt:
                is_interrupted = True
                self._stop(pool)
                self._settle()
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
        """Drop what is being received, and wait for what is being published."""
        self._is_stopping.set()
        self._source.close()
        pool.shutdown(cancel_futures=True)

    def _fill(self, pool: ThreadPoolExecutor, jobs: int) -> bool:
        """Begin as much as may run at the same time. Whether anything is under way.

        Files come before names, so that no more pages are known than are worked on.
        """
        while len(self._looking_up) + len(self._receiving) < jobs and (self._wishes or self._names):
            if self._wishes:
                name, wish = self._wishes.popleft()
                self._receiving[pool.submit(self._received, wish)] = name
            else:
                self._looking_up.add(pool.submit(self._looked_up, self._names.popleft()))
        return bool(self._looking_up or self._receiving)

    def _settle(self) -> None:
        """Tell what has come out; raises what a thread raised that is no outcome."""
        for lookup in [lookup for lookup in self._looking_up if lookup.done()]:
            self._looking_up.remove(lookup)
            if not _has_ended_early(lookup):
                self._note_name(lookup.result())
        for reception in [reception for reception in self._receiving if reception.done()]:
            name = self._receiving.pop(reception)
            if not _has_ended_early(reception):
                self._note(reception.result(), name)
                self._finish(name)

    def _note_name(self, found: _Name | ImportOutcome) -> None:
        if isinstance(found, ImportOutcome):
            self._note(found)
            return
        self._wishes.extend((found, wish) for wish in found.wishes)
        for outcome in found.outcomes:
            self._note(outcome, found)
        self._finish(found)

    def _note(self, outcome: ImportOutcome, name: _Name | None = None) -> None:
        self._counts[outcome.result] += 1
        self._size_bytes += outcome.size_bytes
        if name is not None:
            name.told += 1
            name.has_failed |= outcome.result is ImportResult.FAILED
        remaining = len(self._wishes) + len(self._names) + len(self._looking_up) + len(self._receiving)
        self._tell(outcome, remaining)

    def _finish(self, name: _Name) -> None:
        """Once all files of a name are here, say of it what the source says; archived, it would take no more."""
        if name.is_finished and not (name.has_failed or name.wanted.versions):
            _keep_status(name.wanted.name, name.page, self._destination)

    def _looked_up(self, name: Selection) -> _Name | ImportOutcome:
        try:
            return _look_up(name, self._source, self._destination)
        except SourceError as error:
            return self._failed(name.name, error)

    def _received(self, wish: _Wish) -> ImportOutcome:
        try:
            return _receive(wish, self._source, self._destination, self._is_stopping)
        except SourceError as error:
            return self._failed(wish.file.filename, error)
        except (BadRequest, Forbidden, InvalidParameter) as refusal:
            return ImportOutcome(ImportResult.REFUSED, wish.file.filename, refusal.reason)

    def _failed(self, subject: str, error: SourceError) -> ImportOutcome:
        if self._is_stopping.is_set():  # the source was closed, and that is why
            raise _Interrupted from error
        return ImportOutcome(ImportResult.FAILED, subject, error.sentence)


def _has_ended_early(future: Future[ImportOutcome] | Future[_Name | ImportOutcome]) -> bool:
    return future.cancelled() or isinstance(future.exception(), _Interrupted)


def _keep_status(name: NormalizedName, page: SourcePage, destination: Destination) -> None:
    """Say of a name that the project holds what the source says, unless something else is said of it here."""
    if page.status not in set(NameStatus) - {NameStatus.ACTIVE}:
        return
    with destination.session():
        project = _project(destination)
        try:
            said = package_name(project, name)
        except NotFound:  # of a quarantined name no files were offered
            return
        if said.status is NameStatus.ACTIVE and not said.reason:
            status = NameStatus(page.status)
            releases.set_name_status(project, name, status, page.status_reason, by=destination.principal)


# What is to be received -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Held:
    """A file that the project has."""

    filename: str
    version: str
    sha256: str
    md5: str
    yanked_reason: str | None


def _look_up(name: Selection, source: Source, destination: Destination) -> _Name:
    """:raises SourceError: the source does not tell which files there are."""
    page = source.page(name.name)
    with destination.session():
        held = {file.filename: file for file in _held_files(name.name, destination.project_id)}
    stopped = _stopped_versions(held.values(), page)
    outcomes, wishes, missing = [], [], set(name.versions)
    for file in page.files:
        parsed = _parsed(file, name)
        if isinstance(parsed, ImportOutcome):
            outcomes.append(parsed)
        elif not name.versions or parsed.version in name.versions:
            missing.discard(parsed.version)
            known = _known(file, held.get(file.filename), source, destination.max_size_bytes)
            if known is not None:
                outcomes.append(known)
            else:
                yanked_reason = stopped.get(parsed.version) if file.yanked_reason is None else file.yanked_reason
                wishes.append(_Wish(file, parsed, yanked_reason))
    for version in sorted(missing):
        outcomes.append(
            ImportOutcome(ImportResult.FAILED, f"{name.name}=={version}", "the source has no file of this version")
        )
    return _Name(name, page, tuple(outcomes), tuple(wishes))


def _held_files(name: NormalizedName, project_id: int) -> list[_Held]:
    rows = db.session.execute(
        select(
            PackageFile.filename, Package.version, PackageFile.sha256, PackageFile.md5, PackageFile.yanked_reason
        )
        .join(Package, Package.id == PackageFile.package_id)
        .where(
            Package.project_id == project_id,
            Package.normalized_name == name,
            PackageFile.status == FileStatus.DEFAULT,
        )
        .order_by(PackageFile.id)
    )  # fmt: skip
    return [_Held(*row) for row in rows]


def _stopped_versions(held: Iterable[_Held], page: SourcePage) -> Mapping[Version, str]:
    """The versions that are yanked as a whole here and not at the source, with the reasons.

    A file that is added to such a version is yanked with the others, as an upload to it is.
    """
    yanked_there = {file.filename for file in page.files if file.yanked_reason is not None}
    versions: dict[Version, list[_Held]] = {}
    for file in held:
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
            ImportResult.REFUSED, file.filename, f"its name is that of {parsed.normalized_name}, not {name.name}"
        )
    return parsed


def _known(file: SourceFile, held: _Held | None, source: Source, max_size_bytes: int) -> ImportOutcome | None:
    """What can be said of a file without receiving it."""
    if held is not None:
        try:
            digests = source.digests(file)
        except SourceError as error:
            return ImportOutcome(ImportResult.FAILED, file.filename, error.sentence)
        for algorithm in ("sha256", "md5"):
            if algorithm in digests:
                return _compared(file.filename, digests[algorithm], getattr(held, algorithm))
    if max_size_bytes and (file.size_bytes or 0) > max_size_bytes:
        return ImportOutcome(ImportResult.REFUSED, file.filename, TooLarge().reason)
    return None


def _compared(filename: str, there: str, here: str) -> ImportOutcome:
    if there == here:
        return ImportOutcome(ImportResult.PRESENT, filename)
    return ImportOutcome(
        ImportResult.CONFLICT, filename, f"the project has it with other bytes: {here}, the source has {there}"
    )


# Receiving and publishing ---------------------------------------------------------------------------------------


class _Bounded:
    """A staged file that takes no more than it may, and nothing any more once the import is to end."""

    def __init__(self, staged: StagedFile, max_size_bytes: int, is_stopping: Event) -> None:
        self._staged, self._max_size_bytes, self._is_stopping = staged, max_size_bytes, is_stopping

    @property
    def size_bytes(self) -> int:
        return self._staged.size_bytes

    def write(self, data: bytes) -> int:
        """:raises TooLarge: the file is."""
        if self._is_stopping.is_set():
            raise _Interrupted
        if self._max_size_bytes and self.size_bytes + len(data) > self._max_size_bytes:
            raise TooLarge
        return self._staged.write(data)


def _receive(wish: _Wish, source: Source, destination: Destination, is_stopping: Event) -> ImportOutcome:
    """:raises SourceError: the file cannot be received, or is not what the source says it is.

    :raises BadRequest: it is no distribution in order, or too large.
    :raises Forbidden: its package name takes no files here.
    """
    with closing(destination.storage.stage()) as staged:
        source.receive(wish.file, _Bounded(staged, destination.max_size_bytes, is_stopping))
        refuse_other_content(wish.file, staged)
        with destination.session():
            return _publish(wish, staged, destination)


def refuse_other_content(file: SourceFile, staged: StagedFile) -> None:
    """:raises SourceError: the content is not that of which the source gives size and digests."""
    if file.size_bytes not in (None, staged.size_bytes):
        raise SourceError(f"{staged.size_bytes} bytes were received, the source has {file.size_bytes}")
    digests = file.digests
    for algorithm in ["sha256"] if "sha256" in digests else digests:
        computed = _digest(staged, algorithm)
        if digests[algorithm] != computed:
            raise SourceError(
                f"the bytes received have the {algorithm} {computed}, the source says {digests[algorithm]}"
            )


def _digest(staged: StagedFile, algorithm: str) -> str:
    if algorithm in ("sha256", "md5"):
        digest: str = getattr(staged, algorithm)
        return digest
    staged.seek(0)
    return hashlib.file_digest(staged.file, algorithm).hexdigest()  # type: ignore[arg-type]


def _publish(wish: _Wish, staged: StagedFile, destination: Destination) -> ImportOutcome:
    file, now = wish.file, utcnow()
    published_at = min(file.uploaded_at or now, now)
    upload = Upload(
        wish.parsed.normalized_name, str(wish.parsed.version), file.filename, staged, fields=None,
        origin=Origin(published_at, wish.yanked_reason),
    )  # fmt: skip
    try:
        published = publishing.publish(
            upload, project=_project(destination), principal=destination.principal, storage=destination.storage,
            max_size_bytes=destination.max_size_bytes, now=now,
        )  # fmt: skip
    except DuplicateFile:
        return _compared(file.filename, staged.sha256, _sha256_held(file.filename, destination))
    if not published.is_new:
        return ImportOutcome(ImportResult.PRESENT, file.filename)
    return ImportOutcome(ImportResult.IMPORTED, file.filename, size_bytes=staged.size_bytes)


def _sha256_held(filename: str, destination: Destination) -> str:
    held = db.session.scalar(
        select(PackageFile.sha256).where(
            PackageFile.project_id == destination.project_id,
            PackageFile.filename == filename,
            PackageFile.status == FileStatus.DEFAULT,
        )
    )
    return held or "deleted meanwhile"
