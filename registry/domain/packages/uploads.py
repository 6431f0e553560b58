"""What decides on an upload: what its project has, who may publish there, and what is in the file."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import BinaryIO

from packaging.utils import canonicalize_name
from sqlalchemy import and_, bindparam, exists, select

from registry.database import Reading, constant
from registry.domain import cascade
from registry.domain.access import Principal, PrincipalKind, accepting
from registry.domain.distributions.filenames import is_valid_name, version
from registry.domain.distributions.gate import Check, Finding
from registry.domain.distributions.inspection import Distribution, Examination
from registry.domain.packages import lookalikes, reserved, usage
from registry.domain.packages.names import is_valid_version
from registry.domain.packages.protection import PushRule, refuse_protected
from registry.domain.packages.usage import Limit
from registry.domain.patterns import Pattern, parse_reservation
from registry.errors import (
    BadRequest,
    ClosedPackageName,
    Code,
    Forbidden,
    InvalidDistribution,
    InvalidParameter,
    Problem,
    TooLarge,
)
from registry.models import (
    CLOSED,
    Ancestry,
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
)
from registry.storage import StagedFile

Examine = Callable[[BinaryIO, str], Examination]  # as ``inspection.examine`` does


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
class Standing:
    """The records of a project that decide on an upload before it is inspected.

    :ivar file: the file of the same name.
    :ivar has_package: whether the version has files.
    :ivar has_name: whether the project has packages of the name.
    :ivar is_reserved: whether the name is reserved in the top-level group.
    :ivar holds_names: whether the project was the first to publish any of the reserved names.
    :ivar others_hold_names: whether something else in the top-level group holds reserved names.
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
    others_hold_names: bool
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


# Made once, and past the ORM: to make a statement takes as long as to execute it.
_packages, _files, _names, _namespaces = (model.__table__ for model in (Package, PackageFile, PackageName, Namespace))
_rules, _reserved = ProtectionRule.__table__, ReservedName.__table__
_instance = InstanceSettings.__table__
_of_name, _held = _packages.alias(), _reserved.alias()
_above, _of_groups = Ancestry.__table__.alias(), GroupPackageSettings.__table__
# For statements with the parameters that are named here.
IS_LIVE_FILE = and_(
    _files.c.project_id == bindparam("project_id"),
    _files.c.filename == bindparam("filename"),
    _files.c.status == constant(FileStatus.DEFAULT),
)
IS_LIVE_PACKAGE = and_(
    _packages.c.project_id == bindparam("project_id"),
    _packages.c.name == bindparam("name"),
    _packages.c.version == bindparam("version"),
    _packages.c.status != constant(PackageStatus.PENDING_DESTRUCTION),
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
        reserved.OTHERS_HOLD_NAMES.label("others_hold_names"),
        exists()
        .where(
            _above.c.namespace_id == bindparam("project_id"),
            _of_groups.c.group_id == _above.c.ancestor_id,
            _of_groups.c.pypi_reserved_names.is_not(None),
        )
        .label("groups_reserve"),
    )
    .select_from(_namespaces)
    .outerjoin(_files, IS_LIVE_FILE)
    .outerjoin(_packages, IS_LIVE_PACKAGE)
    .outerjoin(
        _names,
        and_(_names.c.project_id == bindparam("project_id"), _names.c.normalized_name == bindparam("normalized_name")),
    )
    .outerjoin(_rules, _rules.c.project_id == bindparam("project_id"))
    .outerjoin(_reserved, reserved.IS_RESERVED_AROUND)
    .where(_namespaces.c.id == bindparam("project_id"))
    .order_by(_rules.c.id)
)


def admitted(upload: Upload, project: Project, principal: Principal, max_size_bytes: int) -> Standing:
    """Return what the project has of an upload, unless it is refused before the file is inspected.

    :param max_size_bytes: maximum file size; 0 is unlimited.
    :raises TooLarge: the file exceeds the maximum size.
    :raises InvalidParameter: the file is empty.
    :raises Forbidden: only trusted publishers can publish here, or this one cannot publish the name.
    :raises ProtectedPackage: a protection rule requires a higher role.
    :raises ClosedPackageName: the package name is archived or quarantined, whatever its spelling.
    :raises ReservedPackageName: the instance has reserved the name for other groups.
    :raises BadRequest: a digest does not match the received content, so inspecting it would not help.
    """
    standing = _read_standing(upload, project)
    refuse_too_large(upload, max_size_bytes)
    refuse_untrusted(project, principal)
    refuse_name_not_trusted(upload.name, project, principal)
    refuse_protected(standing.rules, upload.name, project, principal)
    if standing.name_status in CLOSED:
        raise ClosedPackageName(upload.name, standing.name_status, standing.status_reason)
    if standing.reserved_by_instance and not (standing.is_reserved or principal.is_admin):
        reserved.refuse_reserved_elsewhere(project, upload.name, standing.reserved_by_instance)
    refuse_wrong_digests(upload)
    return standing


