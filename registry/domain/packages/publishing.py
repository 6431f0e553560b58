"""Publishing package files, as a sequence of named steps."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from datetime import datetime

from packaging.utils import canonicalize_name
from packaging.version import Version
from sqlalchemy import bindparam, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm.exc import ObjectDeletedError

from registry.database import AdvisoryLock, db, hold, objects_removable, transaction
from registry.domain import audit, namespaces
from registry.domain.access import Principal
from registry.domain.distributions import core_metadata, inspection
from registry.domain.distributions.filenames import is_valid_name
from registry.domain.distributions.inspection import Distribution
from registry.domain.packages import names, usage
from registry.domain.packages.names import is_valid_version
from registry.domain.packages.protection import refuse_protected
from registry.errors import (
    BadRequest,
    ClosedPackageName,
    Code,
    DuplicateFile,
    InvalidDistribution,
    InvalidParameter,
    Problem,
    RecordNotFound,
    RegistryError,
    TooLarge,
    Unavailable,
)
from registry.models import CLOSED, FileStatus, Package, PackageFile, PackageStatus, Project
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
REPETITIONS = 3  # what is in the way of an upload may be deleted, and be published once more


@dataclass(frozen=True)
class Origin:
    """Attributes of a file in another index that an import keeps.

    :ivar yanked_reason: ``None`` if it is not yanked, even if its version is yanked here.
    """

    published_at: datetime
    yanked_reason: str | None


# The statements of every upload are built once, as building a statement takes as long as executing it.
_LIVE_FILE = select(PackageFile).where(
    PackageFile.project_id == bindparam("project_id"),
    PackageFile.filename == bindparam("filename"),
    PackageFile.status == FileStatus.DEFAULT,
)
_LIVE_PACKAGE = (
    select(Package)
    .where(
        Package.project_id == bindparam("project_id"),
        Package.name == bindparam("name"),
        Package.version == bindparam("version"),
        Package.status != PackageStatus.PENDING_DESTRUCTION,
    )
    .with_for_update()  # waits for a concurrent deletion, after which a new package is created
)
_YANKED_REASONS = (
    select(PackageFile.yanked_reason)
    .join(Package, Package.id == PackageFile.package_id)
    .where(
        Package.project_id == bindparam("project_id"),
        Package.normalized_name == bindparam("name"),
        Package.version == bindparam("version"),
        PackageFile.status == FileStatus.DEFAULT,
    )
    .order_by(PackageFile.id.desc())
)


@dataclass(frozen=True)
class Upload:
    """A file uploaded by a client or imported from another index. Missing digests are ``""``.

    :ivar fields: the descriptive form fields by column name; with ``None``, they are read from the file's metadata,
        as are the spellings of name and version.
    :ivar origin: only for imported files.
    """

    name: str
    version: str
    filename: str
    content: StagedFile
    fields: dict[str, str] | None
    sha256: str = ""
    md5: str = ""
    blake2b_256: str = ""
    origin: Origin | None = None


@dataclass(frozen=True)
class Publication:
    """A published file, and whether it is new in its project."""

    file: PackageFile
    is_new: bool


def publish(
    upload: Upload, *, project: Project, principal: Principal, storage: Storage, max_size_bytes: int, now: datetime
) -> Publication:
    """Publish a file; nothing of a refused file is stored.

    If the project accepts identical uploads, uploading an existing file again succeeds without changes.

    :param max_size_bytes: maximum file size; 0 is unlimited.
    :raises TooLarge: the file exceeds the maximum size.
    :raises ProtectedPackage: a protection rule requires a higher role.
    :raises ClosedPackageName: the package name is archived or quarantined.
    :raises DuplicateFile: the project already has a file of this name.
    :raises StorageLimitReached: the storage limit of the project or an ancestor would be exceeded.
    :raises ValidationFailed: a field, a digest, or the file itself is invalid; see the message.
    :raises RecordNotFound: the project or user was deleted in the meantime.

    GitLab, "Publish a PyPI package", except that the file is inspected and its digests are verified.
    """
    refuse_unwanted(upload, project, principal, max_size_bytes)
    standing = identical_file(upload, project)
    if standing is not None:
        return Publication(standing, is_new=False)
    refuse_published(project, upload.filename)
    usage.refuse_growth(usage.limits_on(project.id), upload.content.size_bytes)
    distribution = accepted(upload)
    if upload.fields is None:
        upload = described_by_itself(upload, distribution)
    upload.content.filename = upload.filename
    with closing(storage.stage()) as document:
        document.write(distribution.core_metadata)
        try:
            _store((upload.content, document), storage)  # objects before rows, so that a crash leaves no broken link
            file = _record(upload, distribution, document, project, principal, storage, now)
        except RegistryError as refusal:
            _discard((upload.content, document), storage)
            # A concurrent upload can have published the same file first.
            standing = identical_file(upload, project) if isinstance(refusal, DuplicateFile) else None
            if standing is None:
                raise
            return Publication(standing, is_new=False)
    return Publication(file, is_new=True)


def validate(upload: Upload, *, project: Project, principal: Principal, max_size_bytes: int) -> None:
    """Check an upload without storing it; raises the errors of ``publish``."""
    refuse_unwanted(upload, project, principal, max_size_bytes)
    if identical_file(upload, project) is None:
        refuse_published(project, upload.filename)
        usage.refuse_growth(usage.limits_on(project.id), upload.content.size_bytes)
        accepted(upload)


def refuse_unwanted(upload: Upload, project: Project, principal: Principal, max_size_bytes: int) -> None:
    """Refuse an upload for reasons that apply to any file, before the file is inspected.

    :raises TooLarge: the file exceeds the maximum size.
    :raises ProtectedPackage: a protection rule requires a higher role.
    :raises ClosedPackageName: the package name is archived or quarantined.
    :raises BadRequest: a digest does not match the received content, so inspecting it would not help.
    """
    refuse_too_large(upload, max_size_bytes)
    refuse_protected(project, upload.name, principal)
    refuse_closed_name(project, upload.name)
    refuse_wrong_digests(upload)


def refuse_too_large(upload: Upload, max_size_bytes: int) -> None:
    """Refuse a file that exceeds the maximum size, or is empty.

    :raises TooLarge: the file is larger than the maximum size.
    :raises InvalidParameter: the file is empty.
    """
    if max_size_bytes and upload.content.size_bytes > max_size_bytes:
        raise TooLarge
    if upload.content.size_bytes == 0:
        raise InvalidParameter("content is invalid")


def refuse_closed_name(project: Project, name: str) -> None:
    """Refuse uploads to a closed package name, whatever its spelling.

    :raises ClosedPackageName: the name is archived or quarantined in this project.
    """
    name_status = names.name_status(project, name)
    if name_status.status in CLOSED:
        raise ClosedPackageName(name, name_status.status, name_status.reason)


def accepted(upload: Upload) -> Distribution:
    """Inspect the file, compare it with the form, if there is one, and return the distribution.

    :raises InvalidDistribution: lists all problems of form and file.
    """
    examination = inspection.examine(upload.content.file, upload.filename)
    distribution = examination.distribution
    claims = () if upload.fields is None else (*invalid_claims(upload), *disagreements(upload, distribution))
    problems = [*claims, *examination.problems]
    if problems or distribution is None:
        raise InvalidDistribution(*problems)
    return distribution


def described_by_itself(upload: Upload, distribution: Distribution) -> Upload:
    """Return the upload with the form fields that a client would derive from the metadata of the file."""
    fields = core_metadata.read(distribution.core_metadata).fields
    description = core_metadata.description(distribution.core_metadata)
    form = {
        "metadata_version": distribution.metadata_version,
        "required_python": distribution.requires_python,
        "summary": fields.get("summary", ""),
        "keywords": ",".join(fields.get("keywords", [])),
        "author_email": fields.get("author_email", ""),
        "description": description.text,
        "description_content_type": description.content_type,
    }
    return replace(upload, name=distribution.name, version=distribution.version, fields=form)


def invalid_claims(upload: Upload) -> Iterator[Problem]:
    """Yield the problems of form fields that are invalid for any package, with GitLab's messages."""
    if not is_valid_version(upload.version):
        yield Problem("version", upload.version, "a version as in PEP 440", "Version is invalid")
    if not is_valid_name(upload.name):
        expected = "up to 255 ASCII letters, digits and . _ - between letters or digits"
        yield Problem("name", upload.name, expected, "Name is invalid")


