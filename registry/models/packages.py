"""Packages, their files, the status of package names, and protection rules."""

from __future__ import annotations

import enum
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any, ClassVar, TypeAlias

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    ColumnElement,
    Double,
    ForeignKey,
    FromClause,
    Index,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from registry.database import AUTOINCREMENT, Enumerated, Model, PartialIndex, UTCDateTime, constant, utcnow
from registry.models.accounts import User
from registry.models.namespaces import Namespace, Project, Role
from registry.models.tokens import Job
from registry.models.trust import TrustedRun


class PackageStatus(enum.StrEnum):
    """The statuses of packages, a subset of GitLab's; a deleted package is pending destruction until the cleanup."""

    DEFAULT = "default"
    PENDING_DESTRUCTION = "pending_destruction"


class FileStatus(enum.StrEnum):
    DEFAULT = "default"
    PENDING_DESTRUCTION = "pending_destruction"


class NameStatus(enum.StrEnum):
    """The status of a package name in a project, mildest first (PEP 792, which calls a package name a project)."""

    ACTIVE = "active"
    DEPRECATED = "deprecated"
    ARCHIVED = "archived"
    QUARANTINED = "quarantined"


@dataclass(frozen=True)
class ImportedPipeline:
    """A pipeline that published a file on the GitLab instance from which the file was imported.

    IDs of its project and user are left out, as here they are those of others. Unknown texts are empty.
    """

    is_imported: ClassVar[bool] = True

    id: int
    iid: int | None
    sha: str
    ref: str
    status: str
    source: str
    created_at: datetime
    updated_at: datetime
    web_url: str
    username: str
    user_name: str

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> ImportedPipeline:
        return cls(**stored | {name: datetime.fromisoformat(stored[name]) for name in ("created_at", "updated_at")})

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"created_at": self.created_at.isoformat(), "updated_at": self.updated_at.isoformat()}


Pipeline: TypeAlias = Job | ImportedPipeline

CLOSED = (NameStatus.ARCHIVED, NameStatus.QUARANTINED)  # to uploads


