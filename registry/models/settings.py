"""Settings that administrators and Owners edit: one row for the instance, and one per group with own values."""

from __future__ import annotations

import enum
from datetime import datetime

from sqlalchemy import JSON, BigInteger, CheckConstraint, Double, ForeignKey, String, Text, false
from sqlalchemy.orm import Mapped, mapped_column, relationship

from registry.database import AUTOINCREMENT, Enumerated, Model, UTCDateTime, db, utcnow
from registry.models.accounts import User
from registry.models.namespaces import CreationLevel, Visibility


class UpstreamMode(enum.StrEnum):
    """How package names that are missing here are looked up in the public index."""

    REDIRECT = "redirect"
    CACHE = "cache"


class InstanceSettings(Model):
    __tablename__ = "instance_settings"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

    id: Mapped[int] = mapped_column(primary_key=True, default=1)
    pypi_package_requests_forwarding: Mapped[bool] = mapped_column(default=True)
    lock_pypi_package_requests_forwarding: Mapped[bool] = mapped_column(default=False)
    enforce_job_token_allowlists_on_group_endpoints: Mapped[bool] = mapped_column(default=False)
    lock_enforce_job_token_allowlists_on_group_endpoints: Mapped[bool] = mapped_column(default=False)
    pypi_upstream_mode: Mapped[UpstreamMode] = mapped_column(Enumerated(UpstreamMode), default=UpstreamMode.REDIRECT)
    lock_pypi_upstream_mode: Mapped[bool] = mapped_column(default=False)
    pypi_upstream_minimum_age_days: Mapped[int] = mapped_column(default=0)
    lock_pypi_upstream_minimum_age_days: Mapped[bool] = mapped_column(default=False)
    pypi_upstream_fixed_date: Mapped[datetime | None] = mapped_column(UTCDateTime)
    lock_pypi_upstream_fixed_date: Mapped[bool] = mapped_column(default=False)
    pypi_upstream_blocked: Mapped[list[str]] = mapped_column(JSON, default=list)
    lock_pypi_upstream_blocked: Mapped[bool] = mapped_column(default=False)
    pypi_upstream_allowed: Mapped[list[str]] = mapped_column(JSON, default=list)
    lock_pypi_upstream_allowed: Mapped[bool] = mapped_column(default=False)
    pypi_reserved_names: Mapped[list[str]] = mapped_column(JSON, default=list)
    lock_pypi_reserved_names: Mapped[bool] = mapped_column(default=False)
    pypi_withhold_malicious: Mapped[bool] = mapped_column(default=True)
    lock_pypi_withhold_malicious: Mapped[bool] = mapped_column(default=False)
    pypi_withhold_cvss_score: Mapped[float | None] = mapped_column(Double)  # scores above it; None: any score is served
    lock_pypi_withhold_cvss_score: Mapped[bool] = mapped_column(default=False)
    package_registry_allow_anyone_to_pull_option: Mapped[bool] = mapped_column(default=True)
    allow_guest_plus_roles_to_pull_packages: Mapped[bool] = mapped_column(default=False)
    require_two_factor_authentication: Mapped[bool] = mapped_column(default=False, server_default=false())
    require_admin_two_factor_authentication: Mapped[bool] = mapped_column(default=False, server_default=false())
    personal_access_token_prefix: Mapped[str] = mapped_column(String(20), default="glpat-")
    require_personal_access_token_expiry: Mapped[bool] = mapped_column(default=True)
    max_personal_access_token_lifetime: Mapped[int] = mapped_column(default=365)  # days
    default_project_visibility: Mapped[Visibility] = mapped_column(Enumerated(Visibility), default=Visibility.PRIVATE)
    default_group_visibility: Mapped[Visibility] = mapped_column(Enumerated(Visibility), default=Visibility.PRIVATE)
    restricted_visibility_levels: Mapped[list[str]] = mapped_column(JSON, default=list)
    default_project_creation: Mapped[CreationLevel] = mapped_column(
        Enumerated(CreationLevel), default=CreationLevel.DEVELOPER
    )
    can_create_group: Mapped[bool] = mapped_column(default=True)  # default for new users
    project_storage_size_limit: Mapped[int | None] = mapped_column(BigInteger)  # bytes; 0 and None: unlimited
    group_storage_size_limit: Mapped[int | None] = mapped_column(BigInteger)  # likewise per top-level group
    pypi_max_file_size: Mapped[int | None] = mapped_column(BigInteger)  # bytes; cannot raise the configured limit
    oidc_trusted_issuers: Mapped[list[str]] = mapped_column(JSON, default=list)  # empty: any public issuer

    @classmethod
    def current(cls) -> InstanceSettings:
        """Return the only row, which the first migration creates; read once per request."""
        return db.session.get_one(cls, 1)


class GroupPackageSettings(Model):
    """Settings of a group; ``None`` inherits from the nearest ancestor with a value, or from the instance."""

    __tablename__ = "group_package_settings"

    group_id: Mapped[int] = mapped_column(ForeignKey("namespaces.id", ondelete="CASCADE"), primary_key=True)
    pypi_package_requests_forwarding: Mapped[bool | None]
    lock_pypi_package_requests_forwarding: Mapped[bool] = mapped_column(default=False)
    enforce_job_token_allowlists_on_group_endpoints: Mapped[bool | None]
    lock_enforce_job_token_allowlists_on_group_endpoints: Mapped[bool] = mapped_column(default=False)
    pypi_upstream_mode: Mapped[UpstreamMode | None] = mapped_column(Enumerated(UpstreamMode))
    lock_pypi_upstream_mode: Mapped[bool] = mapped_column(default=False)
    pypi_upstream_minimum_age_days: Mapped[int | None]
    lock_pypi_upstream_minimum_age_days: Mapped[bool] = mapped_column(default=False)
    pypi_upstream_fixed_date: Mapped[datetime | None] = mapped_column(UTCDateTime)
    lock_pypi_upstream_fixed_date: Mapped[bool] = mapped_column(default=False)
    pypi_upstream_blocked: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    lock_pypi_upstream_blocked: Mapped[bool] = mapped_column(default=False)
    pypi_upstream_allowed: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    lock_pypi_upstream_allowed: Mapped[bool] = mapped_column(default=False)
    pypi_reserved_names: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    lock_pypi_reserved_names: Mapped[bool] = mapped_column(default=False)
    pypi_withhold_malicious: Mapped[bool | None]
    lock_pypi_withhold_malicious: Mapped[bool] = mapped_column(default=False)
    pypi_withhold_cvss_score: Mapped[float | None] = mapped_column(Double)
    lock_pypi_withhold_cvss_score: Mapped[bool] = mapped_column(default=False)


class UpstreamException(Model):
    """Files of the public index that the minimum age and the fixed date do not hold back, in a group and below it."""

    __tablename__ = "upstream_exceptions"
    __table_args__ = (AUTOINCREMENT,)

    id: Mapped[int] = mapped_column(primary_key=True)
    # None: in the whole instance.
    group_id: Mapped[int | None] = mapped_column(ForeignKey("namespaces.id", ondelete="CASCADE"), index=True)
    pattern: Mapped[str] = mapped_column(String(255))
    reason: Mapped[str] = mapped_column(Text)
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"), index=True)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)
    expires_at: Mapped[datetime | None] = mapped_column(UTCDateTime)

    user: Mapped[User | None] = relationship()
