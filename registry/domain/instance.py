"""Settings of the instance that administrators edit."""

from __future__ import annotations

from dataclasses import dataclass
from types import EllipsisType
from typing import Any

from registry.database import db, transaction
from registry.domain import audit
from registry.domain.changes import Changes
from registry.errors import Code, Fault, InvalidRecord
from registry.models import CreationLevel, InstanceSettings, Visibility

SIZE_LIMITS = ("pypi_max_file_size", "project_storage_size_limit", "group_storage_size_limit")


@dataclass(frozen=True)
class InstanceChanges(Changes):
    """Changes to the instance settings, in the order of the pages that show them."""

    default_project_visibility: Visibility | EllipsisType = ...
    default_group_visibility: Visibility | EllipsisType = ...
    restricted_visibility_levels: list[str] | EllipsisType = ...
    default_project_creation: CreationLevel | EllipsisType = ...
    can_create_group: bool | EllipsisType = ...
    require_personal_access_token_expiry: bool | EllipsisType = ...
    max_personal_access_token_lifetime: int | EllipsisType = ...
    personal_access_token_prefix: str | EllipsisType = ...
    pypi_package_requests_forwarding: bool | EllipsisType = ...
    lock_pypi_package_requests_forwarding: bool | EllipsisType = ...
    allow_guest_plus_roles_to_pull_packages: bool | EllipsisType = ...
    package_registry_allow_anyone_to_pull_option: bool | EllipsisType = ...
    pypi_max_file_size: int | EllipsisType | None = ...
    project_storage_size_limit: int | EllipsisType | None = ...
    group_storage_size_limit: int | EllipsisType | None = ...


def change_instance(changes: InstanceChanges, *, by: audit.Author) -> InstanceSettings:
    """Change some of the instance settings.

    Without a lock: each is checked alone, and of two changes of one at once, the later one counts.

    :raises InvalidRecord: a value is outside its range.
    """
    given = changes.given()
    with transaction():
        settings = db.session.get_one(InstanceSettings, 1, populate_existing=True)
        for name, value in given.items():
            _refuse_bad_instance_value(name, value)
        changes.apply_to(settings)
        if given:
            shown = {name: value.label if isinstance(value, Visibility) else value for name, value in given.items()}
            audit.record(by, "instance_settings_changed", "instance", None, **shown)
        return settings


def max_file_size(configured_bytes: int) -> int:
    """The largest file accepted, in bytes; 0 is no limit. The instance setting may only lower the configured limit."""
    own = InstanceSettings.current().pypi_max_file_size
    if not own:
        return configured_bytes
    return min(own, configured_bytes) if configured_bytes else own


def _refuse_bad_instance_value(name: str, value: Any) -> None:
    if name == "max_personal_access_token_lifetime" and not 1 <= value <= 3650:
        raise InvalidRecord({name: [Fault(Code.DAYS_OUT_OF_RANGE, least=1, most=3650)]})
    if name in SIZE_LIMITS and value is not None and value < 0:
        raise InvalidRecord({name: [Fault(Code.NEGATIVE)]})
    if name == "personal_access_token_prefix" and (len(value) > 20 or not value.isascii() or not value.isprintable()):
        raise InvalidRecord({name: [Fault(Code.TOO_LONG, maximum=20)]})
