"""Import of one package name: which of its files the project lacks, and the reception and publication of each."""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field
from threading import Event

from packaging.utils import NormalizedName
from packaging.version import Version
from sqlalchemy import bindparam, select

from registry.database import Reading, access_number, db, detach, utcnow
from registry.domain.access import Principal
from registry.domain.distributions import filenames
from registry.domain.distributions.filenames import ParsedFilename
from registry.domain.importing.selections import Selection
from registry.domain.importing.source import Source, SourceFile, SourcePage
from registry.domain.packages import publishing
from registry.domain.packages.uploads import Origin, Upload
from registry.errors import DuplicateFile, InvalidDistribution, NotFound, Problem, SourceError, TooLarge
from registry.models import FileStatus, Package, PackageFile, Project, is_kept
from registry.storage import StagedFile, Storage

# The digests that prove the content of a file; the others can be forged.
STRONG_DIGESTS = frozenset(("sha256", "sha384", "sha512", "sha3_256", "sha3_384", "sha3_512", "blake2b", "blake2s"))
UNVERIFIED = "the source states neither a SHA-256 digest nor a stronger one; --accept-unverified imports it anyway"


class ImportResult(enum.StrEnum):
    """The result of importing one file."""

    IMPORTED = "imported"
    PRESENT = "present"  # already exists with the same content
    REFUSED = "refused"  # an upload of the file would also be refused
    CONFLICT = "conflict"  # already exists with different content
    FAILED = "failed"  # not received, not with the size and digests that the source declares, or without a digest


@dataclass(frozen=True)
class ImportOutcome:
    """The result of importing one file, or of failing to look up one package.

    :ivar subject: the name of the file, or of the package if the failure concerns the entire package.
    :ivar size_bytes: size of the file if it was imported, otherwise 0.
    :ivar remarks: the problems with which it was imported.
    """

    result: ImportResult
    subject: str
    reason: str = ""
    size_bytes: int = 0
    remarks: tuple[Problem, ...] = ()


class KeptProject:
    """The project of an import, as read for a file before.

    It is read again only after a setting has changed, or who has access to what: to read it takes a tenth of the time
    that a small file does.
    """

    def __init__(self) -> None:
        self._last: tuple[tuple[int, int], Project] | None = None  # replaced as a whole, as threads share it

    def read(self, project_id: int) -> Project:
        """Return the project, which belongs to no session.

        :raises NotFound: it was deleted during the import.
        """
        state, last = (project_id, access_number()), self._last
        if last is not None and last[0] == state:
            return last[1]
        project = _read_project(project_id)
        if detach(project):
            self._last = state, project
        return project


@dataclass(frozen=True)
class Destination:
    """The project and the storage that receive the files.

    :ivar session: returns a context in which a thread has its own ``db.session``.
    :ivar max_size_bytes: maximum size of a file; 0 for no limit.
    :ivar accepts_unverified: whether to accept files of which a remote source declares no strong digest.
    :ivar kept: the project, once it is read.
    """

    project_id: int
    principal: Principal
    storage: Storage
    session: Callable[[], AbstractContextManager[object]]
    max_size_bytes: int = 0
    accepts_unverified: bool = False
    kept: KeptProject = field(default_factory=KeptProject, compare=False)


class Interrupted(Exception):
    """The import is being interrupted; a partially received file is discarded."""


@dataclass(frozen=True)
class PendingFile:
    """A file to receive; ``yanked_reason`` is the one to publish it with."""

    file: SourceFile
    parsed: ParsedFilename
    yanked_reason: str | None


@dataclass
class Lookup:
    """A package that was looked up in the source.

    :ivar outcomes: of the files that need not be received.
    :ivar pending: the files to receive.
    :ivar reported: number of files of both kinds whose outcome was reported.
    """

    selection: Selection
    page: SourcePage
    outcomes: tuple[ImportOutcome, ...]
    pending: tuple[PendingFile, ...]
    reported: int = 0
    has_failed: bool = False

    @property
    def is_finished(self) -> bool:
        return self.reported == len(self.outcomes) + len(self.pending)


def project_of(destination: Destination) -> Project:
    """Return the project.

    :raises NotFound: the project was deleted during the import.
    """
    return _read_project(destination.project_id)


def _read_project(project_id: int) -> Project:
    project = db.session.get(Project, project_id)
    if project is None:
        raise NotFound("Project")
    return project


@dataclass(frozen=True)
class _ExistingFile:
    """A file that the project already has."""

    filename: str
    version: str
    sha256: str
    md5: str
    yanked_reason: str | None


