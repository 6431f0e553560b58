"""CI jobs that can publish or install with the identity token of their CI system, without a stored secret."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any, ClassVar

from sqlalchemy import JSON, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column, synonym

from registry.database import AUTOINCREMENT, Model, UTCDateTime, utcnow
from registry.models.tokens import DIGEST

LONGEST_SHOWN = 255
LONGEST_CLAIM = 100 + 1 + 255  # of a name and a value
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


class TrustedIdentity:
    """An issuer of identity tokens, and the claims of the CI jobs that a namespace trusts.

    ``claims`` has a pattern for each claim, in which ``*`` matches any text.

    :ivar exact_claim: one of them without ``*``, as ``name=value``, or the beginning of one before it, by which those
        that can accept a job are found; empty if there is none.
    :cvar noun: its kind, as in names of audit events.
    """

    noun: ClassVar[str]

    id: Mapped[int] = mapped_column(primary_key=True)
    issuer: Mapped[str] = mapped_column(String(255))
    claims: Mapped[dict[str, str]] = mapped_column(JSON)
    exact_claim: Mapped[str] = mapped_column(String(LONGEST_CLAIM), default="", server_default="")
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)
    creator_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"), index=True)

    def mismatches(self, claims: Mapping[str, str]) -> list[str]:
        """Return the names of the claims of a job that are not accepted."""
        return [
            name for name, pattern in self.claims.items() if name not in claims or not _matches(pattern, claims[name])
        ]


class TrustedPublisher(TrustedIdentity, Model):
    """Jobs that can publish to a project; without ``package_names``, which are normalized, any package."""

    __tablename__ = "trusted_publishers"
    __table_args__ = (Index(None, "issuer", "exact_claim"), AUTOINCREMENT)
    noun = "trusted_publisher"

    project_id: Mapped[int] = mapped_column(ForeignKey("namespaces.id", ondelete="CASCADE"), index=True)
    namespace_id: Mapped[int] = synonym("project_id")
    package_names: Mapped[list[str]] = mapped_column(JSON, default=list)


class TrustedReader(TrustedIdentity, Model):
    """Jobs that can install the packages of a project, or of a group and everything in it."""

    __tablename__ = "trusted_readers"
    __table_args__ = (Index(None, "issuer", "exact_claim"), AUTOINCREMENT)
    noun = "trusted_reader"

    namespace_id: Mapped[int] = mapped_column(ForeignKey("namespaces.id", ondelete="CASCADE"), index=True)


class ExchangedToken(Model):
    """A token that a CI job received for its identity token.

    It keeps what was verified: at each use, the trusted publishers or readers of the namespace decide whether they
    accept such a job. ``subject``, ``claims``, and ``run_url`` are for namespaces in which the job does something:
    anyone can trust the jobs of others.

    :ivar claims: the texts of those that the publishers or readers that could accept it asked for, of ``sub``, and of
        ``SHOWN_CLAIMS``.
    """

    __tablename__ = "exchanged_tokens"
    __table_args__ = (AUTOINCREMENT,)
    __mapper_args__ = {"polymorphic_on": "purpose"}
    noun: ClassVar[str]

    id: Mapped[int] = mapped_column(primary_key=True)
    purpose: Mapped[str] = mapped_column(String(16))
    digest: Mapped[str] = mapped_column(DIGEST, unique=True)
    issuer: Mapped[str] = mapped_column(String(255))
    subject: Mapped[str] = mapped_column(String(255))
    claims: Mapped[dict[str, str]] = mapped_column(JSON)
    run_url: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)
    expires_at: Mapped[datetime] = mapped_column(UTCDateTime, index=True)
    revoked_at: Mapped[datetime | None] = mapped_column(UTCDateTime)

    def is_active(self, now: datetime) -> bool:
        return self.revoked_at is None and self.expires_at > now


class PublishingToken(ExchangedToken):
    """A token with which a job publishes to the projects whose trusted publishers accept it."""

    __mapper_args__ = {"polymorphic_identity": "publish"}
    noun = "publishing_token"

    def run(self, named: Iterable[str]) -> TrustedRun:
        """Return the run for a project to which it publishes.

        :param named: the claims that its trusted publishers ask for; those that only others ask for are left out.
        """
        shown = {*SHOWN_CLAIMS, *named} - {"sub"}
        claims = {name: printable(value) for name, value in self.claims.items() if name in shown and value}
        return TrustedRun(self.issuer, self.subject, claims, self.run_url)


class ReadingToken(ExchangedToken):
    """A token with which a job installs from the projects and groups whose trusted readers accept it."""

    __mapper_args__ = {"polymorphic_identity": "read"}
    noun = "reading_token"


class TokenRevocation(Model):
    """The end of the use of an exchanged token in one namespace, whatever its trusted publishers or readers accept."""

    __tablename__ = "token_revocations"

    token_id: Mapped[int] = mapped_column(ForeignKey("exchanged_tokens.id", ondelete="CASCADE"), primary_key=True)
    namespace_id: Mapped[int] = mapped_column(
        ForeignKey("namespaces.id", ondelete="CASCADE"), primary_key=True, index=True
    )


class UsedIdentityToken(Model):
    """An identity token that was exchanged, or a completed sign-in at the identity provider.

    Neither can be repeated before it expires.

    ``key`` is a digest of the issuer and ``jti``, or of the state of the sign-in.
    """

    __tablename__ = "used_identity_tokens"

    key: Mapped[str] = mapped_column(DIGEST, primary_key=True)
    expires_at: Mapped[datetime] = mapped_column(UTCDateTime, index=True)


def printable(text: str) -> str:
    """Return a text of a token for logs and pages: printable characters only, shortened."""
    return "".join(each if each.isprintable() else "?" for each in text)[:LONGEST_SHOWN]


def _matches(pattern: str, text: str) -> bool:
    # fnmatch does not backtrack, however many wildcards there are; only * is one here.
    return fnmatchcase(text, pattern.replace("[", "[[]").replace("?", "[?]"))
