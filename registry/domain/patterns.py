"""Patterns of package names and versions: ``name``, ``name*``, and ``name==version``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

LONGEST = 255  # characters
_PATTERN = re.compile(
    r"(?P<name>[A-Z0-9](?:[A-Z0-9._-]*[A-Z0-9])?)\s*(?:==\s*(?P<version>[^\s*]+))?"
    r"|(?P<prefix>[A-Z0-9][A-Z0-9._-]*)\*",
    re.IGNORECASE | re.ASCII,
)


class InvalidPattern(ValueError):
    """The text is not a pattern of package names and versions."""


@dataclass(frozen=True)
class Pattern:
    """A whole package name, all names with a prefix, or one version of a name.

    :ivar name: the normalized name, or the prefix.
    :ivar version: ``None`` matches all versions.
    """

    text: str
    name: str
    is_prefix: bool = False
    version: Version | None = None

    @property
    def is_whole(self) -> bool:
        """Whether it matches all versions of a name."""
        return self.version is None

    def matches_name(self, normalized_name: str) -> bool:
        """Return whether it matches a name, or some version of it."""
        return normalized_name.startswith(self.name) if self.is_prefix else normalized_name == self.name

    def matches_version(self, version: Version | None) -> bool:
        """Return whether it matches a version of a name that it matches.

        As with ``==`` in a requirement, ``1.0`` equals ``1.0.0``, and ``1.0+local`` unless the pattern names another
        local version (PEP 440, "Version matching").

        :param version: ``None`` for a version that PEP 440 does not allow, which equals none.
        """
        if self.version is None:
            return True
        if version is None:
            return False
        return self.version == (version if self.version.local else _without_local(version))


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


def _without_local(version: Version) -> Version:
    return version if version.local is None else Version(version.public)
