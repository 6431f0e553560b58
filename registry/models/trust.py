"""Trusted publishers: CI jobs that can publish with the identity token of their CI system, without a stored secret."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from registry.database import AUTOINCREMENT, Model, UTCDateTime, utcnow
from registry.models.namespaces import Project
from registry.models.tokens import DIGEST

# Claims of GitHub and GitLab that are shown to readers of the packages; none is about a person.
SHOWN_CLAIMS = (
    "repository", "workflow_ref", "project_path", "ci_config_ref_uri", "ref", "sha", "environment", "run_id",
    "run_attempt", "pipeline_id", "job_id",
)  # fmt: skip


@dataclass(frozen=True)
class TrustedRun:
    """A run of a CI system that published with its identity token.

    :ivar claims: those that identify the run for people; never all of the token.
    :ivar url: the address of the run; empty if it is not known.
    """

    issuer: str
    subject: str
    claims: dict[str, str]
    url: str

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> TrustedRun:
        return cls(**stored)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class TrustedPublisher(Model):
    """An issuer of identity tokens, and the claims of those with which a CI job can publish to a project.

    ``claims`` has a pattern for each claim, in which ``*`` matches any text. Without ``package_names``, which are
    normalized, any package can be published.
    """

    __tablename__ = "trusted_publishers"
    __table_args__ = (AUTOINCREMENT,)

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("namespaces.id", ondelete="CASCADE"), index=True)
    issuer: Mapped[str] = mapped_column(String(255), index=True)
    claims: Mapped[dict[str, str]] = mapped_column(JSON)
    package_names: Mapped[list[str]] = mapped_column(JSON, default=list)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)
    creator_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"), index=True)

    project: Mapped[Project] = relationship(lazy="raise")


class PublishingGrant(Model):
    """A trusted publisher on which a publishing token is based; without it, the token is of no use in its project."""

    __tablename__ = "publishing_grants"

    token_id: Mapped[int] = mapped_column(ForeignKey("publishing_tokens.id", ondelete="CASCADE"), primary_key=True)
    publisher_id: Mapped[int] = mapped_column(
        ForeignKey("trusted_publishers.id", ondelete="CASCADE"), primary_key=True, index=True
    )


class PublishingToken(Model):
    """A token that a CI job received for its identity token, to publish to the projects that trust it.

    ``subject``, ``claims``, and ``run_url`` are for projects to which the job publishes: anyone can add a trusted
    publisher that matches the jobs of others.
    """

    __tablename__ = "publishing_tokens"
    __table_args__ = (AUTOINCREMENT,)

    id: Mapped[int] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(DIGEST, unique=True)
    issuer: Mapped[str] = mapped_column(String(255))
    subject: Mapped[str] = mapped_column(String(255))
    claims: Mapped[dict[str, str]] = mapped_column(JSON)
    run_url: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)
    expires_at: Mapped[datetime] = mapped_column(UTCDateTime, index=True)
    revoked_at: Mapped[datetime | None] = mapped_column(UTCDateTime)

    publishers: Mapped[list[TrustedPublisher]] = relationship(
        secondary="publishing_grants", lazy="raise", viewonly=True, order_by=TrustedPublisher.id
    )

    def is_active(self, now: datetime) -> bool:
        return self.revoked_at is None and self.expires_at > now

    def publishers_in(self, project_id: int) -> list[TrustedPublisher]:
        """Return the publishers of a project on which the token is based."""
        return [publisher for publisher in self.publishers if publisher.project_id == project_id]

    def run_in(self, project_id: int) -> TrustedRun:
        """Return the run for a project to which it publishes, without claims that only other projects ask for."""
        named = {*SHOWN_CLAIMS, *(name for publisher in self.publishers_in(project_id) for name in publisher.claims)}
        shown = {name: value for name, value in self.claims.items() if name in named}
        return TrustedRun(self.issuer, self.subject, shown, self.run_url)


class UsedIdentityToken(Model):
    """An identity token that was exchanged, which cannot be exchanged again before it expires.

    ``key`` is a digest of its issuer and ``jti``.
    """

    __tablename__ = "used_identity_tokens"

    key: Mapped[str] = mapped_column(DIGEST, primary_key=True)
    expires_at: Mapped[datetime] = mapped_column(UTCDateTime, index=True)
