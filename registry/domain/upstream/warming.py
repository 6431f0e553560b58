"""Fetching files of the upstream before they are asked for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import InvalidVersion, Version

from registry.domain.packages.simple import SimpleFile, SimplePage
from registry.domain.upstream.arrivals import ArrivingFile, Broken, Wanted
from registry.domain.upstream.cached import version_in
from registry.domain.upstream.files import Files
from registry.domain.upstream.protocol import Upstream
from registry.errors import SourceError, UpstreamBusy, UpstreamFailed

_COMMENT = re.compile(r"(?:^|\s)#.*")
_HASHES = re.compile(r"\s--hash[= ]\S+")


@dataclass(frozen=True)
class Warmed:
    """What was done for one requirement.

    :ivar version: whose files were fetched; empty if there is none.
    :ivar fetched: number of files and core metadata documents that were fetched.
    :ivar present: number of those that were kept already.
    :ivar failed: their names.
    """

    name: str
    version: str
    fetched: int = 0
    present: int = 0
    failed: tuple[str, ...] = ()


def requirements_in(lines: Iterable[str]) -> list[Requirement]:
    """Return the requirements in the lines of a requirements file of pip, except for its options.

    :raises SourceError: a line is neither a requirement nor an option, or refers to a URL.
    """
    return [requirement(text) for line in _logical(lines) if (text := _uncommented(line)) and not text.startswith("-")]


def requirement(text: str) -> Requirement:
    """Return one requirement, such as ``demo`` or ``demo==1.0``.

    :raises SourceError: it is not one, or refers to a URL.
    """
    try:
        found = Requirement(text)
    except InvalidRequirement as error:
        raise SourceError(f"{text[:300]!r} is not a requirement, such as demo or demo==1.0") from error
    if found.url is not None:
        raise SourceError(f"{text[:300]!r} refers to a URL, not to a package of the upstream index")
    return found


def warm(wanted: Iterable[Requirement], pages: Upstream, files: Files) -> Iterator[Warmed]:
    """Fetch the files of the newest version that meets each requirement, with their core metadata.

    Yanked files and pre-releases are left out where there are others.
    """
    for each in wanted:
        name = canonicalize_name(each.name)
        try:
            page = pages.page(name)
        except (UpstreamFailed, UpstreamBusy):
            yield Warmed(name, "", failed=(name,))
            continue
        version, chosen = _newest(page, each)
        yield _fetched(name, version, chosen, files) if chosen else Warmed(name, "", failed=(str(each),))


def _logical(lines: Iterable[str]) -> Iterator[str]:
    """Join the lines that end with a backslash to those that follow."""
    begun = ""
    for line in lines:
        begun += line.rstrip("\r\n")
        if begun.endswith("\\"):
            begun = begun[:-1]
            continue
        yield begun
        begun = ""
    yield begun


def _uncommented(line: str) -> str:
    return _HASHES.sub("", _COMMENT.sub("", line)).strip()


def _newest(page: SimplePage | None, wanted: Requirement) -> tuple[str, list[SimpleFile]]:
    by_version: dict[Version, list[SimpleFile]] = {}
    for file in () if page is None else page.files:
        version = _version(file)
        if version is not None:
            by_version.setdefault(version, []).append(file)
    versions = [
        version
        for version, found in by_version.items()
        if any(file.yanked_reason is None for file in found) or any(item.operator == "==" for item in wanted.specifier)
    ]
    matching = list(wanted.specifier.filter(versions)) or list(wanted.specifier.filter(versions, prereleases=True))
    if not matching:
        return "", []
    newest = max(matching)
    return str(newest), by_version[newest]


def _version(file: SimpleFile) -> Version | None:
    try:
        return Version(version_in(file.filename))
    except InvalidVersion:
        return None


def _fetched(name: NormalizedName, version: str, chosen: list[SimpleFile], files: Files) -> Warmed:
    fetched = present = 0
    failed = []
    for file in chosen:
        for wanted in (Wanted.of_metadata(name, file), Wanted.of_file(name, file)):
            if wanted is None:
                continue
            if files.kept(wanted) is not None:
                present += 1
            elif _receive(wanted, files):
                fetched += 1
            else:
                failed.append(wanted.filename)
    return Warmed(name, version, fetched, present, tuple(failed))


def _receive(wanted: Wanted, files: Files) -> bool:
    """Fetch a file, and return whether it is kept."""
    try:
        _drain(files.fetch(wanted))
    except (UpstreamFailed, UpstreamBusy, Broken):
        return False
    return files.is_kept_soon(wanted)


def _drain(reader: ArrivingFile) -> None:
    try:
        while reader.read():
            pass
    finally:
        reader.close()