class Package(Model):
    """One (project, name, version), as spelled in its first upload; comparisons use ``normalized_name`` (PEP 503).

    The descriptive columns are taken from the form of the latest upload, truncated to GitLab's lengths.
    """

    __tablename__ = "packages"
    __table_args__ = (
        PartialIndex(
            "uq_packages_live", "project_id", "name", "version", unique=True, where="status != 'pending_destruction'"
        ),
        Index(None, "project_id", "normalized_name"),
        Index(None, "normalized_name", "name", "project_id"),
        Index(None, "project_id", "created_at"),
        Index(None, "project_id", "version_rank"),
        PartialIndex("ix_packages_unread", "id", where="requirements_sha256 IS NULL AND status = 'default'"),
        AUTOINCREMENT,
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("namespaces.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(255))
    version: Mapped[str] = mapped_column(String(255))
    version_rank: Mapped[str] = mapped_column(Text, default="", deferred=True)  # ``domain.packages.names.version_rank``
    normalized_name: Mapped[str] = mapped_column(String(255))
    package_type: Mapped[str] = mapped_column(String(16), default="pypi")
    status: Mapped[PackageStatus] = mapped_column(Enumerated(PackageStatus), default=PackageStatus.DEFAULT)
    creator_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"), index=True)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)
    updated_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow, onupdate=utcnow)
    last_downloaded_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    # What the advisories about it come to (``domain.advisories.marks``), so that reading a page joins no further table.
    is_malicious: Mapped[bool] = mapped_column(default=False)
    cvss_score: Mapped[float | None] = mapped_column(Double)  # the highest one

    # Digest of the core metadata that the rows of its requirements were made from; null until they are.
    requirements_sha256: Mapped[str | None] = mapped_column(String(64))

    metadata_version: Mapped[str] = mapped_column(String(16), default="")
    required_python: Mapped[str] = mapped_column(String(255), default="")
    summary: Mapped[str] = mapped_column(String(255), default="")
    keywords: Mapped[str] = mapped_column(String(1024), default="")
    author_email: Mapped[str] = mapped_column(String(2048), default="")
    description: Mapped[str] = mapped_column(String(4000), default="", deferred=True)
    description_content_type: Mapped[str] = mapped_column(String(128), default="")

    project: Mapped[Project] = relationship(lazy="raise")
    creator: Mapped[User | None] = relationship(lazy="raise")


class PackageRequirement(Model):
    """A requirement of a package version; see ``domain.packages.requirements``, which explains the columns."""

    __tablename__ = "package_requirements"
    __table_args__ = (Index(None, "normalized_name", "package_id"),)

    package_id: Mapped[int] = mapped_column(ForeignKey("packages.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)  # the order in its core metadata
    extra: Mapped[str] = mapped_column(String(255))
    name: Mapped[str] = mapped_column(String(255))
    normalized_name: Mapped[str] = mapped_column(String(255))
    extras: Mapped[str] = mapped_column(Text)
    specifier: Mapped[str] = mapped_column(Text)
    url: Mapped[str] = mapped_column(Text)
    condition: Mapped[str] = mapped_column(Text)


class PackageFile(Model):
    """One wheel or sdist. Its content is stored once for all files with the same digest."""

    __tablename__ = "package_files"
    __table_args__ = (
        # File names are unique in a project, as they identify package and version.
        PartialIndex("uq_package_files_live", "project_id", "filename", unique=True, where="status = 'default'"),
        PartialIndex("ix_package_files_remarked", "package_id", where="remarks IS NOT NULL"),
        AUTOINCREMENT,
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    package_id: Mapped[int] = mapped_column(ForeignKey("packages.id", ondelete="CASCADE"), index=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("namespaces.id", ondelete="CASCADE"))
    filename: Mapped[str] = mapped_column(String(255))
    status: Mapped[FileStatus] = mapped_column(Enumerated(FileStatus), default=FileStatus.DEFAULT)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64), index=True)
    md5: Mapped[str] = mapped_column(String(32))
    blake2b_256: Mapped[str] = mapped_column(String(64))
    requires_python: Mapped[str] = mapped_column(Text, default="")  # the file's own value, not truncated
    # Digest of the core metadata document (METADATA or PKG-INFO), which is stored separately.
    core_metadata_sha256: Mapped[str | None] = mapped_column(String(64), index=True)
    # Whether clients can rely on that document: for every wheel, and for an sdist without dynamic fields.
    core_metadata_is_final: Mapped[bool] = mapped_column(default=False)
    # The problems with which the file was accepted, as "field", "value", and "expected"; null if there are none.
    remarks: Mapped[list[dict[str, str]] | None] = mapped_column(JSON(none_as_null=True), deferred=True)
    yanked_reason: Mapped[str | None] = mapped_column(Text)  # why the file is yanked (PEP 592), "" without a reason
    creator_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"), index=True)
    job_id: Mapped[int | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"), index=True)
    imported_pipelines: Mapped[list[dict[str, Any]] | None] = mapped_column(JSON(none_as_null=True))
    # The run of a trusted publisher that published the file (``TrustedRun``).
    trusted_run: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True), deferred=True)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)

    package: Mapped[Package] = relationship(lazy="raise")
    job: Mapped[Job | None] = relationship(lazy="raise")

    @property
    def pipelines(self) -> tuple[Pipeline, ...]:
        """The pipelines that published the file, here or elsewhere."""
        imported = map(ImportedPipeline.from_json, self.imported_pipelines or ())
        return (*(() if self.job is None else (self.job,)), *imported)

    @property
    def published_by(self) -> TrustedRun | None:
        """The run of a trusted publisher that published the file."""
        return None if self.trusted_run is None else TrustedRun.from_json(self.trusted_run)

    @property
    def is_yanked(self) -> bool:
        return self.yanked_reason is not None


def is_kept(files: FromClause) -> ColumnElement[bool]:
    """Return the condition that a file is not deleted, for statements that find files by their packages.

    A comparison like that of ``uq_package_files_live`` would let PostgreSQL read the files of all projects from this
    index while it has no statistics, and keep the plan while the table grows.
    """
    return files.c.status != constant(FileStatus.PENDING_DESTRUCTION)


