"""Publishing package files, as a sequence of named steps."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import BinaryIO, NamedTuple

from packaging.utils import canonicalize_name
from packaging.version import Version
from sqlalchemy import ColumnElement, and_, bindparam, case, exists, insert, not_, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm.exc import ObjectDeletedError

from registry.database import (
    AdvisoryLock,
    Reading,
    Statement,
    constant,
    db,
    execute,
    hold,
    objects_removable,
    transaction,
)
from registry.domain import audit, cascade, namespaces
from registry.domain.access import Principal, PrincipalKind, accepting
from registry.domain.advisories import marks
from registry.domain.distributions import inspection
from registry.domain.distributions.core_metadata import Description
from registry.domain.distributions.filenames import is_valid_name
from registry.domain.distributions.gate import Check, Finding
from registry.domain.distributions.inspection import Distribution, Examination
from registry.domain.packages import answers, name_index, requirements, reserved, summaries, usage
from registry.domain.packages.names import is_valid_version, version_rank
from registry.domain.packages.protection import PushRule, refuse_protected
from registry.domain.packages.requirements import Requirement
from registry.domain.packages.usage import Limit
from registry.domain.patterns import Pattern, parse_reservation
from registry.errors import (
    BadRequest,
    ClosedPackageName,
    Code,
    DuplicateFile,
    Forbidden,
    InvalidDistribution,
    InvalidParameter,
    Problem,
    RecordNotFound,
    RegistryError,
    TooLarge,
    Unavailable,
)
from registry.models import (
    CLOSED,
    AffectedPackage,
    Ancestry,
    CachedFile,
    FileStatus,
    GroupPackageSettings,
    ImportedPipeline,
    InstanceSettings,
    Namespace,
    NameStatus,
    Package,
    PackageFile,
    PackageName,
    PackageStatus,
    Project,
    ProtectionRule,
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
Examine = Callable[[BinaryIO, str], Examination]  # as ``inspection.examine`` does
REPETITIONS = 3  # the file that an upload conflicts with can be deleted and published again


@dataclass(frozen=True)
class Origin:
    """Attributes of a file in another index that an import keeps.

    :ivar yanked_reason: ``None`` if it is not yanked, even if its version is yanked here.
    :ivar pipelines: those that published it there.
    """

    published_at: datetime
    yanked_reason: str | None
    pipelines: tuple[ImportedPipeline, ...] = ()

    @property
    def details(self) -> dict[str, str]:
        """The details of the audit event: who published the file there, as far as known."""
        names = dict.fromkeys(f"{pipeline.user_name} ({pipeline.username})" for pipeline in self.pipelines)
        return {"originally_published_by": ", ".join(names)} if names else {}


# The statements of every upload are made once, and past the ORM: to make one takes as long as to execute it, and the
# records are only inserted.
_packages, _files, _names, _namespaces = (model.__table__ for model in (Package, PackageFile, PackageName, Namespace))
_rules, _reserved = ProtectionRule.__table__, ReservedName.__table__
_instance = InstanceSettings.__table__
_of_name, _held = _packages.alias(), _reserved.alias()
_above, _of_groups = Ancestry.__table__.alias(), GroupPackageSettings.__table__
_IS_LIVE_FILE = and_(
    _files.c.project_id == bindparam("project_id"),
    _files.c.filename == bindparam("filename"),
    _files.c.status == constant(FileStatus.DEFAULT),
)
_IS_LIVE_PACKAGE = and_(
    _packages.c.project_id == bindparam("project_id"),
    _packages.c.name == bindparam("name"),
    _packages.c.version == bindparam("version"),
    _packages.c.status != constant(PackageStatus.PENDING_DESTRUCTION),
)
_LIVE_FILE = select(_files.c.id, _files.c.sha256).where(_IS_LIVE_FILE)
_LIVE_PACKAGE = (
    select(_packages.c.id, _packages.c.created_at, _packages.c.summary, _packages.c.requirements_sha256)
    .where(_IS_LIVE_PACKAGE)
    # Waits for a concurrent deletion, after which a new package is created, but does not delay a row of the name that
    # refers to this version.
    .with_for_update(key_share=True)
)
_STANDING = Reading(
    select(
        _files.c.id.label("file_id"),
        _files.c.sha256,
        _packages.c.id.label("package_id"),
        _names.c.status,
        _names.c.reason,
        _rules.c.pattern,
        _rules.c.minimum_push_role,
        _reserved.c.normalized_name.is_not(None).label("is_reserved"),
        exists()
        .where(
            _of_name.c.project_id == bindparam("project_id"),
            _of_name.c.normalized_name == bindparam("normalized_name"),
            _of_name.c.status != constant(PackageStatus.PENDING_DESTRUCTION),
        )
        .label("has_name"),
        select(_instance.c.pypi_reserved_names).where(_instance.c.id == 1).scalar_subquery().label("patterns"),
        select(_instance.c.lock_pypi_reserved_names).where(_instance.c.id == 1).scalar_subquery().label("are_locked"),
        exists().where(_held.c.holder_id == bindparam("project_id")).label("holds_names"),
        exists()
        .where(
            _above.c.namespace_id == bindparam("project_id"),
            _of_groups.c.group_id == _above.c.ancestor_id,
            _of_groups.c.pypi_reserved_names.is_not(None),
        )
        .label("groups_reserve"),
    )
    .select_from(_namespaces)
    .outerjoin(_files, _IS_LIVE_FILE)
    .outerjoin(_packages, _IS_LIVE_PACKAGE)
    .outerjoin(
        _names,
        and_(_names.c.project_id == bindparam("project_id"), _names.c.normalized_name == bindparam("normalized_name")),
    )
    .outerjoin(_rules, _rules.c.project_id == bindparam("project_id"))
    .outerjoin(_reserved, reserved.IS_RESERVED_AROUND)
    .where(_namespaces.c.id == bindparam("project_id"))
    .order_by(_rules.c.id)
)
_has_advisories = exists().where(AffectedPackage.normalized_name == bindparam("of_name"))
_top_id = (
    select(_above.c.ancestor_id)
    .where(_above.c.namespace_id == bindparam("of_project"))
    .order_by(_above.c.distance.desc())
    .limit(1)
    .scalar_subquery()
)
_is_still_reserved = exists().where(_held.c.top_id == _top_id, _held.c.normalized_name == bindparam("of_name"))
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
class Standing:
    """The records of a project that decide on an upload before it is inspected.

    :ivar file: the file of the same name.
    :ivar has_package: whether the version has files.
    :ivar has_name: whether the project has packages of the name.
    :ivar is_reserved: whether the name is reserved in the top-level group.
    :ivar holds_names: whether the project was the first to publish any of the reserved names.
    :ivar reserved_by_instance: patterns of names.
    :ivar groups_reserve: whether groups above the project can have such patterns, too.
    :ivar are_patterns_locked: whether those of groups do not count.
    :ivar rules: all protection rules of the project.
    """

    file: PublishedFile | None
    has_package: bool
    has_name: bool
    is_reserved: bool
    holds_names: bool
    reserved_by_instance: tuple[str, ...]
    groups_reserve: bool
    are_patterns_locked: bool
    name_status: NameStatus
    status_reason: str
    rules: tuple[PushRule, ...]


@dataclass(frozen=True)
class PublishedFile:
    """A file that the project already has."""

    id: int
    sha256: str


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
    standing = read_standing(upload, project)
    refuse_unwanted(upload, standing, project, principal, max_size_bytes)
    if standing.file is not None:
        return _repeated(upload, standing.file, project)
    usage.refuse_growth(usage.limits_on(project.id) if limits is None else limits, upload.content.size_bytes)
    distribution, remarks = accepted(upload, examine, strictly=bool(project.strict_uploads))
    remarks = (*remarks, *_remarks_on_name(distribution.name, standing, project))
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
    standing = read_standing(upload, project)
    refuse_unwanted(upload, standing, project, principal, max_size_bytes)
    if standing.file is not None:
        return _repeated(upload, standing.file, project).remarks
    usage.refuse_growth(usage.limits_on(project.id) if limits is None else limits, upload.content.size_bytes)
    distribution, remarks = accepted(upload, examine, strictly=bool(project.strict_uploads))
    return (*remarks, *_remarks_on_name(distribution.name, standing, project))


def read_standing(upload: Upload, project: Project) -> Standing:
    """Read everything that decides on an upload before it is inspected, in one statement."""
    rows = _STANDING.rows(
        {
            "project_id": project.id,
            "filename": upload.filename,
            "name": _without_nul(upload.name),
            "version": _without_nul(upload.version),
            "normalized_name": _without_nul(canonicalize_name(upload.name)),
        }
    )
    if not rows:  # the project was deleted in the meantime
        return Standing(None, False, False, False, False, (), False, False, NameStatus.ACTIVE, "", ())
    row = rows[0]
    return Standing(
        file=None if row.file_id is None else PublishedFile(row.file_id, row.sha256),
        has_package=row.package_id is not None,
        has_name=row.has_name,
        is_reserved=row.is_reserved,
        holds_names=row.holds_names,
        reserved_by_instance=tuple(row.patterns or ()),
        groups_reserve=row.groups_reserve,
        are_patterns_locked=bool(row.are_locked),
        name_status=row.status or NameStatus.ACTIVE,
        status_reason=row.reason or "",
        rules=tuple(PushRule(row.pattern, row.minimum_push_role) for row in rows if row.pattern is not None),
    )


def refuse_unwanted(
    upload: Upload, standing: Standing, project: Project, principal: Principal, max_size_bytes: int
) -> None:
    """Refuse an upload for reasons that apply to any file, before the file is inspected.

    :raises TooLarge: the file exceeds the maximum size.
    :raises Forbidden: only trusted publishers can publish here, or this one cannot publish the name.
    :raises ProtectedPackage: a protection rule requires a higher role.
    :raises ClosedPackageName: the package name is archived or quarantined, whatever its spelling.
    :raises ReservedPackageName: the instance has reserved the name for other groups.
    :raises BadRequest: a digest does not match the received content, so inspecting it would not help.
    """
    refuse_too_large(upload, max_size_bytes)
    refuse_untrusted(project, principal)
    refuse_name_not_trusted(upload.name, project, principal)
    refuse_protected(standing.rules, upload.name, project, principal)
    if standing.name_status in CLOSED:
        raise ClosedPackageName(upload.name, standing.name_status, standing.status_reason)
    if standing.reserved_by_instance and not (standing.is_reserved or principal.is_admin):
        reserved.refuse_reserved_elsewhere(project, upload.name, standing.reserved_by_instance)
    refuse_wrong_digests(upload)


def refuse_untrusted(project: Project, principal: Principal) -> None:
    """Refuse other credentials than those of trusted publishers, if the project wants no others.

    :raises Forbidden: it wants none. The shell, which imports files, can publish in any case.
    """
    if project.only_trusted_publishers and principal.kind not in (PrincipalKind.TRUSTED_PUBLISHER, PrincipalKind.SHELL):
        raise Forbidden(Code.ONLY_TRUSTED_PUBLISHERS)


def refuse_name_not_trusted(name: str, project: Project, principal: Principal) -> None:
    """Refuse a package name that a trusted publisher cannot publish.

    :raises Forbidden: its publishers in the project name others.
    """
    if principal.publishing_token is None:
        return
    allowed = [publisher.package_names for publisher in accepting(principal, project)]
    if all(names and canonicalize_name(name) not in names for names in allowed):
        names = sorted({name for names in allowed for name in names})
        raise Forbidden(Code.NAME_NOT_TRUSTED, names=", ".join(names))


def refuse_too_large(upload: Upload, max_size_bytes: int) -> None:
    """Refuse a file that exceeds the maximum size, or is empty.

    :raises TooLarge: the file is larger than the maximum size.
    :raises InvalidParameter: the file is empty.
    """
    if max_size_bytes and upload.content.size_bytes > max_size_bytes:
        raise TooLarge
    if upload.content.size_bytes == 0:
        raise InvalidParameter("content is invalid")


def accepted(upload: Upload, examine: Examine, *, strictly: bool) -> tuple[Distribution, tuple[Problem, ...]]:
    """Inspect the file, compare it with the form, if there is one, and return the distribution and the remarks.

    :param strictly: whether remarks refuse the file.
    :raises InvalidDistribution: lists all problems of form and file.
    """
    examination = examine(upload.content.file, upload.filename)
    if strictly:
        examination = examination.strictly()
    refusals = [*_refused_claims(upload, examination), *examination.refusals]
    if refusals or examination.distribution is None:
        raise InvalidDistribution(*refusals)
    return examination.distribution, examination.remarks


def _remarks_on_name(name: str, standing: Standing, project: Project) -> Iterator[Problem]:
    """Yield a remark on a name that is new in its project, and easily mistaken for a name of another one.

    It refuses no file in strict projects, either: nothing in the file could be corrected.
    """
    if standing.has_name:
        return
    normalized_name = canonicalize_name(name)
    other = reserved.resembling(project.id, normalized_name)
    if other == normalized_name:
        yield Problem("name", name, "a name that no other project of the top-level group has published")
    elif other is not None:
        yield Problem(
            "name", name, f"a name that is not easily mistaken for {other}, which another project has published"
        )
    elif (near := reserved.nearly_matched(normalized_name, _patterns(standing, project))) is not None:
        yield Problem(
            "name", name, f"a name that is not easily mistaken for the reserved ones of the entry {near.text}"
        )


def _patterns(standing: Standing, project: Project) -> list[Pattern]:
    """Return the patterns of reserved names that are effective in a project; at most one statement."""
    texts = list(standing.reserved_by_instance)
    if standing.groups_reserve and not standing.are_patterns_locked and project.parent_id is not None:
        texts += cascade.RESERVED.listed_in_groups(project.parent_id)
    return [parse_reservation(text) for text in texts]


def _refused_claims(upload: Upload, examination: Examination) -> Iterator[Problem]:
    """Yield the problems of the form, which all refuse the file."""
    if upload.fields is not None:
        for finding in (*invalid_claims(upload), *disagreements(upload, examination.distribution)):
            yield finding.problem


def described_by_itself(upload: Upload, distribution: Distribution) -> Upload:
    """Return the upload with the form fields that a client would derive from the metadata of the file."""
    form = {
        "metadata_version": distribution.metadata_version,
        "required_python": distribution.requires_python,
        "summary": distribution.summary,
        "keywords": distribution.keywords,
        "author_email": distribution.author_email,
        "description": distribution.description.text,
        "description_content_type": distribution.description.content_type,
    }
    return replace(upload, name=distribution.name, version=distribution.version, fields=form)


def invalid_claims(upload: Upload) -> Iterator[Finding]:
    """Yield form fields that are invalid for any package, with GitLab's messages."""
    if not is_valid_version(upload.version):
        expected = "a version as in PEP 440"
        yield Check.FORM_VERSION.found("version", upload.version, expected, "Version is invalid")
    if not is_valid_name(upload.name):
        expected = "up to 255 ASCII letters, digits and . _ - between letters or digits"
        yield Check.FORM_NAME.found("name", upload.name, expected, "Name is invalid")


