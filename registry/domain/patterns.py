"""Patterns of package names and versions: ``name``, ``name*``, and ``name==version``.

Where names are reserved for a group, its path follows: ``name* @group``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

LONGEST = 255  # characters
_PATTERN = re.compile(
    r"(?P<name>[A-Z0-9](?:[A-Z0-9._-]*[A-Z0-9])?)\s*(?:==\s*(?P<version>[^\s*]+))?"
    r"|(?P<prefix>[A-Z0-9][A-Z0-9._-]*)\*",
    re.IGNORECASE | re.ASCII,
)
_GROUP = re.compile(r"[A-Z0-9_.-]+(?:/[A-Z0-9_.-]+)*", re.IGNORECASE | re.ASCII)


class InvalidPattern(ValueError):
    """The text is not a pattern of package names and versions."""


@dataclass(frozen=True)
class Pattern:
    """A whole package name, all names with a prefix, or one version of a name.

    :ivar text: without the group, which not all who see the pattern may know.
    :ivar name: the normalized name, or the prefix.
    :ivar version: ``None`` matches all versions.
    :ivar group: full path of the group or personal namespace that the names are reserved for, in lower case; or empty.
    """

    text: str
    name: str
    is_prefix: bool = False
    version: Version | None = None
    group: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether it matches all versions of a name."""
        return self.version is None

    def matches_name(self, normalized_name: str) -> bool:
        """Return whether it matches a name, or some version of it."""
        return normalized_name.startswith(self.name) if self.is_prefix else normalized_name == self.name

    def is_for(self, full_path: str) -> bool:
        """Return whether a namespace is the group that the names are reserved for, or below it."""
        return f"{full_path.lower()}/".startswith(f"{self.group}/")


class ByVersion:
    """Patterns of one name, found by version: there can be hundreds, and tens of thousands of files."""

    def __init__(self, patterns: Iterable[Pattern]) -> None:
        self._whole: int | None = None
        self._of_versions: dict[Version, int] = {}
        for place, pattern in enumerate(patterns):
            if pattern.version is not None:
                self._of_versions.setdefault(pattern.version, place)
            elif self._whole is None:
                self._whole = place

    def first(self, version: Version | None) -> int | None:
        """Return the place of the first pattern that matches a version; ``None`` if there is none.

        As with ``==`` in a requirement, ``1.0`` equals ``1.0.0``, and ``1.0+local`` unless the pattern names another
        local version (PEP 440, "Version matching").

        :param version: ``None`` for a version that PEP 440 does not allow, which only patterns of whole names match.
        """
        spelled = set() if version is None else {version, Version(version.public)} if version.local else {version}
        found = [self._whole, *(self._of_versions.get(one) for one in spelled)]
        return min((place for place in found if place is not None), default=None)


@lru_cache(maxsize=4096)  # the same few for each page
def parse_pattern(text: str) -> Pattern:
    """Parse a pattern; names are compared in their normalized form (PEP 503).

    :raises InvalidPattern: it has none of the three forms, or the version is not valid.
    """
    found = _PATTERN.fullmatch(text.strip()) if len(text) <= LONGEST else None
    if found is None:
        raise InvalidPattern(text)
    if prefix := found["prefix"]:
        return Pattern(text, canonicalize_name(prefix), is_prefix=True)
    try:
        version = Version(found["version"]) if found["version"] else None
    except InvalidVersion as error:
        raise InvalidPattern(text) from error
    return Pattern(text, canonicalize_name(found["name"]), version=version)


def parse_reservation(text: str) -> Pattern:
    """Parse a pattern that can state for which group it reserves names: ``name* @group``.

    :raises InvalidPattern: neither is it one, nor a pattern alone.
    """
    names, at, group = text.partition("@")
    if not at:
        return parse_pattern(text)
    group = group.strip().lower()
    if not _GROUP.fullmatch(group) or len(text) > LONGEST:
        raise InvalidPattern(text)
    return replace(parse_pattern(names.rstrip()), group=group)


def without_group(text: str) -> str:
    """Return such an entry without its group."""
    return text.partition("@")[0].rstrip()
