"""Personal access tokens, deploy tokens, and CI jobs with their tokens. Only digests of tokens are stored."""

from __future__ import annotations

import enum
from datetime import UTC, date, datetime
from typing import ClassVar

from sqlalchemy import JSON, CheckConstraint, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from registry.database import AUTOINCREMENT, Enumerated, Model, UTCDateTime, utcnow
from registry.models.accounts import User
from registry.models.namespaces import Namespace, Project

DIGEST = String(64)


class AccessToken(Model):
    """A personal access token. It expires at 00:00 UTC on ``expires_on``."""

    __tablename__ = "access_tokens"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(255))
    description: Mapped[str] = mapped_column(String(255), default="")
    digest: Mapped[str] = mapped_column(DIGEST, unique=True)
    scopes: Mapped[list[str]] = mapped_column(JSON)
    expires_on: Mapped[date | None]
    revoked_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    last_used_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)
    # Tokens created by rotation share the id of the first one.
    family_id: Mapped[int | None] = mapped_column(index=True)

    user: Mapped[User] = relationship(lazy="raise")

    def is_expired(self, now: datetime) -> bool:
        return self.expires_on is not None and self.expires_on <= now.astimezone(UTC).date()

    def is_active(self, now: datetime) -> bool:
        return self.revoked_at is None and not self.is_expired(now)


class DeployToken(Model):
    """A token of a project or group that is not tied to a user."""

    __tablename__ = "deploy_tokens"

    id: Mapped[int] = mapped_column(primary_key=True)
    namespace_id: Mapped[int] = mapped_column(ForeignKey("namespaces.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(255))
    username: Mapped[str] = mapped_column(String(255), default="")
    digest: Mapped[str] = mapped_column(DIGEST, unique=True)
    scopes: Mapped[list[str]] = mapped_column(JSON)
    expires_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    revoked_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    last_used_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)
    creator_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))

    namespace: Mapped[Namespace] = relationship(lazy="raise")

    def is_expired(self, now: datetime) -> bool:
        return self.expires_at is not None and self.expires_at <= now

    def is_active(self, now: datetime) -> bool:
        return self.revoked_at is None and not self.is_expired(now)


class JobStatus(enum.StrEnum):
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"
    CANCELED = "canceled"


class Job(Model):
    """A CI job registered by its project. While it runs, its token acts on behalf of the user who started it."""

    is_imported: ClassVar[bool] = False

    __tablename__ = "jobs"
    __table_args__ = (CheckConstraint("length(name) > 0", name="name_not_empty"), AUTOINCREMENT)

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("namespaces.id", ondelete="CASCADE"), index=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(255))
    ref: Mapped[str] = mapped_column(String(255))
    status: Mapped[JobStatus] = mapped_column(Enumerated(JobStatus), default=JobStatus.RUNNING)
    digest: Mapped[str] = mapped_column(DIGEST, unique=True)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)
    expires_at: Mapped[datetime] = mapped_column(UTCDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UTCDateTime)

    user: Mapped[User] = relationship(lazy="raise")
    project: Mapped[Project] = relationship(lazy="raise")

    def is_running(self, now: datetime) -> bool:
        return self.status is JobStatus.RUNNING and self.expires_at > now