class FileDownloads(Model):
    """The number of downloads of a file on one day (UTC)."""

    __tablename__ = "file_downloads"

    file_id: Mapped[int] = mapped_column(ForeignKey("package_files.id", ondelete="CASCADE"), primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    count: Mapped[int] = mapped_column(BigInteger)


class RefusedDownload(Model):
    """A caller was refused a malicious file in a project or group on a day (UTC), which is recorded once."""

    __tablename__ = "refused_downloads"

    namespace_id: Mapped[int] = mapped_column(ForeignKey("namespaces.id", ondelete="CASCADE"), primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    author: Mapped[str] = mapped_column(String(255), primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True, index=True)


class StorageUsage(Model):
    """The number of files in a project and their total size, as sums of all its rows; see ``domain.packages.usage``."""

    __tablename__ = "storage_usages"

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("namespaces.id", ondelete="CASCADE"), index=True)
    files: Mapped[int] = mapped_column(BigInteger, default=0)
    size_bytes: Mapped[int] = mapped_column(BigInteger, default=0)


class PackageName(Model):
    """The status of a package name in a project; names without a row are active.

    A row outlives the packages, so that deleting them does not lift a quarantine.
    """

    __tablename__ = "package_names"

    project_id: Mapped[int] = mapped_column(ForeignKey("namespaces.id", ondelete="CASCADE"), primary_key=True)
    normalized_name: Mapped[str] = mapped_column(String(255), primary_key=True, index=True)
    status: Mapped[NameStatus] = mapped_column(Enumerated(NameStatus))
    reason: Mapped[str] = mapped_column(Text, default="")


class ReservedName(Model):
    """A package name that was published below a top-level group, or in a personal namespace, and stays reserved in it.

    A row outlives packages and projects, so that the name is not asked for upstream. ``domain.packages.reserved``
    explains the skeleton.
    """

    __tablename__ = "reserved_names"
    __table_args__ = (Index(None, "top_id", "skeleton"), Index(None, "top_id", "holder_id"))

    # Moving the namespace below another one keeps the row, which then counts for what is in the namespace.
    top_id: Mapped[int] = mapped_column(ForeignKey("namespaces.id", ondelete="CASCADE"), primary_key=True)
    normalized_name: Mapped[str] = mapped_column(String(255), primary_key=True)
    skeleton: Mapped[str] = mapped_column(String(255))
    # The project that published the name first, or the group that it was deleted from.
    holder_id: Mapped[int | None] = mapped_column(ForeignKey("namespaces.id", ondelete="SET NULL"), index=True)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)

    holder: Mapped[Namespace | None] = relationship(foreign_keys=[holder_id], lazy="raise")


class SearchedName(Model):
    """A package name of a project with at least one package, as the search compares it.

    ``words`` is the summary of the version described last, folded. Migrations add an index of the parts of both texts,
    which differs between databases; see ``registry.database.text_index``.
    """

    __tablename__ = "searched_names"
    __table_args__ = (UniqueConstraint("project_id", "normalized_name"), AUTOINCREMENT)

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("namespaces.id", ondelete="CASCADE"))
    normalized_name: Mapped[str] = mapped_column(String(255))
    words: Mapped[str] = mapped_column(Text)
    described_at: Mapped[datetime] = mapped_column(UTCDateTime)  # when that version was published


class NameSummary(Model):
    """What lists show of a package name of a project, and sort by; see ``domain.packages.summaries``.

    :ivar latest_rank: sorts the versions of a name as installers prefer them.
    :ivar downloads: of all its files, including those that were deleted.
    :ivar published_at: when its newest version was published, by the publisher.
    """

    __tablename__ = "name_summaries"
    __table_args__ = (Index(None, "project_id", "published_at"),)

    project_id: Mapped[int] = mapped_column(ForeignKey("namespaces.id", ondelete="CASCADE"), primary_key=True)
    normalized_name: Mapped[str] = mapped_column(String(255), primary_key=True)
    name: Mapped[str] = mapped_column(String(255))
    latest_id: Mapped[int] = mapped_column(ForeignKey("packages.id", ondelete="CASCADE"), index=True)
    latest_rank: Mapped[str] = mapped_column(Text)
    versions: Mapped[int]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    downloads: Mapped[int] = mapped_column(BigInteger)
    published_at: Mapped[datetime] = mapped_column(UTCDateTime)
    publisher_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"), index=True)
    has_remarks: Mapped[bool]

    latest: Mapped[Package] = relationship(lazy="raise")

    @property
    def is_yanked(self) -> bool:
        """Whether all versions are yanked."""
        return self.latest_rank.startswith("0")

    @property
    def is_prerelease(self) -> bool:
        """Whether all versions that are not yanked are pre-releases."""
        return self.latest_rank.startswith("11")


class ProtectionRule(Model):
    """The minimum roles for publishing and deleting packages of a project whose names match ``pattern``.

    ``*`` in the pattern matches any text.
    """

    __tablename__ = "protection_rules"
    __table_args__ = (
        UniqueConstraint("project_id", "package_type", "pattern"),
        CheckConstraint("minimum_push_role IS NOT NULL OR minimum_delete_role IS NOT NULL", name="some_role"),
        AUTOINCREMENT,
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("namespaces.id", ondelete="CASCADE"))
    package_type: Mapped[str] = mapped_column(String(16), default="pypi")
    pattern: Mapped[str] = mapped_column(String(255))
    minimum_push_role: Mapped[Role | None] = mapped_column(Enumerated(Role))
    minimum_delete_role: Mapped[Role | None] = mapped_column(Enumerated(Role))
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)
