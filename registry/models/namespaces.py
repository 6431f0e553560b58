"""Namespaces (groups, projects, and users' own spaces), which URLs address and roles apply to, and memberships."""

from __future__ import annotations

import enum
from datetime import date, datetime, timedelta
from typing import ClassVar

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ColumnElement,
    ForeignKey,
    Index,
    String,
    Text,
    UniqueConstraint,
    false,
    or_,
)
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import Mapped, mapped_column, relationship

from registry.database import AUTOINCREMENT, Enumerated, Model, UTCDateTime, utcnow
from registry.models.accounts import User


class Role(enum.IntEnum):
    """Access level in a namespace, with GitLab's numbers."""

    NO_ACCESS = 0
    MINIMAL_ACCESS = 5
    GUEST = 10
    PLANNER = 15
    REPORTER = 20
    DEVELOPER = 30
    MAINTAINER = 40
    OWNER = 50
    ADMIN = 60  # held by administrators of the instance, everywhere; no member has it

    @property
    def title(self) -> str:
        return self.name.replace("_", " ").capitalize()


MEMBER_ROLES = (Role.GUEST, Role.PLANNER, Role.REPORTER, Role.DEVELOPER, Role.MAINTAINER, Role.OWNER)


class Visibility(enum.IntEnum):
    PRIVATE = 0
    INTERNAL = 10
    PUBLIC = 20

    @property
    def label(self) -> str:
        return self.name.lower()


class RegistryAccess(enum.StrEnum):
    """Access to the package registry of a project (GitLab, ``package_registry_access_level``)."""

    DISABLED = "disabled"
    PRIVATE = "private"  # members only
    ENABLED = "enabled"  # everyone with access to the project
    PUBLIC = "public"  # anyone can pull, on the project's own endpoints


class CreationLevel(enum.StrEnum):
    """The minimum role for creating projects or subgroups in a group."""

    NOBODY = "noone"
    OWNER = "owner"
    MAINTAINER = "maintainer"
    DEVELOPER = "developer"


class Namespace(Model):
    """A group, a project, or a user's own space, in one table so that paths are unique and role lookups uniform.

    ``full_path`` contains the paths of all ancestors, so that a URL needs only one indexed lookup.
    """

    __tablename__ = "namespaces"
    __mapper_args__ = {"polymorphic_on": "kind"}
    __table_args__ = (CheckConstraint("kind IN ('group', 'project', 'user')", name="kind"), AUTOINCREMENT)

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("namespaces.id", ondelete="CASCADE"), index=True)
    path: Mapped[str] = mapped_column(String(255))
    full_path: Mapped[str] = mapped_column(Text)
    full_path_key: Mapped[str] = mapped_column(Text, unique=True)  # lower case
    name: Mapped[str] = mapped_column(String(255))
    full_name: Mapped[str] = mapped_column(Text)
    description: Mapped[str] = mapped_column(Text, default="")
    visibility: Mapped[Visibility] = mapped_column(Enumerated(Visibility), default=Visibility.PRIVATE)
    creator_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"), index=True)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)
    updated_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow, onupdate=utcnow)
    # In bytes; None inherits from the instance, 0 is unlimited.
    storage_size_limit: Mapped[int | None] = mapped_column(BigInteger)

    parent: Mapped[Namespace | None] = relationship(remote_side=[id], viewonly=True)


class Group(Namespace):
    __mapper_args__ = {"polymorphic_identity": "group"}

    project_creation_level: Mapped[CreationLevel | None] = mapped_column(
        Enumerated(CreationLevel), default=CreationLevel.DEVELOPER
    )
    subgroup_creation_level: Mapped[CreationLevel | None] = mapped_column(
        Enumerated(CreationLevel), default=CreationLevel.MAINTAINER
    )


class Project(Namespace):
    __mapper_args__ = {"polymorphic_identity": "project"}

    registry_access: Mapped[RegistryAccess | None] = mapped_column(
        Enumerated(RegistryAccess), default=RegistryAccess.ENABLED
    )
    archived: Mapped[bool | None] = mapped_column(default=False)
    job_allowlist_enforced: Mapped[bool | None] = mapped_column(default=True)
    # Whether uploading an identical file again succeeds, without any effect.
    identical_upload_accepted: Mapped[bool | None] = mapped_column(default=False)
    # Whether an upload is refused for every deviation from the standards.
    strict_uploads: Mapped[bool | None] = mapped_column(default=False)
    # Whether uploads with other credentials than those of trusted publishers are refused.
    only_trusted_publishers: Mapped[bool | None] = mapped_column(default=False)
    last_activity_at: Mapped[datetime | None] = mapped_column(UTCDateTime, default=utcnow)

    @hybrid_property
    def has_registry(self) -> bool:
        """Whether the package registry of the project is enabled; also usable in SQL expressions."""
        return self.registry_access != RegistryAccess.DISABLED


