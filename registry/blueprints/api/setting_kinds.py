"""Settings in the REST API: the parameter and JSON value of each kind."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import assert_never

from registry.blueprints.api.parameters import (
    LONGEST_LIST,
    Changed,
    Fields,
    Parameter,
    boolean,
    expecting,
    integer,
    list_of,
    moment,
    number,
    one_of,
    optional,
    size_bytes,
    text,
    visibility,
)
from registry.database import Model
from registry.domain import instance
from registry.domain.settings import (
    AnyKind,
    Creators,
    Days,
    Issuers,
    Moment,
    OneUpstreamMode,
    OneVisibility,
    Patterns,
    Score,
    Setting,
    ShortText,
    SizeLimit,
    Switch,
    Visibilities,
    WholeNumber,
)
from registry.models import CreationLevel, InstanceSettings, UpstreamMode, Visibility

# GitLab's numbers for ``default_project_creation``.
_CREATION_LEVELS = {
    0: CreationLevel.NOBODY,
    1: CreationLevel.MAINTAINER,
    2: CreationLevel.DEVELOPER,
    4: CreationLevel.OWNER,
}
_CREATION_NUMBERS = {level: number for number, level in _CREATION_LEVELS.items()}
_UPSTREAM_MODES = {str(mode): mode for mode in UpstreamMode}
_LABELS = {level.label: level.label for level in Visibility}


def fields(changes: type[Changed], settings: Iterable[Setting]) -> Fields[Changed]:
    """Return the parameters that change settings."""
    return Fields(changes, {one.rest_name: replace(parameter(one.kind), sets=one.name) for one in settings})


def values(record: Model, settings: Iterable[Setting]) -> dict[str, object]:
    """Return the settings of a record as JSON."""
    return {one.rest_name: in_json(one.kind, getattr(record, one.name)) for one in settings}


def parameter(kind: AnyKind) -> Parameter:
    """Return the parameter for values of a kind."""
    match kind:
        case Switch():
            return optional(boolean)
        case Days() | WholeNumber():
            return optional(integer)
        case SizeLimit():
            return optional(size_bytes, null=None)
        case ShortText():
            return optional(text, null="")
        case OneVisibility():
            return optional(visibility)
        case Visibilities():
            return optional(list_of(one_of(_LABELS)), null=[])
        case Creators():
            return optional(one_of(_CREATION_LEVELS, integer))
        case OneUpstreamMode():
            return optional(expecting("redirect or cache", one_of(_UPSTREAM_MODES)))
        case Moment():
            return optional(expecting("a date or time in ISO 8601", moment), null=None)
        case Score():
            return optional(expecting("a number from 0.0 to 10.0", number), null=None)
        case Patterns() | Issuers():
            return optional(expecting(f"a list of up to {LONGEST_LIST} texts", list_of(text)), null=[])
    assert_never(kind)


def in_json(kind: AnyKind, value: object) -> object:
    """Return a value of a kind as JSON."""
    match value:
        case Visibility():
            return value.label
        case CreationLevel():
            return _CREATION_NUMBERS[value]
        case datetime():
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case None if isinstance(kind, Switch):  # columns of only one kind of namespace are nullable
            return False
    return value


_COLUMNS = list(InstanceSettings.__table__.columns.keys())
# GitLab has these in its "Plan limits API".
PLAN_LIMITS = [one for one in instance.SETTINGS if one.name == "pypi_max_file_size"]
# In the order of the columns, on which clients can rely; pages have their own order.
INSTANCE_SETTINGS = sorted(
    (one for one in instance.SETTINGS if one not in PLAN_LIMITS), key=lambda one: _COLUMNS.index(one.name)
)
