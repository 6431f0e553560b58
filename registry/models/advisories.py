"""Security advisories about packages of the public index, and which packages here they affect."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON, CheckConstraint, Double, ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from registry.database import Model, UTCDateTime

MALICIOUS = "MAL-"  # prefix of the ids of advisories about malicious code


class Advisory(Model):
    """An advisory as in OSV's database; one that was withdrawn is kept, and affects nothing."""

    __tablename__ = "advisories"

    id: Mapped[str] = mapped_column(String(100), primary_key=True)
    digest: Mapped[str] = mapped_column(String(32))  # of the record as it was read, to notice changes
    summary: Mapped[str] = mapped_column(String(500))
    details: Mapped[str] = mapped_column(Text)
    aliases: Mapped[list[str]] = mapped_column(JSON)
    published_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    withdrawn_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    cvss_score: Mapped[float | None] = mapped_column(Double)
    severity: Mapped[str] = mapped_column(String(16))  # in a word, or empty

    @property
    def is_malicious(self) -> bool:
        """Whether it is about malicious code, not about a vulnerability."""
        return self.id.startswith(MALICIOUS)


class AffectedPackage(Model):
    """The versions of a package name that an advisory affects; see ``domain.advisories.ranges``."""

    __tablename__ = "affected_packages"
    __table_args__ = {"sqlite_with_rowid": False}  # read by name only

    normalized_name: Mapped[str] = mapped_column(String(255), primary_key=True)
    advisory_id: Mapped[str] = mapped_column(
        ForeignKey("advisories.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    ranges: Mapped[list[list[list[str]]]] = mapped_column(JSON)
    versions: Mapped[list[str]] = mapped_column(JSON)


class PackageAdvisory(Model):
    """An advisory, not withdrawn, that affects a package of this registry."""

    __tablename__ = "package_advisories"

    package_id: Mapped[int] = mapped_column(ForeignKey("packages.id", ondelete="CASCADE"), primary_key=True)
    advisory_id: Mapped[str] = mapped_column(
        ForeignKey("advisories.id", ondelete="CASCADE"), primary_key=True, index=True
    )


class AdvisoryExport(Model):
    """The export that the advisories are from: one row, or none before the first update.

    :ivar sha256: of the file; empty while an update runs, and after one that was interrupted.
    :ivar run: identifies the last update that began, so that of two at a time only one continues.
    :ivar loaded_at: when an update was last completed, also one that found the same export again.
    """

    __tablename__ = "advisory_exports"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

    id: Mapped[int] = mapped_column(primary_key=True, default=1)
    run: Mapped[str] = mapped_column(String(32))
    sha256: Mapped[str] = mapped_column(String(64), default="")
    source: Mapped[str] = mapped_column(Text, default="")
    loaded_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    advisories: Mapped[int] = mapped_column(default=0)
