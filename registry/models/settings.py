"""Settings that administrators and Owners edit: one row for the instance, and one per group with own values."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, CheckConstraint, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from registry.database import Enumerated, Model, db
from registry.models.namespaces import CreationLevel, Visibility


class InstanceSettings(Model):
    __tablename__ = "instance_settings"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

    id: Mapped[int] = mapped_column(primary_key=True, default=1)
    pypi_package_requests_forwarding: Mapped[bool] = mapped_column(default=True)
    lock_pypi_package_requests_forwarding: Mapped[bool] = mapped_column(default=False)
    enforce_job_token_allowlists_on_group_endpoints: Mapped[bool] = mapped_column(default=False)
    lock_enforce_job_token_allowlists_on_group_endpoints: Mapped[bool] = mapped_column(default=False)
    package_registry_allow_anyone_to_pull_option: Mapped[bool] = mapped_column(default=True)
    allow_guest_plus_roles_to_pull_packages: Mapped[bool] = mapped_column(default=False)
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