def disagreements(upload: Upload, distribution: Distribution | None) -> Iterator[Problem]:
    """Yield the differences in name and version between the form and the metadata of the file.

    Other fields are not compared: clients fill them in differently, and the metadata of the file takes precedence.
    """
    if distribution is None:
        return
    if is_valid_name(upload.name) and canonicalize_name(upload.name) != distribution.normalized_name:
        yield Problem("name", upload.name, f"{distribution.name} as in the file's metadata")
    if is_valid_version(upload.version) and Version(upload.version) != Version(distribution.version):
        yield Problem("version", upload.version, f"{distribution.version} as in the file's metadata")


def refuse_published(project: Project, filename: str) -> None:
    """Refuse a file name that exists, as an early check; the unique constraint is authoritative.

    :raises DuplicateFile: the project already has a file of this name.
    """
    if _live_file(project, filename) is not None:
        raise DuplicateFile(filename)


def identical_file(upload: Upload, project: Project) -> PackageFile | None:
    """Return the existing file of this name if it is identical and the project accepts identical uploads."""
    if not project.identical_upload_accepted:
        return None
    file = _live_file(project, upload.filename)
    return file if file is not None and file.sha256 == upload.content.sha256 else None


def refuse_wrong_digests(upload: Upload) -> None:
    """Verify the digests that the client sent.

    :raises BadRequest: a digest does not match the received content.
    """
    for name, sent, computed in (
        ("sha256_digest", upload.sha256, upload.content.sha256),
        ("md5_digest", upload.md5, upload.content.md5),
        ("blake2_256_digest", upload.blake2b_256, upload.content.blake2b_256),
    ):
        if sent and not hmac.compare_digest(sent.lower().encode(), computed.encode()):
            raise BadRequest(Code.WRONG_DIGEST, name=name, computed=computed)


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
            if removable and session.scalar(select(PackageFile.id).where(is_used).limit(1)) is None:
                storage.delete(object_key(sha256))


