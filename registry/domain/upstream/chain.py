"""The upstream index as a project or group may use it: its pages behind the rules that are effective there."""

from __future__ import annotations

from datetime import datetime

from registry.domain.packages.simple import SimpleFile, SimplePage
from registry.domain.upstream.policies.age import ByAge
from registry.domain.upstream.policies.listed import ByList
from registry.domain.upstream.protocol import Upstream
from registry.domain.upstream.rules import Rules
from registry.errors import WithheldByRule


def upstream_for(rules: Rules, pages: Upstream, now: datetime) -> Upstream:
    """Return the upstream index behind the rules of a namespace.

    The first rule that withholds a file is the one that is named: what is blocked does not become offered with time.

    :param pages: of the index, without rules.
    """
    return ByAge(ByList(pages, rules), rules, now)


def offered_file(page: SimplePage | None, sha256: str, filename: str) -> SimpleFile | None:
    """Return the file with this name and digest if its page offers it, or ``None`` if the page does not have it.

    :raises WithheldByRule: a rule withholds it.
    """
    if page is None:
        return None
    for withheld in page.withheld:
        if (withheld.file.sha256, withheld.file.filename) == (sha256, filename):
            raise WithheldByRule().explained("File withheld", withheld.detail)
    return next((file for file in page.files if (file.sha256, file.filename) == (sha256, filename)), None)
