"""Names and versions in the names of upstream files, and pages without some of their files."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache

from packaging.utils import NormalizedName, canonicalize_name, canonicalize_version
from packaging.version import InvalidVersion, Version

from registry.domain.distributions import filenames
from registry.domain.packages.simple import SimplePage, Withheld

_SDISTS = (".tar.gz", ".zip")
_is_plain = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))*").fullmatch


def release_in(filename: str) -> tuple[NormalizedName, Version] | None:
    """Return the package name and version in the name of a wheel or an sdist; ``None`` if it is neither."""
    kind = filenames.kind_of(filename)
    if kind is None or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+!-]{0,254}", filename):
        return None
    if kind is filenames.Kind.SDIST:
        suffix = next(suffix for suffix in _SDISTS if filename.endswith(suffix))
        return filenames.release(filename.removesuffix(suffix))
    parts = filename.removesuffix(".whl").split("-")
    found = _version(parts[1]) if len(parts) in (5, 6) else None
    return None if found is None else (_normalized(parts[0]), found)


# A page has dozens of wheels of each version.
_normalized, _version = lru_cache(1024)(canonicalize_name), lru_cache(4096)(filenames.unescaped_version)


def version_of(filename: str) -> Version | None:
    """Return the version in a file name; ``None`` for an invalid one, or another kind of file.

    Pages can have tens of thousands of files, so only the version of a wheel is parsed.
    """
    if filename.endswith(".whl"):
        _, _, rest = filename.partition("-")
        return _parsed(rest.partition("-")[0].replace("_", "-"))
    for suffix in _SDISTS:
        if filename.endswith(suffix):
            return _of_sdist(filename.removesuffix(suffix))
    return None


def without(page: SimplePage, withheld: Iterable[Withheld]) -> SimplePage:
    """Return a page without some of its files, and without the versions that have no other ones."""
    withheld = tuple(withheld)
    if not withheld:
        return page
    hidden = {one.file.filename for one in withheld}
    files = tuple(file for file in page.files if file.filename not in hidden)
    gone = set(map(_version_key_of, hidden)) - {_version_key_of(file.filename) for file in files} - {""}
    versions = tuple(version for version in page.versions if _version_key(version) not in gone)
    return replace(page, files=files, versions=versions, withheld=page.withheld + withheld)


def _version_key_of(filename: str) -> str:
    if filename.endswith(".whl"):
        return _version_key(filename.partition("-")[2].partition("-")[0].replace("_", "-"))
    version = version_of(filename)
    return "" if version is None else canonicalize_version(version)


def _version_key(text: str) -> str:
    """Return a text that is the same for equal versions; empty for an invalid one.

    Most versions are plain numbers, which are compared without parsing them: it takes a tenth of the time.
    """
    if _is_plain(text):
        while text.endswith(".0"):
            text = text[:-2]
        return text
    version = _parsed(text)
    return "" if version is None else canonicalize_version(version)


@lru_cache(maxsize=16_384)  # a version often has dozens of files
def _parsed(text: str) -> Version | None:
    try:
        return Version(text)
    except InvalidVersion:
        return None


@lru_cache(maxsize=4096)
def _of_sdist(stem: str) -> Version | None:
    found = filenames.release(stem)
    return None if found is None else found[1]
