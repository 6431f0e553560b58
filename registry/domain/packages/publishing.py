"""Publishing package files, as a sequence of named steps: storing and recording an upload that is accepted."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from packaging.utils import canonicalize_name
from sqlalchemy import ColumnElement, bindparam, case, exists, insert, not_, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm.exc import ObjectDeletedError

from registry.database import AdvisoryLock, Statement, db, execute, hold, objects_removable, transaction
from registry.domain import audit, namespaces
from registry.domain.access import Principal, accepting
from registry.domain.advisories import marks
from registry.domain.distributions import inspection
from registry.domain.distributions.core_metadata import Description
from registry.domain.distributions.inspection import Distribution
from registry.domain.packages import answers, name_index, requirements, reserved, summaries, usage
from registry.domain.packages.names import version_rank
from registry.domain.packages.requirements import Requirement
from registry.domain.packages.uploads import (
    IS_LIVE_FILE,
    IS_LIVE_PACKAGE,
    Examine,
    PublishedFile,
    Standing,
    Upload,
    admitted,
    described_by_itself,
    inspected,
    without_nul,
)
from registry.domain.packages.usage import Limit
from registry.errors import DuplicateFile, Problem, RecordNotFound, RegistryError, Unavailable
from registry.models import (
    AffectedPackage,
    CachedFile,
    Package,
    PackageFile,
    Project,
    ReservedName,
    is_kept,
)
from registry.storage import StagedFile, Storage, object_key

# Maximum lengths of the descriptive fields, in characters (GitLab, PyPI upload).
FIELD_LENGTHS = {
    "metadata_version": 16,
    "required_python": 255,
    "summary": 255,
    "keywords": 1024,
    "author_email": 2048,
    "description": 4000,
    "description_content_type": 128,
}
REPETITIONS = 3  # the file that an upload conflicts with can be deleted and published again


# The statements of every upload are made once, and past the ORM: to make one takes as long as to execute it, and the
# records are only inserted.
_packages, _files = Package.__table__, PackageFile.__table__
_held = ReservedName.__table__.alias()
_LIVE_FILE = select(_files.c.id, _files.c.sha256).where(IS_LIVE_FILE)
_LIVE_PACKAGE = (
    select(_packages.c.id, _packages.c.created_at, _packages.c.summary, _packages.c.requirements_sha256)
    .where(IS_LIVE_PACKAGE)
    # Waits for a concurrent deletion, after which a new package is created, but does not delay a row of the name that
    # refers to this version.
    .with_for_update(key_share=True)
)
_has_advisories = exists().where(AffectedPackage.normalized_name == bindparam("of_name"))
_is_still_reserved = exists().where(
    _held.c.top_id == reserved.top_of_project("of_project"), _held.c.normalized_name == bindparam("of_name")
)
_ADD_PACKAGE = Statement(
    insert(_packages).returning(
        _packages.c.id, _has_advisories.label("has_advisories"), _is_still_reserved.label("is_reserved")
    )
)
_CHANGE_PACKAGE = update(_packages).where(_packages.c.id == bindparam("package_id"))
_new_file = insert(_files).returning(_files.c.id, _files.c.yanked_reason)
_ADD_FILE = Statement(_new_file)


def _standing_yank() -> ColumnElement[str | None]:
    """Return the reason for which a version is yanked as a whole, whatever the spelling of its name, as an expression.

    New files of a yanked version are yanked, too, as unyanking requires a higher role than publishing.
    """
    files, packages = _files.alias(), _packages.alias()
    reasons = (
        select(files.c.yanked_reason)
        .join(packages, packages.c.id == files.c.package_id)
        .where(
            packages.c.project_id == bindparam("of_project"),
            packages.c.normalized_name == bindparam("of_name"),
            packages.c.version == bindparam("of_version"),
            is_kept(files),
        )
    )
    is_offered = reasons.where(files.c.yanked_reason.is_(None)).exists()
    return case((not_(is_offered), reasons.order_by(files.c.id.desc()).limit(1).scalar_subquery()))


_ADD_FILE_YANKED_LIKE_ITS_VERSION = Statement(_new_file.values(yanked_reason=_standing_yank()))


@dataclass(frozen=True)
class Publication:
    """A published file, and whether it is new in its project.

    :ivar remarks: the problems with which the file was accepted; empty if it is not new.
    :ivar description: that of the file; ``None`` if the file is not new.
    """

    file_id: int
    is_new: bool
    remarks: tuple[Problem, ...] = ()
    description: Description | None = None

    @property
    def file(self) -> PackageFile:
        """The record, read from the database."""
        return db.session.get_one(PackageFile, self.file_id)


@dataclass(frozen=True)
class _Accepted:
    """An upload that passed all checks, on its way into the store and the database.

    :ivar remarks: the problems with which it is accepted.
    :ivar document: the core metadata of the file.
    :ivar requirements: those in it.
    :ivar is_of_new_version: whether the project had no file of the version when the upload began.
    :ivar standing: as it was then.
    """

    upload: Upload
    distribution: Distribution
    remarks: tuple[Problem, ...]
    document: StagedFile
    requirements: tuple[Requirement, ...]
    project: Project
    principal: Principal
    now: datetime
    is_of_new_version: bool
    standing: Standing

    @property
    def contents(self) -> tuple[StagedFile, StagedFile]:
        return self.upload.content, self.document

    @property
    def published_at(self) -> datetime:
        return self.now if self.upload.origin is None else self.upload.origin.published_at


def publish(
    upload: Upload, *, project: Project, principal: Principal, storage: Storage, max_size_bytes: int, now: datetime,
    limits: Collection[Limit] | None = None, examine: Examine = inspection.examine,
) -> Publication:  # fmt: skip
    """Publish a file; nothing of a refused file is stored.

    If the project accepts identical uploads, uploading an existing file again succeeds without changes.

    :param max_size_bytes: maximum file size; 0 is unlimited.
    :param limits: the storage limits of the project, if they were read already.
    :raises TooLarge: the file exceeds the maximum size.
    :raises Forbidden: only trusted publishers can publish here, or this one cannot publish the name.
    :raises ProtectedPackage: a protection rule requires a higher role.
    :raises ClosedPackageName: the package name is archived or quarantined.
    :raises ReservedPackageName: the instance has reserved the name for other groups.
    :raises DuplicateFile: the project already has a file of this name.
    :raises StorageLimitReached: the storage limit of the project or an ancestor would be exceeded.
    :raises ValidationFailed: a field, a digest, or the file itself is invalid; see the message.
    :raises RecordNotFound: the project or user was deleted in the meantime.
    :raises Unavailable: the store is, or too many files are being examined.

    GitLab, "Publish a PyPI package", except that the file is inspected and its digests are verified.
    """
    standing = admitted(upload, project, principal, max_size_bytes)
    if standing.file is not None:
        return _repeated(upload, standing.file, project)
    distribution, remarks = inspected(upload, standing, project, limits=limits, examine=examine)
    if upload.fields is None:
        upload = described_by_itself(upload, distribution)
    upload.content.filename = upload.filename
    with closing(storage.stage()) as document:
        document.write(distribution.core_metadata)
        publication = _Accepted(
            upload, distribution, remarks, document, requirements.read(distribution.requires_dist), project, principal,
            now, not standing.has_package, standing,
        )  # fmt: skip
        try:
            _store(publication.contents, storage)  # objects before rows, so that a crash leaves no broken link
            file_id = _record(publication, storage)
            return Publication(file_id, is_new=True, remarks=remarks, description=distribution.description)
        except RegistryError as refusal:
            _discard(publication.contents, storage)
            # A concurrent upload can have published the same file first.
            file = _live_file(project, upload.filename) if isinstance(refusal, DuplicateFile) else None
            if file is None or not _is_repetition(upload, file, project):
                raise
            return Publication(file.id, is_new=False)


def validate(
    upload: Upload, *, project: Project, principal: Principal, max_size_bytes: int,
    limits: Collection[Limit] | None = None, examine: Examine = inspection.examine,
) -> tuple[Problem, ...]:  # fmt: skip
    """Check an upload without storing it, and return the remarks; parameters and errors are those of ``publish``."""
    standing = admitted(upload, project, principal, max_size_bytes)
    if standing.file is not None:
        return _repeated(upload, standing.file, project).remarks
    _, remarks = inspected(upload, standing, project, limits=limits, examine=examine)
    return remarks


def _repeated(upload: Upload, file: PublishedFile, project: Project) -> Publication:
    """Return the publication of a file that exists, as an early check; the unique constraint is authoritative.

    :raises DuplicateFile: the existing file is another one, or the project accepts no file again.
    """
    if _is_repetition(upload, file, project):
        return Publication(file.id, is_new=False)
    raise DuplicateFile(upload.filename)


def _is_repetition(upload: Upload, file: PublishedFile, project: Project) -> bool:
    return bool(project.identical_upload_accepted) and file.sha256 == upload.content.sha256


def _store(contents: Iterable[StagedFile], storage: Storage) -> None:
    missing = {object_key(staged.sha256): staged for staged in contents}
    missing = {key: staged for key, staged in missing.items() if not storage.exists(key)}
    if missing:
        storage.put_all(missing)


def _discard(contents: Iterable[StagedFile], storage: Storage) -> None:
    """Remove the objects of a refused upload, unless a file refers to them.

    Takes ``AdvisoryLock.OBJECTS``, so that no file is recorded meanwhile. If the store is unavailable, or a backup that
    can need the objects is running, they are left to the next cleanup.
    """
    with (
        suppress(Unavailable),
        objects_removable() as removable,
        transaction(lock=AdvisoryLock.OBJECTS, changes_answers=False) as session,
    ):
        for sha256 in {staged.sha256 for staged in contents}:
            is_used = or_(PackageFile.sha256 == sha256, PackageFile.core_metadata_sha256 == sha256)
            is_free = session.scalar(select(PackageFile.id).where(is_used).limit(1)) is None
            if removable and is_free and session.get(CachedFile, sha256) is None:
                storage.delete(object_key(sha256))


def _record(publication: _Accepted, storage: Storage) -> int:
    upload, project = publication.upload, publication.project
    try:
        for _ in range(REPETITIONS):
            with suppress(IntegrityError):
                return _add(publication, storage)
            # Another upload was faster: of this file, or of another one of the same new version.
            if _live_file(project, upload.filename) is not None:
                raise DuplicateFile(upload.filename)
            publication = replace(publication, is_of_new_version=False)
        return _add(publication, storage)
    except ObjectDeletedError as error:  # the project or the user, read again after the first attempt
        raise RecordNotFound from error


def _add(publication: _Accepted, storage: Storage) -> int:
    """Insert the rows of a stored file, and return its ID.

    Shares ``AdvisoryLock.OBJECTS``, so that no object is removed in the meantime, and then ``AdvisoryLock.TREE``, so
    that neither the project nor the user is deleted.
    """
    upload, project = publication.upload, publication.project
    with transaction(lock=AdvisoryLock.OBJECTS, shared=True, changes_answers=False):
        # A cleanup can have removed the objects, as no row referred to them; none runs while the lock is held.
        _store(publication.contents, storage)
        hold(AdvisoryLock.TREE, shared=True)  # not earlier, as the store can be slow
        answers.note_change(canonicalize_name(upload.name))
        _reserve_name(publication)
        package = _package(publication)
        file_id = _add_file(publication, package)
        usage.count(project.id, 1, upload.content.size_bytes)
        audit.record(
            publication.principal,
            "package_published",
            f"{upload.name} {upload.version}",
            project,
            filename=upload.filename,
            sha256=upload.content.sha256,
            size_bytes=upload.content.size_bytes,
            **({} if upload.origin is None else upload.origin.details),
        )
        namespaces.touch(project.id)
    return file_id


def _reserve_name(publication: _Accepted) -> None:
    """Reserve the name unless it is; while the project has packages of it, it is not released.

    Until the transaction took the lock, it could be released together with the last package: see ``_package``.

    The first name of a project changes what anonymous callers get for all unknown names around it
    (``index.refuse_where_names_are_hidden``). The transaction holds ``AdvisoryLock.TREE``.
    """
    standing, name = publication.standing, canonicalize_name(publication.upload.name)
    if not (standing.has_name and standing.is_reserved):
        with transaction(changes_answers=not (standing.is_reserved or standing.holds_names)):
            reserved.reserve(publication.project.id, name)


class _PublishedPackage(NamedTuple):
    id: int
    created_at: datetime
    is_new: bool


def _package(publication: _Accepted) -> _PublishedPackage:
    """Create or update the package of this name and version with the descriptive fields of the upload.

    The caller has taken the lock.
    """
    upload, project_id = publication.upload, publication.project.id
    key = {"project_id": project_id, "name": upload.name, "version": upload.version}
    fields = {
        column: truncated((upload.fields or {}).get(column, ""), length) for column, length in FIELD_LENGTHS.items()
    }
    times = {"created_at": publication.published_at, "updated_at": publication.now}
    read_from = {"requirements_sha256": publication.document.sha256}
    package = None if publication.is_of_new_version else execute(_LIVE_PACKAGE, key).one_or_none()
    if package is not None:
        if publication.published_at < package.created_at:
            times["created_at"] = publication.published_at
            summaries.note_changed(project_id, canonicalize_name(upload.name))
        else:
            times["created_at"] = package.created_at
        execute(_CHANGE_PACKAGE, {"package_id": package.id, **read_from, **fields, **times})
        if package.requirements_sha256 != publication.document.sha256:
            requirements.replace(package.id, publication.requirements)
        if package.summary != fields["summary"]:
            name_index.note_described(
                project_id, canonicalize_name(upload.name), fields["summary"], times["created_at"]
            )
        return _PublishedPackage(package.id, times["created_at"], is_new=False)
    normalized_name = canonicalize_name(upload.name)
    answers.note_added(
        project_id, upload.name, normalized_name, fields["summary"], times["created_at"],
        is_first=not publication.standing.has_name,
    )  # fmt: skip
    created = {
        "normalized_name": normalized_name,
        "version_rank": version_rank(upload.version),
        "creator_id": publication.principal.user_id,
        **read_from,
    }
    of = {"of_name": normalized_name, "of_project": project_id}
    (added,) = _ADD_PACKAGE.execute({**key, **created, **fields, **times, **of}).rows
    requirements.add(added.id, publication.requirements)
    if not added.is_reserved and publication.standing.is_reserved:  # released after it was examined
        with transaction():
            reserved.reserve(project_id, normalized_name)
    if added.has_advisories:
        marks.mark_new(added.id, normalized_name, upload.version)
    return _PublishedPackage(added.id, times["created_at"], is_new=True)


def _add_file(publication: _Accepted, package: _PublishedPackage) -> int:
    upload, content, principal = publication.upload, publication.upload.content, publication.principal
    row = {
        "package_id": package.id,
        "project_id": publication.project.id,
        "filename": upload.filename,
        "size_bytes": content.size_bytes,
        "sha256": content.sha256,
        "md5": content.md5,
        "blake2b_256": content.blake2b_256,
        "requires_python": publication.distribution.requires_python,
        "core_metadata_sha256": publication.document.sha256,
        "core_metadata_is_final": publication.distribution.core_metadata_is_final,
        "remarks": [problem.as_json() for problem in publication.remarks] or None,
        "creator_id": principal.user_id,
        "job_id": None if principal.job is None else principal.job.id,
        "created_at": publication.published_at,
    }
    if principal.publishing_token is not None:
        named = {name for each in accepting(principal, publication.project) for name in each.claims}
        row["trusted_run"] = principal.publishing_token.run(named).as_json()
    if upload.origin is not None:
        pipelines = [pipeline.as_json() for pipeline in upload.origin.pipelines]
        kept = {"yanked_reason": upload.origin.yanked_reason, "imported_pipelines": pipelines or None}
        added = _ADD_FILE.execute({**row, **kept})
    else:
        version = {
            "of_project": publication.project.id,
            "of_name": canonicalize_name(upload.name),
            "of_version": upload.version,
        }
        added = _ADD_FILE_YANKED_LIKE_ITS_VERSION.execute({**row, **version})
    (file,) = added.rows
    summaries.note_published(
        publication.project.id,
        canonicalize_name(upload.name),
        package_id=package.id,
        name=upload.name,
        version=upload.version,
        published_at=package.created_at,
        publisher_id=principal.user_id,
        size_bytes=content.size_bytes,
        is_new=package.is_new,
        is_yanked=file.yanked_reason is not None,
        has_remarks=bool(publication.remarks),
    )
    return int(file.id)


def truncated(text: str, length: int) -> str:
    """Return a text without NUL, which columns cannot store, shortened to ``length`` with three dots if necessary."""
    text = without_nul(text)
    return text if len(text) <= length else text[: length - 3] + "..."


def _live_file(project: Project, filename: str) -> PublishedFile | None:
    row = execute(_LIVE_FILE, {"project_id": project.id, "filename": filename}).one_or_none()
    return None if row is None else PublishedFile(row.id, row.sha256)
