"""The names of wheels and sdists, and the package names and versions in them."""

from __future__ import annotations

import enum
import math
import re
from dataclasses import dataclass
from functools import lru_cache

from packaging.tags import Tag
from packaging.utils import NormalizedName, canonicalize_name, is_normalized_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from registry.domain.distributions.budget import MAX_FILENAME_TAGS
from registry.errors import InvalidDistribution, Problem

MAX_VALUE_LENGTH = 255  # of a name and of a version, as in an upload form

_FILENAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]{0,254}")
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")


class Kind(enum.StrEnum):
    """The kind of a distribution file, spelled as in an upload's ``filetype``."""

    WHEEL = "bdist_wheel"
    SDIST = "sdist"


_SUFFIXES = {".whl": Kind.WHEEL, ".tar.gz": Kind.SDIST, ".zip": Kind.SDIST}


@dataclass(frozen=True)
class ParsedFilename:
    """The parts of a distribution's file name.

    :ivar build: the build number of a wheel; empty if it has none.
    :ivar tags: the tags of a wheel, with compressed sets expanded.
    """

    kind: Kind
    normalized_name: NormalizedName
    version: Version
    build: str = ""
    tags: frozenset[Tag] = frozenset()

    @property
    def release(self) -> str:
        return f"{self.normalized_name} {self.version}"


def kind_of(filename: str) -> Kind | None:
    """Return the kind of a file by its suffix, or ``None`` if the suffix is unknown."""
    return next((kind for suffix, kind in _SUFFIXES.items() if filename.endswith(suffix)), None)


def parse_filename(filename: str) -> ParsedFilename:
    """Parse the name of a wheel or an sdist, in any spelling that PEP 503 and PEP 440 treat as equal.

    A dash separates name and version of an sdist, but both can contain dashes themselves. The separator is the first
    dash followed by a version that begins with a dotted number (``pkg-1.0-1.tar.gz`` is a post release of ``pkg``
    1.0), or else the last dash followed by any version (``pkg-2-1.tar.gz`` is ``pkg-2``).

    :raises InvalidDistribution: ``filename`` is not the name of a wheel or an sdist.

    PyPA specifications: "Binary distribution format", "Source distribution format".
    """
    if not _FILENAME.fullmatch(filename):
        expected = "up to 255 ASCII letters, digits and . _ - + ! that begin with a letter or digit"
        raise _wrong_filename(filename, expected)
    for suffix, kind in _SUFFIXES.items():
        if filename.endswith(suffix):
            stem = filename.removesuffix(suffix)
            return _parse_wheel_stem(filename, stem) if kind is Kind.WHEEL else _parse_sdist_stem(filename, stem)
    raise _wrong_filename(filename, "a name that ends in .whl (wheel), .tar.gz or .zip (sdist)")


def _parse_wheel_stem(filename: str, stem: str) -> ParsedFilename:
    name, _, rest = stem.partition("-")
    spelled, _, tags = rest.partition("-")
    version = unescaped_version(spelled)
    if version is None:
        raise _wrong_filename(filename, "<name>-<version>-... with a version as in PEP 440")
    if math.prod(part.count(".") + 1 for part in tags.split("-")) > MAX_FILENAME_TAGS:
        raise _wrong_filename(filename, f"at most {MAX_FILENAME_TAGS} tags")
    try:
        # Older tools wrote versions in any spelling; newer parsers accept only the normalized one.
        normalized_name, _, build, parsed_tags = parse_wheel_filename(f"{name}-{version}-{tags}.whl")
    except ValueError:
        normalized_name, build, parsed_tags = NormalizedName(""), (), frozenset()
    if not is_normalized_name(normalized_name):
        raise _wrong_filename(
            filename,
            "<name>-<version>-<python>-<abi>-<platform>.whl, with a build number behind the version if there is one",
        )
    return ParsedFilename(Kind.WHEEL, normalized_name, version, tags.partition("-")[0] if build else "", parsed_tags)


def _parse_sdist_stem(filename: str, stem: str) -> ParsedFilename:
    found = release(stem)
    if found is None:
        raise _wrong_filename(filename, "<name>-<version>.tar.gz or .zip, with a version as in PEP 440")
    return ParsedFilename(Kind.SDIST, *found)


def _wrong_filename(filename: str, expected: str) -> InvalidDistribution:
    return InvalidDistribution(Problem("file name", filename, expected))


def is_valid_name(text: str) -> bool:
    """Return whether ``text`` is a valid package name (PyPA specifications, "Names and normalization")."""
    return len(text) <= MAX_VALUE_LENGTH and _NAME.fullmatch(text) is not None


def version(text: str) -> Version | None:
    """Parse ``text`` as a version (PEP 440); return ``None`` if it is not one."""
    return _version(text) if len(text) <= MAX_VALUE_LENGTH else None


@lru_cache(maxsize=100)  # the checks of a file parse the same one several times
def _version(text: str) -> Version | None:
    try:
        return Version(text)
    except InvalidVersion:
        return None


def unescaped_version(text: str) -> Version | None:
    """Parse a version from a wheel's file name, where ``_`` replaces ``-``."""
    return version(text.replace("_", "-"))


def release(stem: str) -> tuple[NormalizedName, Version] | None:
    """Split the ``<name>-<version>`` of an sdist; return ``None`` if it does not have that form."""
    parts = stem.split("-")
    versions = {at: found for at in range(1, len(parts)) if (found := version("-".join(parts[at:])))}
    if not versions:
        return None
    at = next((at for at in versions if "." in parts[at]), max(versions))
    name = "-".join(parts[:at])
    return (canonicalize_name(name), versions[at]) if _NAME.fullmatch(name) else None
