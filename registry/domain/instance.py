"""Settings of the instance that administrators edit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from registry.database import db, transaction
from registry.domain import audit
from registry.errors import InvalidRecord
from registry.models import InstanceSettings, Visibility

SIZE_LIMITS = ("pypi_max_file_size", "project_storage_size_limit", "group_storage_size_limit")


def change_instance(changes: Mapping[str, Any], *, by: audit.Author) -> InstanceSettings:
    """Set some of the instance settings, by column name, to values of the column's type.

    :raises InvalidRecord: a value is outside its range.
    """
    with transaction():
        settings = db.session.get_one(InstanceSettings, 1, populate_existing=True)
        for name, value in changes.items():
            _refuse_bad_instance_value(name, value)
            setattr(settings, name, value)
        if changes:
            shown = {name: value.label if isinstance(value, Visibility) else value for name, value in changes.items()}
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
        raise InvalidRecord({name: ["must be between 1 and 3650 days"]})
    if name in SIZE_LIMITS and value is not None and value < 0:
        raise InvalidRecord({name: ["must be greater than or equal to 0"]})
    if name == "personal_access_token_prefix" and (len(value) > 20 or not value.isascii() or not value.isprintable()):
        raise InvalidRecord({name: ["is too long (maximum is 20 characters)"]})
