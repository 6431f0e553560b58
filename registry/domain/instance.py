"""Settings of the instance that administrators edit."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from types import EllipsisType

from registry.database import db, transaction
from registry.domain import audit
from registry.domain.changes import Changes
from registry.domain.settings import (
    Creators,
    Days,
    Issuers,
    Moment,
    OneUpstreamMode,
    OneVisibility,
    Patterns,
    Score,
    Section,
    ShortText,
    SizeLimit,
    Switch,
    Visibilities,
    WholeNumber,
    refuse_bad_values,
    setting,
    settings_of,
)
from registry.domain.settings import gettext_noop as _
from registry.models import CreationLevel, InstanceSettings, UpstreamMode, Visibility


def _lock(label: str, section: Section) -> bool | EllipsisType:
    """Create a field for whether groups can change another setting."""
    return setting(Switch(), label, section, hint=_("Groups cannot change it."))


@dataclass(frozen=True)
class InstanceChanges(Changes):
    """Changes to the instance settings, in the order in which pages show them."""

    default_project_visibility: Visibility | EllipsisType = setting(
        OneVisibility(), _("Default project visibility"), Section.VISIBILITY
    )
    default_group_visibility: Visibility | EllipsisType = setting(
        OneVisibility(), _("Default group visibility"), Section.VISIBILITY
    )
    restricted_visibility_levels: list[str] | EllipsisType = setting(
        Visibilities(),
        _("Restricted visibility levels"),
        Section.VISIBILITY,
        hint=_(
            "Only administrators can use these levels for groups and projects. If public is restricted, only they "
            "can make the packages of private projects available to anyone."
        ),
    )
    default_project_creation: CreationLevel | EllipsisType = setting(
        Creators(), _("Roles allowed to create projects in new groups"), Section.VISIBILITY
    )
    can_create_group: bool | EllipsisType = setting(
        Switch(), _("Allow new users to create top-level groups"), Section.ACCOUNTS
    )
    require_two_factor_authentication: bool | EllipsisType = setting(
        Switch(),
        _("Require two-factor authentication for all users"),
        Section.ACCOUNTS,
        hint=_(
            "Users who sign in with a password must set it up before they can do anything else. Tokens work without it."
        ),
    )
    require_admin_two_factor_authentication: bool | EllipsisType = setting(
        Switch(),
        _("Require two-factor authentication for administrators"),
        Section.ACCOUNTS,
    )
    require_personal_access_token_expiry: bool | EllipsisType = setting(
        Switch(), _("Require expiration dates for new access tokens"), Section.ACCOUNTS
    )
    max_personal_access_token_lifetime: int | EllipsisType = setting(
        Days(1, 3650), _("Maximum lifetime of access tokens in days"), Section.ACCOUNTS
    )
    personal_access_token_prefix: str | EllipsisType = setting(
        ShortText(20),
        _("Personal access token prefix"),
        Section.ACCOUNTS,
        hint=_("Helps secret scanners recognize tokens. Existing tokens keep their prefix."),
    )
    pypi_package_requests_forwarding: bool | EllipsisType = setting(
        Switch(),
        _("Forward PyPI package requests to the public index if the packages are not found in this registry"),
        Section.PACKAGE_REGISTRY,
    )
    lock_pypi_package_requests_forwarding: bool | EllipsisType = _lock(
        _("Enforce PyPI setting for all groups"), Section.PACKAGE_REGISTRY
    )
    pypi_upstream_mode: UpstreamMode | EllipsisType = setting(
        OneUpstreamMode(),
        _("How packages of the public index are offered"),
        Section.PUBLIC_INDEX,
        hint=_(
            "Other rules can withhold individual files only if files are fetched: redirected clients see all files."
        ),
    )
    lock_pypi_upstream_mode: bool | EllipsisType = _lock(
        _("Enforce how packages are offered for all groups"), Section.PUBLIC_INDEX
    )
    pypi_reserved_names: list[str] | EllipsisType = setting(
        Patterns(versions=False, groups=True),
        _("Reserved names"),
        Section.PUBLIC_INDEX,
        hint=_(
            "One per line: name, name*, or name* @group. Requests for these names are never sent to the public index. "
            "With a group, they can be published only there and below; without one, only where matching names were "
            "published before. Administrators can publish them anywhere. Groups can add entries."
        ),
    )
    lock_pypi_reserved_names: bool | EllipsisType = _lock(
        _("Enforce the reserved names for all groups"), Section.PUBLIC_INDEX
    )
    pypi_upstream_minimum_age_days: int | EllipsisType = setting(
        WholeNumber(0, 3650),
        _("Minimum age of files in days"),
        Section.PUBLIC_INDEX,
        hint=_("Files are offered this many days after their upload to the public index. 0 means immediately."),
    )
    lock_pypi_upstream_minimum_age_days: bool | EllipsisType = _lock(
        _("Enforce the minimum age for all groups"), Section.PUBLIC_INDEX
    )
    pypi_upstream_fixed_date: datetime | EllipsisType | None = setting(
        Moment(),
        _("Only files from before"),
        Section.PUBLIC_INDEX,
        hint=_("In UTC. Files that were uploaded to the public index later are withheld. Empty means no such date."),
    )
    lock_pypi_upstream_fixed_date: bool | EllipsisType = _lock(
        _("Enforce the date for all groups"), Section.PUBLIC_INDEX
    )
    pypi_upstream_blocked: list[str] | EllipsisType = setting(
        Patterns(),
        _("Blocked packages of the public index"),
        Section.PUBLIC_INDEX,
        hint=_("One per line: name, name*, or name==version. Groups can add entries."),
    )
    lock_pypi_upstream_blocked: bool | EllipsisType = _lock(
        _("Enforce the blocked packages for all groups"), Section.PUBLIC_INDEX
    )
    pypi_upstream_allowed: list[str] | EllipsisType = setting(
        Patterns(),
        _("Allowed packages of the public index"),
        Section.PUBLIC_INDEX,
        hint=_(
            "One per line, as above. If the list is not empty, all other packages are withheld. Groups can add entries."
        ),
    )
    lock_pypi_upstream_allowed: bool | EllipsisType = _lock(
        _("Enforce the allowed packages for all groups"), Section.PUBLIC_INDEX
    )
    pypi_withhold_malicious: bool | EllipsisType = setting(
        Switch(),
        _("Withhold malicious versions"),
        Section.PUBLIC_INDEX,
        hint=_("Versions that a security advisory reports as malicious. Applies to packages of this registry, too."),
    )
    lock_pypi_withhold_malicious: bool | EllipsisType = _lock(
        _("Enforce the setting for malicious versions for all groups"), Section.PUBLIC_INDEX
    )
    pypi_withhold_cvss_score: float | EllipsisType | None = setting(
        Score(),
        _("Withhold vulnerable versions above this CVSS score"),
        Section.PUBLIC_INDEX,
        hint=_("From 0.0 to 10.0. Applies to packages of this registry, too. If empty, no versions are withheld."),
    )
    lock_pypi_withhold_cvss_score: bool | EllipsisType = _lock(
        _("Enforce the CVSS score for all groups"), Section.PUBLIC_INDEX
    )
    enforce_job_token_allowlists_on_group_endpoints: bool | EllipsisType = setting(
        Switch(),
        _("Enforce job token allowlists on group endpoints"),
        Section.PACKAGE_REGISTRY,
        hint=_(
            "If this is off, job tokens can read the same packages through groups as the users of the jobs, "
            "regardless of project allowlists."
        ),
    )
    lock_enforce_job_token_allowlists_on_group_endpoints: bool | EllipsisType = _lock(
        _("Enforce job token allowlist setting for all groups"), Section.PACKAGE_REGISTRY
    )
    allow_guest_plus_roles_to_pull_packages: bool | EllipsisType = setting(
        Switch(),
        _("Allow members with the Guest and Planner roles to pull packages of private projects"),
        Section.PACKAGE_REGISTRY,
        hint=_("If this is off, the Reporter role or higher is required."),
    )
    package_registry_allow_anyone_to_pull_option: bool | EllipsisType = setting(
        Switch(),
        _("Allow projects to let anyone pull from their package registry"),
        Section.PACKAGE_REGISTRY,
        hint=_("If this is off, projects with this setting are not available to the public either."),
    )
    pypi_max_file_size: int | EllipsisType | None = setting(
        SizeLimit(), _("Maximum PyPI package file size"), Section.SIZE_LIMITS
    )
    project_storage_size_limit: int | EllipsisType | None = setting(
        SizeLimit(),
        _("Storage limit of a project"),
        Section.SIZE_LIMITS,
        hint=_(
            "0 means no limit. "
            "Administrators can set a different limit for a project or group on its usage quotas page."
        ),
    )
    group_storage_size_limit: int | EllipsisType | None = setting(
        SizeLimit(), _("Storage limit of a top-level group"), Section.SIZE_LIMITS
    )
    oidc_trusted_issuers: list[str] | EllipsisType = setting(
        Issuers(),
        _("Trusted issuers"),
        Section.TRUSTED_PUBLISHING,
        hint=_(
            "URLs of CI systems, one per line. If the list is empty, projects and groups can trust jobs of any issuer "
            "with HTTPS and a public address. Otherwise, they can trust only jobs of these issuers, and tokens of all "
            "others stop working immediately."
        ),
    )


SETTINGS = settings_of(InstanceChanges)
SETTINGS_BY_NAME = {one.name: one for one in SETTINGS}
HINTS_OF_GROUPS = {  # where that of the instance is true of the instance alone
    "pypi_reserved_names": _(
        "One per line: name or name*. Requests for these names are never sent to the public index. "
        "Subgroups can add entries."
    ),
    "pypi_upstream_blocked": _("One per line: name, name*, or name==version. Subgroups can add entries."),
    "pypi_upstream_allowed": _(
        "One per line, as above. If the list is not empty, all other packages are withheld. Subgroups can add entries."
    ),
}


def change_instance(changes: InstanceChanges, *, by: audit.Author) -> InstanceSettings:
    """Change some of the instance settings.

    Takes no lock: settings are validated independently, and of two concurrent changes of one, the later wins.

    :raises InvalidRecord: values are out of range.
    """
    refuse_bad_values(changes)
    with transaction():
        settings = db.session.get_one(InstanceSettings, 1, populate_existing=True)
        before = changes.standing(settings)
        changes.apply_to(settings)
        audit.record_change(by, "instance_settings_changed", "instance", None, before, changes.given())
        return settings


def max_file_size(configured_bytes: int) -> int:
    """Return the maximum file size in bytes; 0 is unlimited."""
    return lowered_file_size(configured_bytes, InstanceSettings.current().pypi_max_file_size)


def lowered_file_size(configured_bytes: int, own_bytes: int | None) -> int:
    """Return the smaller of two maximum file sizes, as the setting of the instance can only lower the configured one.

    :param configured_bytes: 0 is unlimited, as is the result.
    :param own_bytes: the setting of the instance; 0 and ``None`` are unlimited.
    """
    if not own_bytes:
        return configured_bytes
    return min(own_bytes, configured_bytes) if configured_bytes else own_bytes
