"""Settings in the REST API: the parameter and JSON value of each kind."""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

from registry.blueprints.api.parameters import (
    Changed,
    Fields,
    Parameter,
    boolean,
    integer,
    list_of,
    one_of,
    optional,
    size_bytes,
    text,
    visibility,
)
from registry.database import Model
from registry.domain import instance
from registry.domain.settings import (
    Creators,
    Days,
    OneVisibility,
    Setting,
    ShortText,
    SizeLimit,
    Switch,
    Visibilities,
)
from registry.models import CreationLevel, InstanceSettings, Visibility

# GitLab's numbers for ``default_project_creation``.
_CREATION_LEVELS = {
    0: CreationLevel.NOBODY,
    1: CreationLevel.MAINTAINER,
    2: CreationLevel.DEVELOPER,
    4: CreationLevel.OWNER,
}
_CREATION_NUMBERS = {level: number for number, level in _CREATION_LEVELS.items()}
_LABELS = {level.label: level.label for level in Visibility}


def fields(changes: type[Changed], settings: Iterable[Setting]) -> Fields[Changed]:
    """Return the parameters that change settings."""
    return Fields(changes, {one.rest_name: _parameter(one) for one in settings})


def values(record: Model, settings: Iterable[Setting]) -> dict[str, object]:
    """Return the settings of a record as JSON."""
    return {one.rest_name: _json(one, getattr(record, one.name)) for one in settings}


def _parameter(described: Setting) -> Parameter:
    match described.kind:
        case Switch():
            return optional(boolean, sets=described.name)
        case Days():
            return optional(integer, sets=described.name)
        case SizeLimit():
            return optional(size_bytes, null=None, sets=described.name)
        case ShortText():
            return optional(text, null="", sets=described.name)
        case OneVisibility():
            return optional(visibility, sets=described.name)
        case Visibilities():
            return optional(list_of(one_of(_LABELS)), null=[], sets=described.name)
        case Creators():
            return optional(one_of(_CREATION_LEVELS, integer), sets=described.name)
    assert_never(described.kind)


def _json(described: Setting, value: object) -> object:
    match value:
        case Visibility():
            return value.label
        case CreationLevel():
            return _CREATION_NUMBERS[value]
        case None if isinstance(described.kind, Switch):  # columns of only one kind of namespace are nullable
            return False
    return value


_COLUMNS = list(InstanceSettings.__table__.columns.keys())
# GitLab has these in its "Plan limits API".
PLAN_LIMITS = [one for one in instance.SETTINGS if one.name == "pypi_max_file_size"]
# In the order of the columns, on which clients can rely; pages have their own order.
INSTANCE_SETTINGS = sorted(
    (one for one in instance.SETTINGS if one not in PLAN_LIMITS), key=lambda one: _COLUMNS.index(one.name)
)