def _record(
    upload: Upload,
    distribution: Distribution,
    document: StagedFile,
    project: Project,
    principal: Principal,
    storage: Storage,
    now: datetime,
) -> PackageFile:
    try:
        for _ in range(REPETITIONS):
            with suppress(IntegrityError):
                return _add(upload, distribution, document, project, principal, storage, now)
            # Another upload was faster: of this file, or of another one of the same new version.
            refuse_published(project, upload.filename)
        return _add(upload, distribution, document, project, principal, storage, now)
    except ObjectDeletedError as error:  # the project or the user, read again after the first attempt
        raise RecordNotFound from error


def _add(
    upload: Upload,
    distribution: Distribution,
    document: StagedFile,
    project: Project,
    principal: Principal,
    storage: Storage,
    now: datetime,
) -> PackageFile:
    """Insert the rows of a stored file.

    Shares ``AdvisoryLock.OBJECTS``, so that no object is removed in the meantime, and then ``AdvisoryLock.TREE``, so
    that neither the project nor the user is deleted.
    """
    with transaction(lock=AdvisoryLock.OBJECTS, shared=True) as session:
        # A cleanup can have removed the objects, as no row referred to them; none runs while the lock is held.
        _store((upload.content, document), storage)
        hold(AdvisoryLock.TREE, shared=True)  # not earlier, as the store can be slow
        yanked_reason = upload.origin.yanked_reason if upload.origin else _standing_yank(project, upload)
        package = _package(upload, project, principal, now)
        file = PackageFile(
            package=package,
            project_id=project.id,
            filename=upload.filename,
            size_bytes=upload.content.size_bytes,
            sha256=upload.content.sha256,
            md5=upload.content.md5,
            blake2b_256=upload.content.blake2b_256,
            requires_python=distribution.requires_python,
            core_metadata_sha256=document.sha256,
            core_metadata_is_final=distribution.core_metadata_is_final,
            yanked_reason=yanked_reason,
            creator_id=principal.user_id,
            job_id=None if principal.job is None else principal.job.id,
            created_at=upload.origin.published_at if upload.origin else now,
        )
        session.add(file)
        usage.note(file)
        audit.record(
            principal,
            "package_published",
            f"{package.name} {package.version}",
            project,
            filename=file.filename,
            sha256=file.sha256,
            size_bytes=file.size_bytes,
        )
        namespaces.touch(project.id)
    return file


def _package(upload: Upload, project: Project, principal: Principal, now: datetime) -> Package:
    """Create or update the package of this name and version with the descriptive fields of the upload."""
    session, created_at = db.session, upload.origin.published_at if upload.origin else now
    asked = {"project_id": project.id, "name": upload.name, "version": upload.version}
    package = session.scalar(_LIVE_PACKAGE, asked)
    if package is None:
        package = Package(
            project_id=project.id,
            name=upload.name,
            version=upload.version,
            normalized_name=canonicalize_name(upload.name),
            creator_id=principal.user_id,
            created_at=created_at,
        )
        session.add(package)
    package.created_at = min(package.created_at, created_at)
    for column, length in FIELD_LENGTHS.items():
        setattr(package, column, truncated((upload.fields or {}).get(column, ""), length))
    package.updated_at = now
    return package


def _standing_yank(project: Project, upload: Upload) -> str | None:
    """Return the reason for which the version of the upload is yanked as a whole, whatever the spelling of its name.

    New files of a yanked version are yanked, too, as unyanking requires a higher role than publishing.
    """
    asked = {"project_id": project.id, "name": canonicalize_name(upload.name), "version": upload.version}
    reasons = db.session.scalars(_YANKED_REASONS, asked).all()
    return reasons[0] if reasons and None not in reasons else None


def truncated(text: str, length: int) -> str:
    """Return a text without NUL, which columns cannot store, shortened to ``length`` with three dots if necessary."""
    text = text.replace("\x00", "")
    return text if len(text) <= length else text[: length - 3] + "..."


def _live_file(project: Project, filename: str) -> PackageFile | None:
    return db.session.scalar(_LIVE_FILE, {"project_id": project.id, "filename": filename})