def look_up(selection: Selection, source: Source, destination: Destination) -> Lookup:
    """Look up the files of a package in the source and compare them with those of the project.

    :raises SourceError: the source does not list the files.
    """
    page = source.page(selection.name, selection.versions)
    with destination.session():
        existing = {file.filename: file for file in _existing_files(selection.name, destination.project_id)}
    yanked_versions = _yanked_versions(existing.values(), page)
    outcomes, pending, missing = _left_out(page, selection), [], set(selection.versions)
    listed: dict[str, SourceFile] = {}
    for file in page.files:
        parsed = _parsed(file, selection)
        if isinstance(parsed, ImportOutcome):
            outcomes.append(parsed)
        elif not selection.versions or parsed.version in selection.versions:
            missing.discard(parsed.version)
            first = listed.setdefault(file.filename, file)
            known = _outcome_of_repetition(file, first) or _outcome_without_receiving(
                file, existing.get(file.filename), source, destination
            )
            if known is not None:
                outcomes.append(known)
            else:
                yanked_reason = (
                    yanked_versions.get(parsed.version) if file.yanked_reason is None else file.yanked_reason
                )
                pending.append(PendingFile(file, parsed, yanked_reason))
    for version in sorted(missing):
        outcomes.append(
            ImportOutcome(ImportResult.FAILED, f"{selection.name}=={version}", "the source has no file of this version")
        )
    return Lookup(selection, page, tuple(outcomes), tuple(pending))


def _existing_files(name: NormalizedName, project_id: int) -> list[_ExistingFile]:
    rows = _EXISTING_FILES.rows({"project_id": project_id, "normalized_name": name})
    return [_ExistingFile(row.filename, row.version, row.sha256, row.md5, row.yanked_reason) for row in rows]


_packages, _files = Package.__table__, PackageFile.__table__
_EXISTING_FILES = Reading(
    select(_files.c.filename, _packages.c.version, _files.c.sha256, _files.c.md5, _files.c.yanked_reason)
    .join(_packages, _packages.c.id == _files.c.package_id)
    .where(
        _packages.c.project_id == bindparam("project_id"),
        _packages.c.normalized_name == bindparam("normalized_name"),
        is_kept(_files),
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


def _parsed(file: SourceFile, selection: Selection) -> ParsedFilename | ImportOutcome:
    try:
        parsed = filenames.parse_filename(file.filename)
    except InvalidDistribution as refusal:
        return ImportOutcome(ImportResult.REFUSED, file.filename, refusal.reason)
    if parsed.normalized_name != selection.name:
        reason = f"the file name belongs to {parsed.normalized_name}, not {selection.name or 'an invalid name'}"
        return ImportOutcome(ImportResult.REFUSED, file.filename, reason)
    return parsed


def _left_out(page: SourcePage, selection: Selection) -> list[ImportOutcome]:
    return [
        ImportOutcome(ImportResult.REFUSED, left_out.subject, left_out.reason)
        for left_out in page.left_out
        if not selection.versions or filenames.version(left_out.version) in selection.versions
    ]


def _outcome_of_repetition(file: SourceFile, first: SourceFile) -> ImportOutcome | None:
    """Return the outcome of a file whose name the source has listed before, if both have a known digest."""
    if file is first or not ("sha256" in file.digests and "sha256" in first.digests):
        return None
    if file.digests["sha256"] == first.digests["sha256"]:
        return ImportOutcome(ImportResult.PRESENT, file.filename)
    digests = f"{first.digests['sha256']} and {file.digests['sha256']}"
    return ImportOutcome(
        ImportResult.CONFLICT, file.filename, f"the source has different files of this name: {digests}"
    )


def _outcome_without_receiving(
    file: SourceFile, existing: _ExistingFile | None, source: Source, destination: Destination
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
    if not (source.is_local or destination.accepts_unverified or STRONG_DIGESTS & file.digests.keys()):
        return ImportOutcome(ImportResult.FAILED, file.filename, UNVERIFIED)
    if destination.max_size_bytes and (file.size_bytes or 0) > destination.max_size_bytes:
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
            raise Interrupted
        if self._max_size_bytes and self.size_bytes + len(data) > self._max_size_bytes:
            raise TooLarge
        return self._staged.write(data)


def receive(pending: PendingFile, source: Source, destination: Destination, is_stopping: Event) -> ImportOutcome:
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


def _publish(pending: PendingFile, staged: StagedFile, destination: Destination) -> ImportOutcome:
    file, now = pending.file, utcnow()
    published_at = min(file.uploaded_at or now, now)
    upload = Upload(
        pending.parsed.normalized_name, str(pending.parsed.version), file.filename, staged, fields=None,
        origin=Origin(published_at, pending.yanked_reason, file.pipelines),
    )  # fmt: skip
    try:
        published = publishing.publish(
            upload, project=destination.kept.read(destination.project_id), principal=destination.principal,
            storage=destination.storage, max_size_bytes=destination.max_size_bytes, now=now,
        )  # fmt: skip
    except DuplicateFile:
        return _compared(file.filename, staged.sha256, _existing_sha256(file.filename, destination))
    if not published.is_new:
        return ImportOutcome(ImportResult.PRESENT, file.filename)
    return ImportOutcome(ImportResult.IMPORTED, file.filename, size_bytes=staged.size_bytes, remarks=published.remarks)


def _existing_sha256(filename: str, destination: Destination) -> str:
    existing = db.session.scalar(
        select(PackageFile.sha256).where(
            PackageFile.project_id == destination.project_id,
            PackageFile.filename == filename,
            PackageFile.status == FileStatus.DEFAULT,
        )
    )
    return existing or "deleted in the meantime"
