"""Publishing and deleting: the write path, as named steps."""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from fnmatch import fnmatchcase

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version
from sqlalchemy import bindparam, or_, select
from sqlalchemy.exc import IntegrityError

from registry.database import OBJECTS_LOCK, db, lock, objects_removable, transaction
from registry.domain import access, audit, catalog, core_metadata, gate, namespaces, usage
from registry.domain.access import Principal
from registry.domain.distributions import Distribution
from registry.errors import (
    BadRequest,
    ClosedPackageName,
    DuplicateFile,
    InvalidDistribution,
    InvalidParameter,
    NotFound,
    Problem,
    ProtectedPackage,
    RecordNotFound,
    RegistryError,
    TooLarge,
    Unavailable,
    Unprocessable,
)
from registry.models import (
    CLOSED,
    FileStatus,
    Package,
    PackageFile,
    PackageStatus,
    Project,
    ProtectionRule,
    Role,
)
from registry.storage import StagedFile, Storage, object_key

# Lengths of the descriptive fields, in characters (GitLab, PyPI upload).
FIELD_LENGTHS = {
    "metadata_version": 16,
    "required_python": 255,
    "summary": 255,
    "keywords": 1024,
    "author_email": 2048,
    "description": 4000,
    "description_content_type": 128,
}

# GitLab, "Use valid version strings": PEP 440, appendix B, in the revision that GitLab applies.
_VERSION = re.compile(
    r"""
    v?
    (?:([0-9]+)!)?                                                # epoch
    ([0-9]+(?:\.[0-9]+)*)                                         # release segment
    ([-_.]?((a|b|c|rc|alpha|beta|pre|preview))[-_.]?([0-9]+)?)?   # pre-release
    ((?:-([0-9]+))|(?:[-_.]?(post|rev|r)[-_.]?([0-9]+)?))?        # post-release
    ([-_.]?(dev)[-_.]?([0-9]+)?)?                                 # development release
    (?:\+([a-z0-9]+(?:[-_.][a-z0-9]+)*))?                         # local version
    """,
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
_NAME = re.compile(r"[A-Z0-9](?:[A-Z0-9._-]*[A-Z0-9])?", re.IGNORECASE | re.ASCII)  # PEP 508
PATTERN_TAKEN = "Package name pattern has already been taken"
_PATTERN = re.compile(r"[A-Z0-9._*-]+", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True)
class Origin:
    """What a file was in another index, and stays here.

    :ivar yanked_reason: why it is yanked; ``None`` when it is not, whatever is said here of its version.
    """

    published_at: datetime
    yanked_reason: str | None


# The statements of each upload are made once: to make one takes as long as to run it.
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
    .with_for_update()  # a deletion under way is waited for, and then this is another package
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
    """What a client sent, or what was found elsewhere. Digests are ``""`` when absent.

    :ivar fields: the descriptive form fields by column name. ``None``: there was no form; the file's own metadata says
        them, and how name and version are spelled.
    :ivar origin: of a file that is published for the first time, ``None``.
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
    """A file that a project has, and whether it had not before."""

    file: PackageFile
    is_new: bool


# Publishing -----------------------------------------------------------------------------------------------------


def publish(
    upload: Upload, *, project: Project, principal: Principal, storage: Storage, max_size_bytes: int, now: datetime
) -> Publication:
    """Keep an uploaded file, or refuse it and keep nothing.

    A project may accept a file once more that it has, byte for byte; nothing changes then.

    :param max_size_bytes: largest file accepted; 0 is no limit.
    :raises TooLarge: the file is larger.
    :raises ProtectedPackage: a protection rule asks for a higher role.
    :raises ClosedPackageName: the package name is archived or quarantined.
    :raises DuplicateFile: the project has a file of this name.
    :raises StorageLimitReached: the project, or a group above it, would hold more than it may.
    :raises ValidationFailed: a field, a digest or the file itself breaks a rule; see the message.
    :raises RecordNotFound: the project, or whoever publishes, was deleted meanwhile.

    GitLab, "Publish a PyPI package", except that the file is opened and its digests are checked.
    """
    refuse_unwanted(upload, project, principal, max_size_bytes)
    standing = identical_file(upload, project)
    if standing is not None:
        return Publication(standing, is_new=False)
    refuse_published(project, upload.filename)
    usage.refuse_growth(project, upload.content.size_bytes)
    distribution = accepted(upload)
    if upload.fields is None:
        upload = described_by_itself(upload, distribution)
    upload.content.filename = upload.filename
    with closing(storage.stage()) as document:
        document.write(distribution.core_metadata)
        try:
            _keep((upload.content, document), storage)  # bytes before the row: a crash leaves no broken link
            file = _record(upload, distribution, document, project, principal, storage, now)
        except RegistryError as refusal:
            _discard((upload.content, document), storage)
            # The same upload may have been faster; of any other refusal the project itself may be the reason.
            standing = identical_file(upload, project) if isinstance(refusal, DuplicateFile) else None
            if standing is None:
                raise
            return Publication(standing, is_new=False)
    return Publication(file, is_new=True)


def validate(upload: Upload, *, project: Project, principal: Principal, max_size_bytes: int) -> None:
    """Refuse an upload as ``publish`` would, and keep nothing of it; raises the same."""
    refuse_unwanted(upload, project, principal, max_size_bytes)
    if identical_file(upload, project) is None:
        refuse_published(project, upload.filename)
        usage.refuse_growth(project, upload.content.size_bytes)
        accepted(upload)


def refuse_unwanted(upload: Upload, project: Project, principal: Principal, max_size_bytes: int) -> None:
    """What is refused without a look into the file, and whatever it is.

    :raises TooLarge: the file is larger.
    :raises ProtectedPackage: a protection rule asks for a higher role.
    :raises ClosedPackageName: the package name is archived or quarantined.
    :raises BadRequest: a digest is not that of the bytes received; nothing that is said about these would help.
    """
    refuse_too_large(upload, max_size_bytes)
    refuse_protected(project, upload.name, principal)
    refuse_closed_name(project, upload.name)
    refuse_wrong_digests(upload)


def refuse_too_large(upload: Upload, max_size_bytes: int) -> None:
    """:raises TooLarge: a file of just the limit passes."""
    if max_size_bytes and upload.content.size_bytes > max_size_bytes:
        raise TooLarge
    if upload.content.size_bytes == 0:
        raise InvalidParameter("content is invalid")


def refuse_closed_name(project: Project, name: str) -> None:
    """:raises ClosedPackageName: the name is archived or quarantined in this project, under whatever spelling."""
    said = catalog.name_status(project, name)
    if said.status in CLOSED:
        raise ClosedPackageName(name, said.status, said.reason)


def accepted(upload: Upload) -> Distribution:
    """What the file is, once the gate has let it pass and the form, if there was one, was found to agree with it.

    :raises InvalidDistribution: with everything that is wrong, about form and file.
    """
    examination = gate.examine(upload.content.file, upload.filename)
    distribution = examination.distribution
    claims = () if upload.fields is None else (*invalid_claims(upload), *disagreements(upload, distribution))
    problems = [*claims, *examination.problems]
    if problems or distribution is None:
        raise InvalidDistribution(*problems)
    return distribution


def described_by_itself(upload: Upload, distribution: Distribution) -> Upload:
    """The upload with the form that a client would make of the file's metadata."""
    fields = core_metadata.read(distribution.core_metadata).fields
    said = core_metadata.description(distribution.core_metadata)
    form = {
        "metadata_version": distribution.metadata_version,
        "required_python": distribution.requires_python,
        "summary": fields.get("summary", ""),
        "keywords": ",".join(fields.get("keywords", [])),
        "author_email": fields.get("author_email", ""),
        "description": said.text,
        "description_content_type": said.content_type,
    }
    return replace(upload, name=distribution.name, version=distribution.version, fields=form)


def invalid_claims(upload: Upload) -> Iterator[Problem]:
    """Form fields that cannot be those of a package, in GitLab's words."""
    if not is_valid_version(upload.version):
        yield Problem("version", upload.version, "a version as in PEP 440", "Version is invalid")
    if not is_valid_name(upload.name):
        expected = "up to 255 ASCII letters, digits and . _ - between letters or digits"
        yield Problem("name", upload.name, expected, "Name is invalid")


def disagreements(upload: Upload, distribution: Distribution | None) -> Iterator[Problem]:
    """Where the form names another package or version than the file's own metadata.

    Nothing else is compared: clients fill in the rest in ways of their own, and the file is what counts.
    """
    if distribution is None:
        return
    if is_valid_name(upload.name) and canonicalize_name(upload.name) != distribution.normalized_name:
        yield Problem("name", upload.name, f"{distribution.name} as in the file's metadata")
    if is_valid_version(upload.version) and Version(upload.version) != Version(distribution.version):
        yield Problem("version", upload.version, f"{distribution.version} as in the file's metadata")


def is_valid_version(version: str) -> bool:
    """GitLab's rule, and PEP 440 as it stands now."""
    if len(version) > 255 or not _VERSION.fullmatch(version):
        return False
    try:
        Version(version)
    except InvalidVersion:
        return False
    return True


def is_valid_name(name: str) -> bool:
    return len(name) <= 255 and _NAME.fullmatch(name) is not None


def refuse_published(project: Project, filename: str) -> None:
    """A cheap first look; the unique constraint decides.

    :raises DuplicateFile: the project has a file of this name.
    """
    if _live_file(project, filename) is not None:
        raise DuplicateFile(filename)


def identical_file(upload: Upload, project: Project) -> PackageFile | None:
    """The file of this name, if it has the same bytes and the project accepts it again."""
    if not project.identical_upload_accepted:
        return None
    file = _live_file(project, upload.filename)
    return file if file is not None and file.sha256 == upload.content.sha256 else None


def refuse_wrong_digests(upload: Upload) -> None:
    """:raises BadRequest: a digest that was sent is not that of the bytes received."""
    for name, sent, computed in (
        ("sha256_digest", upload.sha256, upload.content.sha256),
        ("md5_digest", upload.md5, upload.content.md5),
        ("blake2_256_digest", upload.blake2b_256, upload.content.blake2b_256),
    ):
        if sent and not hmac.compare_digest(sent.lower().encode(), computed.encode()):
            raise BadRequest(f"{name} does not match the file: the bytes received have {computed}")


def _keep(contents: Iterable[StagedFile], storage: Storage) -> None:
    missing = {object_key(staged.sha256): staged for staged in contents}
    missing = {key: staged for key, staged in missing.items() if not storage.exists(key)}
    if missing:
        storage.put_all(missing)


def _discard(contents: Iterable[StagedFile], storage: Storage) -> None:
    """Remove what a refused upload has stored, unless a file refers to it; while the lock is held, none is recorded.

    What a store that is away does not remove now, the next cleanup does; and all while a backup is made, which may need
    the same bytes.
    """
    with (
        suppress(Unavailable),
        objects_removable() as removable,
        transaction(lock=OBJECTS_LOCK, changes_answers=False) as session,
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
        return _add(upload, distribution, document, project, principal, storage, now)
    except IntegrityError:
        # Another upload was faster: of this file, or of another one of the same new version.
        refuse_published(project, upload.filename)
        return _add(upload, distribution, document, project, principal, storage, now)


def _add(
    upload: Upload,
    distribution: Distribution,
    document: StagedFile,
    project: Project,
    principal: Principal,
    storage: Storage,
    now: datetime,
) -> PackageFile:
    with transaction(lock=OBJECTS_LOCK, shared=True) as session:
        # Once more, for a cleanup may have taken an object without a row; none runs while the lock is held.
        _keep((upload.content, document), storage)
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
    """The record of this name and version, made or reused; its descriptive columns are those of the latest upload."""
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
    """The reason for which the upload's whole version is yanked, whatever the spelling of its name.

    A file added to it is yanked with the others: to lift a yank takes a higher role than to publish.
    """
    asked = {"project_id": project.id, "name": canonicalize_name(upload.name), "version": upload.version}
    reasons = db.session.scalars(_YANKED_REASONS, asked).all()
    return reasons[0] if reasons and None not in reasons else None


def truncated(text: str, length: int) -> str:
    """The text, or its beginning and three dots in exactly that many characters; without NUL, which no column takes."""
    text = text.replace("\x00", "")
    return text if len(text) <= length else text[: length - 3] + "..."


def _live_file(project: Project, filename: str) -> PackageFile | None:
    return db.session.scalar(_LIVE_FILE, {"project_id": project.id, "filename": filename})


# Deleting -------------------------------------------------------------------------------------------------------


def delete_package(package: Package, project: Project, *, by: Principal) -> None:
    """Gone from every list at once; ``cleanup`` removes rows and bytes.

    :raises ProtectedPackage: a protection rule asks for a higher role.
    :raises RecordNotFound: it was deleted meanwhile.
    """
    refuse_delete_protected(project, package.name, by)
    with transaction() as session:
        lock(package)
        if package.status is PackageStatus.PENDING_DESTRUCTION:
            raise RecordNotFound
        package.status = PackageStatus.PENDING_DESTRUCTION
        for file in session.scalars(catalog.package_files(package).order_by(PackageFile.id).with_for_update()):
            file.status = FileStatus.PENDING_DESTRUCTION
            usage.note(file, removed=True)
        namespaces.touch(project.id)
        audit.record(by, "package_deleted", f"{package.name} {package.version}", project)


def delete_file(file: PackageFile, package: Package, project: Project, *, by: Principal) -> None:
    """:raises ProtectedPackage: a protection rule asks for a higher role.

    :raises RecordNotFound: it was deleted meanwhile.
    """
    refuse_delete_protected(project, package.name, by)
    with transaction():
        lock(file, "status")
        if file.status is FileStatus.PENDING_DESTRUCTION:
            raise RecordNotFound
        file.status = FileStatus.PENDING_DESTRUCTION
        usage.note(file, removed=True)
        namespaces.touch(project.id)
        audit.record(by, "package_file_deleted", file.filename, project, package=f"{package.name} {package.version}")


def delete_packages(packages: Iterable[Package], *, by: Principal) -> None:
    """Delete several packages, each loaded with its project, or none of them; raises as ``delete_package``."""
    with transaction():
        for package in packages:
            delete_package(package, package.project, by=by)


def delete_files(files: Iterable[PackageFile], package: Package, project: Project, *, by: Principal) -> bool:
    """Delete some files of a package, and with the last of them the package.

    :returns: whether the package went too.
    :raises ProtectedPackage: a protection rule asks for a higher role.
    :raises RecordNotFound: one of them was deleted meanwhile.
    """
    with transaction() as session:
        lock(package)  # an upload to it waits, and then makes a new one
        for file in files:
            delete_file(file, package, project, by=by)
        session.flush()
        if session.scalar(catalog.package_files(package).limit(1)) is not None:
            return False
        delete_package(package, project, by=by)
        return True


# Protection -----------------------------------------------------------------------------------------------------


def refuse_protected(project: Project, name: str, principal: Principal) -> None:
    """:raises ProtectedPackage: a matching rule asks for a higher role to publish; a deploy token has none at all."""
    if principal.is_admin:
        return
    for rule in _matching_rules(project, name):
        if principal.deploy_token is not None:
            raise ProtectedPackage
        if rule.minimum_push_role is not None and access.role_in(principal, project) < rule.minimum_push_role:
            raise ProtectedPackage


def refuse_delete_protected(project: Project, name: str, principal: Principal) -> None:
    """:raises ProtectedPackage: a matching rule asks for a higher role to delete."""
    if not _may_delete(project, _matching_rules(project, name), principal):
        raise ProtectedPackage


@dataclass(frozen=True)
class Protection:
    """How rules and roles bear on one package.

    :ivar is_protected: some rule covers its name.
    :ivar may_delete: the one who asks may delete it.
    """

    is_protected: bool
    may_delete: bool


def protections(packages: Iterable[Package], principal: Principal) -> dict[int, Protection]:
    """The protection of each of many packages, loaded with their projects, by id: in two statements."""
    packages = list(packages)
    projects = {package.project_id: package.project for package in packages}
    access.held_roles(principal, projects.values())
    rules = db.session.scalars(select(ProtectionRule).where(ProtectionRule.project_id.in_(projects))).all()
    found = {}
    for package in packages:
        covering = [
            rule for rule in rules if rule.project_id == package.project_id and matches(rule.pattern, package.name)
        ]
        may_delete = access.allowed(principal, access.Permission.DESTROY_PACKAGE, package.project) and _may_delete(
            package.project, covering, principal
        )
        found[package.id] = Protection(bool(covering), may_delete)
    return found


def _may_delete(project: Project, covering: Iterable[ProtectionRule], principal: Principal) -> bool:
    return principal.is_admin or all(
        rule.minimum_delete_role is None or access.role_in(principal, project) >= rule.minimum_delete_role
        for rule in covering
    )


def protection_rules(project: Project) -> list[ProtectionRule]:
    return list(
        db.session.scalars(
            select(ProtectionRule).where(ProtectionRule.project_id == project.id).order_by(ProtectionRule.id)
        )
    )


def protection_rule(project: Project, rule_id: int) -> ProtectionRule:
    """:raises NotFound: this project has no such rule."""
    rule = db.session.get(ProtectionRule, rule_id)
    if rule is None or rule.project_id != project.id:
        raise NotFound("Package protection rule")
    return rule


def matches(pattern: str, name: str) -> bool:
    """Whether a rule's pattern covers a package name, as spelled or normalized; ``*`` is any text, case is ignored."""
    patterns = {pattern.lower(), re.sub(r"[-_.]+", "-", pattern).lower()}
    names = {name.lower(), str(canonicalize_name(name))}
    # fnmatch needs no backtracking, however many wildcards there are; a pattern holds no other sign that it knows.
    return any(fnmatchcase(spelled, one) for one in patterns for spelled in names)


def add_protection_rule(
    project: Project,
    *,
    pattern: str,
    push: Role | None,
    delete: Role | None,
    by: audit.Author,
    package_type: str = "pypi",
) -> ProtectionRule:
    """:raises Unprocessable: pattern or roles break a rule, or the pattern is taken."""
    rule = ProtectionRule(
        project_id=project.id, package_type=package_type, pattern=pattern,
        minimum_push_role=push, minimum_delete_role=delete,
    )  # fmt: skip
    with transaction() as session:
        _refuse_invalid_rule(rule)
        session.add(rule)
        _flush_rule()
        audit.record(by, "protection_rule_created", pattern, project)
    return rule


def change_protection_rule(
    rule: ProtectionRule, changes: dict[str, object], project: Project, *, by: audit.Author
) -> None:
    """:raises Unprocessable: as for ``add_protection_rule``."""
    with transaction() as session, session.no_autoflush:
        for column, value in changes.items():
            setattr(rule, column, value)
        _refuse_invalid_rule(rule)
        _flush_rule()
        audit.record(by, "protection_rule_changed", rule.pattern, project)


def delete_protection_rule(rule: ProtectionRule, project: Project, *, by: audit.Author) -> None:
    with transaction() as session:
        audit.record(by, "protection_rule_deleted", rule.pattern, project)
        session.delete(rule)


def _matching_rules(project: Project, name: str) -> list[ProtectionRule]:
    """:param name: as somebody sent it; what is no name is not matched, for nothing of that name is kept."""
    if not is_valid_name(name):
        return []
    return [rule for rule in protection_rules(project) if matches(rule.pattern, name)]


def _refuse_invalid_rule(rule: ProtectionRule) -> None:
    if not _PATTERN.fullmatch(rule.pattern) or len(rule.pattern) > 255:
        raise Unprocessable(
            "Package name pattern should be a valid PyPI package name with optional wildcard characters."
        )
    if rule.minimum_push_role is None and rule.minimum_delete_role is None:
        raise Unprocessable("A rule must have at least a minimum access role for push or delete.")
    taken = db.session.scalar(
        select(ProtectionRule.id).where(
            ProtectionRule.project_id == rule.project_id,
            ProtectionRule.package_type == rule.package_type,
            ProtectionRule.pattern == rule.pattern,
            ProtectionRule.id != (rule.id or 0),
        )
    )
    if taken is not None:
        raise Unprocessable(PATTERN_TAKEN)


def _flush_rule() -> None:
    try:
        db.session.flush()
    except IntegrityError as error:  # another process was faster
        raise Unprocessable(PATTERN_TAKEN) from error