class UserNamespace(Namespace):
    """A user's own space, whose path is the user name; the user is its only member, as Owner."""

    __mapper_args__ = {"polymorphic_identity": "user"}

    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), unique=True)


class Ancestry(Model):
    """Every namespace with each of its ancestors, and itself at distance 0, so that no lookup needs recursion."""

    __tablename__ = "namespace_ancestries"
    __table_args__ = (Index(None, "ancestor_id", "namespace_id"),)

    namespace_id: Mapped[int] = mapped_column(ForeignKey("namespaces.id", ondelete="CASCADE"), primary_key=True)
    ancestor_id: Mapped[int] = mapped_column(ForeignKey("namespaces.id", ondelete="CASCADE"), primary_key=True)
    distance: Mapped[int]


class OldPath(Model):
    """A full path that a namespace has given up, until it is taken again or freed.

    Only the path of the namespace itself is recorded, not those of its descendants, which follow from it.
    """

    __tablename__ = "old_paths"
    __table_args__ = (AUTOINCREMENT,)

    id: Mapped[int] = mapped_column(primary_key=True)
    path: Mapped[str] = mapped_column(Text)
    path_key: Mapped[str] = mapped_column(Text, unique=True)  # lower case
    # Where the path leads; None after the namespace was deleted.
    namespace_id: Mapped[int | None] = mapped_column(ForeignKey("namespaces.id", ondelete="SET NULL"), index=True)
    given_up_at: Mapped[datetime] = mapped_column(UTCDateTime)
    had_packages: Mapped[bool]
    deleter_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"), index=True)

    namespace: Mapped[Namespace | None] = relationship()

    KEPT_FOR: ClassVar[timedelta] = timedelta(days=90)

    @property
    def kept_until(self) -> datetime:
        """Until when the path is kept from others if packages were published under it."""
        return self.given_up_at + self.KEPT_FOR

    def is_kept(self, now: datetime) -> bool:
        return self.had_packages and now < self.kept_until

    @classmethod
    def is_free(cls, now: datetime) -> ColumnElement[bool]:
        """Return the condition that a path is not kept from others."""
        return or_(~cls.had_packages, cls.given_up_at <= now - cls.KEPT_FOR)


class Membership(Model):
    """A direct role in a namespace, which also applies to everything below."""

    __tablename__ = "memberships"
    __table_args__ = (UniqueConstraint("user_id", "namespace_id"), AUTOINCREMENT)

    id: Mapped[int] = mapped_column(primary_key=True)
    namespace_id: Mapped[int] = mapped_column(ForeignKey("namespaces.id", ondelete="CASCADE"), index=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    role: Mapped[Role] = mapped_column(Enumerated(Role))
    expires_on: Mapped[date | None]
    # Whether it follows from a group of the identity provider (``ProviderRole``), and ends with it.
    from_provider: Mapped[bool] = mapped_column(default=False, server_default=false())
    # Whether it does so as that of the creator of a group, who has a role above by a group of the identity provider.
    by_creation: Mapped[bool] = mapped_column(default=False, server_default=false())
    # Whether groups of the identity provider no longer give the role, which remains as that of the last Owner.
    kept_as_owner: Mapped[bool] = mapped_column(default=False, server_default=false())
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)
    created_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))

    user: Mapped[User] = relationship(foreign_keys=[user_id], lazy="raise")
    created_by: Mapped[User | None] = relationship(foreign_keys=[created_by_id], lazy="raise")
    namespace: Mapped[Namespace] = relationship(lazy="raise")


class AllowedJobSource(Model):
    """A project, or a group with all its projects, whose CI jobs can access ``project`` (at most 200 per project)."""

    __tablename__ = "allowed_job_sources"

    project_id: Mapped[int] = mapped_column(ForeignKey("namespaces.id", ondelete="CASCADE"), primary_key=True)
    source_id: Mapped[int] = mapped_column(
        ForeignKey("namespaces.id", ondelete="CASCADE"), primary_key=True, index=True
    )
