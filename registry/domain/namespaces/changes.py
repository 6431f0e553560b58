"""Settings of groups and projects, and changes to them."""

from __future__ import annotations

from dataclasses import dataclass
from types import EllipsisType

from registry.domain.changes import Changes
from registry.domain.settings import Section, Switch, setting, settings_of
from registry.domain.settings import gettext_noop as _
from registry.models import CreationLevel, RegistryAccess, Visibility


@dataclass(frozen=True)
class GroupSettings(Changes):
    """Settings specific to groups, which can be set on creation and later."""

    project_creation_level: CreationLevel | EllipsisType = ...
    subgroup_creation_level: CreationLevel | EllipsisType = ...


@dataclass(frozen=True)
class ProjectSettings(Changes):
    """Settings specific to projects, which can be set on creation and later."""

    registry_access: RegistryAccess | EllipsisType = ...
    identical_upload_accepted: bool | EllipsisType = setting(
        Switch(),
        _("Accept identical uploads"),
        Section.DUPLICATES,
        hint=_(
            "Publishing an identical file again succeeds and changes nothing. If this is off, the upload is refused."
        ),
        rest_name="pypi_identical_upload_accepted",
    )
    strict_uploads: bool | EllipsisType = setting(
        Switch(),
        _("Refuse files with remarks"),
        Section.REMARKS,
        hint=_(
            "Files that deviate from packaging standards are refused, as on PyPI. If this is off, they are "
            "published with remarks as long as installers can use them."
        ),
        rest_name="pypi_strict_uploads",
    )
    only_trusted_publishers: bool | EllipsisType = setting(
        Switch(),
        _("Only trusted publishers can publish"),
        Section.TRUSTED_PUBLISHING,
        hint=_("Uploads with access tokens, deploy tokens, and job tokens are refused."),
    )
    job_allowlist_enforced: bool | EllipsisType = ...


@dataclass(frozen=True)
class NamespaceChanges(Changes):
    """Changes that apply to both groups and projects.

    :ivar visibility: only Owners can change it.
    :ivar storage_size_limit: in bytes; only administrators can change it.
    """

    name: str | EllipsisType = ...
    path: str | EllipsisType = ...
    description: str | EllipsisType = ...
    visibility: Visibility | EllipsisType = ...
    storage_size_limit: int | EllipsisType | None = ...


@dataclass(frozen=True)
class GroupChanges(NamespaceChanges, GroupSettings):
    """Changes to a group."""


@dataclass(frozen=True)
class ProjectChanges(NamespaceChanges, ProjectSettings):
    """Changes to a project."""


PROJECT_SETTINGS = settings_of(ProjectSettings)