def _read_standing(upload: Upload, project: Project) -> Standing:
    """Read everything that decides on an upload before it is inspected, in one statement."""
    rows = _STANDING.rows(
        {
            "project_id": project.id,
            "filename": upload.filename,
            "name": without_nul(upload.name),
            "version": without_nul(upload.version),
            "normalized_name": without_nul(canonicalize_name(upload.name)),
        }
    )
    if not rows:  # the project was deleted in the meantime
        return Standing(None, False, False, False, False, False, (), False, False, NameStatus.ACTIVE, "", ())
    row = rows[0]
    return Standing(
        file=None if row.file_id is None else PublishedFile(row.file_id, row.sha256),
        has_package=row.package_id is not None,
        has_name=row.has_name,
        is_reserved=row.is_reserved,
        holds_names=row.holds_names,
        others_hold_names=row.others_hold_names,
        reserved_by_instance=tuple(row.patterns or ()),
        groups_reserve=row.groups_reserve,
        are_patterns_locked=bool(row.are_locked),
        name_status=row.status or NameStatus.ACTIVE,
        status_reason=row.reason or "",
        rules=tuple(PushRule(row.pattern, row.minimum_push_role) for row in rows if row.pattern is not None),
    )


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


def inspected(
    upload: Upload, standing: Standing, project: Project, *, limits: Collection[Limit] | None, examine: Examine
) -> tuple[Distribution, tuple[Problem, ...]]:
    """Inspect a file for which there is room, and return the distribution, and the remarks on the file and its name.

    :param limits: the storage limits of the project, if they were read already.
    :raises StorageLimitReached: the storage limit of the project or an ancestor would be exceeded.
    :raises InvalidDistribution: lists all problems of form and file; in a strict project, those are also the remarks.
    """
    usage.refuse_growth(usage.limits_on(project.id) if limits is None else limits, upload.content.size_bytes)
    examination = examine(upload.content.file, upload.filename)
    if project.strict_uploads:
        examination = examination.strictly()
    refusals = [*_refused_claims(upload, examination), *examination.refusals]
    if refusals or examination.distribution is None:
        raise InvalidDistribution(*refusals)
    distribution = examination.distribution
    return distribution, (*examination.remarks, *_remarks_on_name(distribution.name, standing, project))


def _refused_claims(upload: Upload, examination: Examination) -> Iterator[Problem]:
    """Yield the problems of the form, which all refuse the file."""
    if upload.fields is not None:
        for finding in (*invalid_claims(upload), *disagreements(upload, examination.distribution)):
            yield finding.problem


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
    if is_valid_version(upload.version) and version(upload.version) != version(distribution.version):
        expected = f"{distribution.version} as in the file's metadata"
        yield Check.FORM_VERSION.found("version", upload.version, expected)


def _remarks_on_name(name: str, standing: Standing, project: Project) -> Iterator[Problem]:
    """Yield a remark on a name that is new in its project, and easily mistaken for a name of another one.

    It refuses no file in strict projects, either: nothing in the file could be corrected.
    """
    if standing.has_name:
        return
    normalized_name = canonicalize_name(name)
    other = reserved.resembling(project.id, normalized_name) if standing.others_hold_names else None
    if other == normalized_name:
        yield Problem("name", name, "a name that no other project of the top-level group has published")
    elif other is not None:
        yield Problem(
            "name", name, f"a name that is not easily mistaken for {other}, which another project has published"
        )
    elif (near := lookalikes.nearly_matched(normalized_name, _patterns(standing, project))) is not None:
        yield Problem(
            "name", name, f"a name that is not easily mistaken for the reserved ones of the entry {near.text}"
        )


def _patterns(standing: Standing, project: Project) -> list[Pattern]:
    """Return the patterns of reserved names that are effective in a project; at most one statement."""
    texts = list(standing.reserved_by_instance)
    if standing.groups_reserve and not standing.are_patterns_locked and project.parent_id is not None:
        texts += cascade.RESERVED.listed_in_groups(project.parent_id)
    return [parse_reservation(text) for text in texts]


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


def without_nul(text: str) -> str:
    """Return a text without NUL, which columns cannot store."""
    return text.replace("\x00", "")
