"""Versions of upstream files by their names, and pages without some of their files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache

from packaging.version import InvalidVersion, Version

from registry.domain.distributions import filenames
from registry.domain.packages.simple import SimpleFile, SimplePage, Withheld

_SDISTS = (".tar.gz", ".zip")


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
    hidden = {one.file for one in withheld}
    files = tuple(file for file in page.files if file not in hidden)
    gone = set(_versions(hidden)) - set(_versions(files))
    versions = tuple(version for version in page.versions if _parsed(version) not in gone)
    return replace(page, files=files, versions=versions, withheld=page.withheld + withheld)


def _versions(files: Iterable[SimpleFile]) -> Iterator[Version]:
    return (version for file in files if (version := version_of(file.filename)) is not None)


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
