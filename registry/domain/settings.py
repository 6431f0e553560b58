"""Settings: fields of changes, each described once for validation, the REST API, and pages.

A new setting of a known kind needs a column and a field created by ``setting``; its parameter, JSON, and form field are
derived.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from types import EllipsisType
from typing import Any, Generic, TypeVar

from registry.domain.changes import Changes
from registry.domain.issuers import is_issuer, spelled
from registry.domain.patterns import InvalidPattern, parse_pattern, parse_reservation
from registry.errors import Code, Fault, InvalidRecord
from registry.models import CreationLevel, UpstreamMode, Visibility

Value = TypeVar("Value")

MOST_PATTERNS = 1000
MOST_ISSUERS = 100
LONGEST_SHOWN = 100  # characters of a wrong value in its error
LARGEST_SIZE_BYTES = 2**63 - 1  # that databases store
LOWEST_SCORE, HIGHEST_SCORE = 0.0, 10.0  # of CVSS
_DESCRIPTION = "setting"  # the key of a field's metadata


def gettext_noop(message: str) -> str:
    """Mark a text for translation, which pages do when they show it."""
    return message


class Section(enum.StrEnum):
    """The part of a page on which a setting can be changed."""

    VISIBILITY = "visibility"
    ACCOUNTS = "accounts"
    PACKAGE_REGISTRY = "package_registry"
    PUBLIC_INDEX = "public_index"
    SIZE_LIMITS = "size_limits"
    TRUSTED_PUBLISHING = "trusted_publishing"
    DUPLICATES = "duplicates"
    REMARKS = "remarks"


class Kind(Generic[Value]):
    """The kind of the values of a setting."""

    def faults(self, value: Value) -> list[Fault]:
        """Return the errors of a value of the right type."""
        return []


@dataclass(frozen=True)
class Switch(Kind[bool]):
    """On or off."""


@dataclass(frozen=True)
class Days(Kind[int]):
    """A number of days in an inclusive range."""

    least: int
    most: int

    def faults(self, value: int) -> list[Fault]:
        if self.least <= value <= self.most:
            return []
        return [Fault(Code.DAYS_OUT_OF_RANGE, least=self.least, most=self.most)]


@dataclass(frozen=True)
class SizeLimit(Kind[int | None]):
    """A number of bytes; 0 and ``None`` are unlimited."""

    def faults(self, value: int | None) -> list[Fault]:
        return [] if value is None or value >= 0 else [Fault(Code.NEGATIVE)]


@dataclass(frozen=True)
class ShortText(Kind[str]):
    """Printable ASCII characters; can be empty."""

    longest: int

    def faults(self, value: str) -> list[Fault]:
        if len(value) <= self.longest and value.isascii() and value.isprintable():
            return []
        return [Fault(Code.TOO_LONG, maximum=self.longest)]


@dataclass(frozen=True)
class OneVisibility(Kind[Visibility]):
    """A visibility level."""


@dataclass(frozen=True)
class Visibilities(Kind[list[str]]):
    """A list of visibility levels, by label."""


@dataclass(frozen=True)
class Creators(Kind[CreationLevel]):
    """The minimum role to create projects."""


@dataclass(frozen=True)
class WholeNumber(Kind[int]):
    """A whole number in an inclusive range."""

    least: int
    most: int

    def faults(self, value: int) -> list[Fault]:
        if self.least <= value <= self.most:
            return []
        return [Fault(Code.NUMBER_OUT_OF_RANGE, value=value, least=self.least, most=self.most)]


@dataclass(frozen=True)
class Score(Kind[float | None]):
    """A CVSS score, or none."""

    def faults(self, value: float | None) -> list[Fault]:
        if value is None or LOWEST_SCORE <= value <= HIGHEST_SCORE:
            return []
        return [Fault(Code.SCORE_OUT_OF_RANGE, value=value, least=LOWEST_SCORE, most=HIGHEST_SCORE)]


@dataclass(frozen=True)
class OneUpstreamMode(Kind[UpstreamMode]):
    """How package names that are missing here are looked up in the public index."""


@dataclass(frozen=True)
class Moment(Kind[datetime | None]):
    """An aware point in time, or none."""


@dataclass(frozen=True)
class Issuers(Kind[list[str]]):
    """A list of issuers of identity tokens, by URL."""

    def faults(self, value: list[str]) -> list[Fault]:
        if len(value) > MOST_ISSUERS:
            return [Fault(Code.TOO_MANY_ISSUERS, count=len(value), maximum=MOST_ISSUERS)]
        return [fault for url in value for fault in self._faults_of(url)]

    def _faults_of(self, url: str) -> list[Fault]:
        if not is_issuer(url, is_listed=True):
            return [Fault(Code.NO_TRUSTED_ISSUER, value=url[:LONGEST_SHOWN])]
        if spelled(url) != url:
            return [Fault(Code.TRUSTED_ISSUER_MISSPELLED, value=url[:LONGEST_SHOWN], expected=spelled(url))]
        return []


@dataclass(frozen=True)
class Patterns(Kind[list[str]]):
    """A list of ``name``, ``name*``, and, if they are possible, ``name==version`` or ``name* @group``."""

    versions: bool = True
    groups: bool = False

    def faults(self, value: list[str]) -> list[Fault]:
        if len(value) > MOST_PATTERNS:
            return [Fault(Code.TOO_MANY_PATTERNS, count=len(value), maximum=MOST_PATTERNS)]
        code = Code.NO_VERSION_PATTERN if self.versions else Code.NO_NAME_PATTERN
        code = Code.NO_RESERVATION_PATTERN if self.groups else code
        return [Fault(code, value=text[:LONGEST_SHOWN]) for text in value if not self._takes(text)]

    def _takes(self, text: str) -> bool:
        try:
            pattern = parse_reservation(text) if self.groups else parse_pattern(text)
        except InvalidPattern:
            return False
        return pattern.is_whole or self.versions


# All kinds, so that type checking finds a place that does not know one of them.
AnyKind = (
    Switch | Days | WholeNumber | SizeLimit | ShortText | OneVisibility | Visibilities | Creators
    | OneUpstreamMode | Moment | Patterns | Issuers | Score
)  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """The description of one setting.

    :ivar name: name of the column.
    :ivar label: label of the form field; marked with ``gettext_noop``, like the hint.
    :ivar section: section of the form; settings are in the order of the fields within a section.
    :ivar hint: help text of the form field.
    :ivar rest_name: name of the REST parameter and JSON key.
    """

    name: str
    kind: AnyKind
    label: str
    section: Section
    hint: str
    rest_name: str


def setting(
    kind: Kind[Value], label: str, section: Section, *, hint: str = "", rest_name: str = ""
) -> Value | EllipsisType:
    """Create a field of changes for a setting; mypy compares its type with that of the kind.

    :param rest_name: defaults to the name of the field.
    :raises TypeError: the kind is not part of ``AnyKind``.
    """
    if not isinstance(kind, AnyKind):
        raise TypeError(f"{kind} is not part of AnyKind")
    described = Setting("", kind, label, section, hint, rest_name)
    return field(default=..., metadata={_DESCRIPTION: described})


def settings_of(changes: type[Changes]) -> tuple[Setting, ...]:
    """Return the settings among the fields, in order."""
    return tuple(
        replace(described, name=one.name, rest_name=described.rest_name or one.name)
        for one in fields(changes)
        if (described := one.metadata.get(_DESCRIPTION)) is not None
    )


def refuse_bad_values(changes: Changes) -> None:
    """Validate the changed settings.

    :raises InvalidRecord: values are out of range.
    """
    given: Mapping[str, Any] = changes.given()
    found = {one.name: one.kind.faults(given[one.name]) for one in settings_of(type(changes)) if one.name in given}
    if any(found.values()):
        raise InvalidRecord({name: faults for name, faults in found.items() if faults})