def disagreements(upload: Upload, distribution: Distribution | None) -> Iterator[Finding]:
    """Yield the differences in name and version between the form and the metadata of the file.

    Other fields are not compared: clients fill them in differently, and the metadata of the file takes precedence.
    """
    if distribution is None:
        return
    if is_valid_name(upload.name) and canonicalize_name(upload.name) != distribution.normalized_name:
        yield Check.FORM_NAME.found("name", upload.name, f"{distribution.name} as in the file's metadata")
    if is_valid_version(upload.version) and Version(upload.version) != Version(distribution.version):
        expected = f"{distribution.version} as in the file's metadata"
        yield Check.FORM_VERSION.found("version", upload.version, expected)


def _repeated(upload: Upload, file: PublishedFile, project: Project) -> Publication:
    """Return the publication of a file that exists, as an early check; the unique constraint is authoritative.

    :raises DuplicateFile: the existing file is another one, or the project accepts no file again.
    """
    if _is_repetition(upload, file, project):
        return Publication(file.id, is_new=False)
    raise DuplicateFile(upload.filename)


def _is_repetition(upload: Upload, file: PublishedFile, project: Project) -> bool:
    return bool(project.identical_upload_accepted) and file.sha256 == upload.content.sha256


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
    answers.note_added(project_id, upload.name, normalized_name, fields["summary"], times["created_at"])
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
    text = _without_nul(text)
    return text if len(text) <= length else text[: length - 3] + "..."


def _without_nul(text: str) -> str:
    return text.replace("\x00", "")


def _live_file(project: Project, filename: str) -> PublishedFile | None:
    row = execute(_LIVE_FILE, {"project_id": project.id, "filename": filename}).one_or_none()
    return None if row is None else PublishedFile(row.id, row.sha256)
