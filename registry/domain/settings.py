"""Settings: fields of changes, each described once for the rules of the domain, the REST API, and the pages.

A new setting of a known kind is a column and a field that ``setting`` makes; parameters, JSON and form fields follow.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, fields, replace
from types import EllipsisType
from typing import Any, Generic, TypeVar

from registry.domain.changes import Changes
from registry.errors import Code, Fault, InvalidRecord
from registry.models import CreationLevel, Visibility

Value = TypeVar("Value")

_DESCRIPTION = "setting"  # the key of a field's metadata


def gettext_noop(message: str) -> str:
    """Mark a text for the catalogues; the pages translate it when they show it."""
    return message


class Section(enum.StrEnum):
    """The part of a page on which a setting can be changed."""

    VISIBILITY = "visibility"
    ACCOUNTS = "accounts"
    PACKAGE_REGISTRY = "package_registry"
    SIZE_LIMITS = "size_limits"
    DUPLICATES = "duplicates"


class Kind(Generic[Value]):
    """What kind of values a setting has."""

    def faults(self, value: Value) -> list[Fault]:
        """What is wrong with a value of the type; empty when nothing is."""
        return []


@dataclass(frozen=True)
class Switch(Kind[bool]):
    """On or off."""


@dataclass(frozen=True)
class Days(Kind[int]):
    """A number of days in a range, both ends included."""

    least: int
    most: int

    def faults(self, value: int) -> list[Fault]:
        if self.least <= value <= self.most:
            return []
        return [Fault(Code.DAYS_OUT_OF_RANGE, least=self.least, most=self.most)]


@dataclass(frozen=True)
class SizeLimit(Kind[int | None]):
    """A number of bytes; 0 and ``None`` are no limit."""

    def faults(self, value: int | None) -> list[Fault]:
        return [] if value is None or value >= 0 else [Fault(Code.NEGATIVE)]


@dataclass(frozen=True)
class ShortText(Kind[str]):
    """Printable ASCII characters; may be empty."""

    longest: int

    def faults(self, value: str) -> list[Fault]:
        if len(value) <= self.longest and value.isascii() and value.isprintable():
            return []
        return [Fault(Code.TOO_LONG, maximum=self.longest)]


@dataclass(frozen=True)
class OneVisibility(Kind[Visibility]):
    """A visibility."""


@dataclass(frozen=True)
class Visibilities(Kind[list[str]]):
    """Any number of visibilities, by their labels."""


@dataclass(frozen=True)
class Creators(Kind[CreationLevel]):
    """The least role that creates projects."""


@dataclass(frozen=True)
class Setting:
    """The description of one setting.

    :ivar name: of the column.
    :ivar label: beside the form field; marked with ``gettext_noop``, as the hint is.
    :ivar section: where a form shows it; the order within a section is the order of the fields.
    :ivar hint: a sentence below the form field.
    :ivar rest_name: of the REST parameter and the key in JSON.
    """

    name: str
    kind: Kind[Any]
    label: str
    section: Section
    hint: str
    rest_name: str


def setting(
    kind: Kind[Value], label: str, section: Section, *, hint: str = "", rest_name: str = ""
) -> Value | EllipsisType:
    """A field of changes that is a setting; mypy compares its type with the kind's.

    :param rest_name: by default the name of the field.
    """
    described = Setting("", kind, label, section, hint, rest_name)
    return field(default=..., metadata={_DESCRIPTION: described})


def settings_of(changes: type[Changes]) -> tuple[Setting, ...]:
    """The settings among the fields, in their order."""
    return tuple(
        replace(described, name=one.name, rest_name=described.rest_name or one.name)
        for one in fields(changes)
        if (described := one.metadata.get(_DESCRIPTION)) is not None
    )


def refuse_bad_values(changes: Changes) -> None:
    """Check the settings that change.

    :raises InvalidRecord: values are outside their range.
    """
    given = changes.given()
    found = {one.name: one.kind.faults(given[one.name]) for one in settings_of(type(changes)) if one.name in given}
    if any(found.values()):
        raise InvalidRecord({name: faults for name, faults in found.items() if faults})
