"""Fetching files of the upstream before they are asked for, as far as the rules of the instance offer them.

Names that are reserved anywhere in the registry are not asked for: the upstream must not learn of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import InvalidVersion, Version

from registry.domain.packages.reserved import reserved_in
from registry.domain.packages.simple import SimpleFile, SimplePage
from registry.domain.upstream.arrivals import ArrivingFile, Broken, Wanted
from registry.domain.upstream.cached import version_in
from registry.domain.upstream.chain import upstream_for
from registry.domain.upstream.files import Files
from registry.domain.upstream.policies.listed import refuse_name
from registry.domain.upstream.protocol import Upstream
from registry.domain.upstream.rules import Rules, instance_rules, place_in_words
from registry.errors import SourceError, UpstreamBusy, UpstreamFailed, WithheldByRule

_COMMENT = re.compile(r"(?:^|\s)#.*")
_HASHES = re.compile(r"\s--hash[= ]\S+")


@dataclass(frozen=True)
class Warmed:
    """What was done for one requirement.

    :ivar version: whose files were fetched; empty if there is none.
    :ivar fetched: number of files and core metadata documents that were fetched.
    :ivar present: number of those that were kept already.
    :ivar failed: their names.
    :ivar skipped: why nothing was fetched, in a sentence; empty if it was.
    """

    name: str
    version: str
    fetched: int = 0
    present: int = 0
    failed: tuple[str, ...] = ()
    skipped: str = ""


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


def warm(wanted: Iterable[Requirement], pages: Upstream, files: Files, now: datetime) -> Iterator[Warmed]:
    """Fetch the files of the newest version that is offered and meets each requirement, with their core metadata.

    Yanked files and pre-releases are left out where there are others.

    :param pages: of the upstream, without rules.
    """
    rules = instance_rules()
    offered = upstream_for(rules, pages, now)
    for each in wanted:
        name = canonicalize_name(each.name)
        refusal = _refusal(name, rules)
        yield Warmed(name, "", skipped=refusal) if refusal else _warmed(name, each, offered, files)


def _refusal(name: NormalizedName, rules: Rules) -> str:
    """Return why the upstream is not asked for a name; empty if it may be."""
    top = reserved_in(name)
    if top is not None:
        return f"The name {name} was published in {top}, and is reserved there."
    for entry in rules.reserved:
        if entry.value.matches_name(name):
            place = place_in_words(entry.set_in)
            return f'The name {name} is reserved by the entry "{entry.value.text}" in the settings of {place}.'
    try:
        refuse_name(name, rules)
    except WithheldByRule as error:
        return error.detail
    return ""


def _warmed(name: NormalizedName, wanted: Requirement, offered: Upstream, files: Files) -> Warmed:
    try:
        page = offered.page(name)
    except (UpstreamFailed, UpstreamBusy):
        return Warmed(name, "", failed=(name,))
    version, chosen = _newest(page, wanted)
    if chosen:
        return _fetched(name, version, chosen, files)
    details = {} if page is None else {one.file: one.detail for one in page.withheld}
    _, withheld = _newest(None if page is None else replace(page, files=tuple(details)), wanted)
    if withheld:
        return Warmed(name, "", skipped=details[withheld[0]])
    return Warmed(name, "", failed=(str(wanted),))


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
