"""The upstream index as a project or group may use it: its pages behind the rules that are effective there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from packaging.utils import NormalizedName

from registry.domain.packages.simple import SimpleFile, SimplePage
from registry.domain.upstream.policies.advisories import ByAdvisory
from registry.domain.upstream.policies.age import ByAge
from registry.domain.upstream.policies.listed import ByList
from registry.domain.upstream.protocol import Upstream
from registry.domain.upstream.rules import Rules
from registry.errors import UpstreamBusy, UpstreamFailed, WithheldByRule


@dataclass(frozen=True)
class OfferedFile:
    """A file of the upstream index that may be given out.

    :ivar holds_until: when that has to be decided anew; ``None`` if only a change can make it necessary.
    """

    file: SimpleFile
    holds_until: datetime | None


class _Only:
    """Pages with some of their files. A page can have tens of thousands, and each rule decides on a file by itself."""

    def __init__(self, upstream: Upstream, is_wanted: Callable[[SimpleFile], bool]) -> None:
        self._upstream = upstream
        self._is_wanted = is_wanted

    def page(self, name: NormalizedName, *, is_fresh: bool = False) -> SimplePage | None:
        page = self._upstream.page(name, is_fresh=is_fresh)
        return None if page is None else replace(page, files=tuple(filter(self._is_wanted, page.files)))


def upstream_for(
    rules: Rules, pages: Upstream, now: datetime, *, only: Callable[[SimpleFile], bool] | None = None
) -> Upstream:
    """Return the upstream index behind the rules of a namespace.

    The first rule that withholds a file is named, so that a blocked file does not seem to become available with time.

    :param pages: of the index, without rules.
    :param only: which files are decided on; the pages have no others.
    """
    pages = pages if only is None else _Only(pages, only)
    return ByAge(ByAdvisory(ByList(pages, rules), rules), rules, now)


def offered_file(
    rules: Rules, pages: Upstream, name: NormalizedName, sha256: str, filename: str, now: datetime
) -> OfferedFile | None:
    """Return the file with this name and digest, as its page offers it, or ``None`` if the page does not list it.

    The upstream index is asked again if the kept page does not list the file, which can be newer.

    :param pages: of the index, without rules.
    :param name: of the package that the file name belongs to.
    :raises WithheldByRule: a rule withholds it.
    """
    upstream = upstream_for(rules, pages, now, only=lambda file: file.sha256 == sha256 and file.filename == filename)
    page = upstream.page(name)
    found = _found(page)
    if found is None and page is not None:
        page = upstream.page(name, is_fresh=True)
        found = _found(page)
    return None if found is None or page is None else OfferedFile(found, page.holds_until)


def offered_from_cache(
    rules: Rules, pages: Upstream, name: NormalizedName, file: SimpleFile, now: datetime
) -> OfferedFile | None:
    """Return a cached file that the upstream index no longer lists, or ``None`` if the index quarantined the name.

    :param pages: of the index, without rules.
    :raises WithheldByRule: a rule withholds it, as if it were on the page.
    """
    try:
        page = pages.page(name)
    except (UpstreamFailed, UpstreamBusy):
        page = None
    if page is not None and page.status == "quarantined":
        return None
    decided = upstream_for(rules, _Alone(file), now).page(name)
    found = _found(decided)
    return None if found is None else OfferedFile(found, None)


class _Alone:
    """Pages with one file."""

    def __init__(self, file: SimpleFile) -> None:
        self._file = file

    def page(self, name: NormalizedName, *, is_fresh: bool = False) -> SimplePage:
        return SimplePage(name, name, (), (self._file,), "active", "")


def _found(page: SimplePage | None) -> SimpleFile | None:
    if page is None:
        return None
    for withheld in page.withheld:
        raise WithheldByRule(withheld.rule).explained("File withheld", withheld.detail)
    return next(iter(page.files), None)
