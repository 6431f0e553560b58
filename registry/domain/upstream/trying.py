"""What changed rules about the public index would withhold, of the files that were downloaded in the last 90 days."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from registry.domain.advisories.known import Finding, findings_about
from registry.domain.cascade import PUBLIC_INDEX
from registry.domain.packages.simple import SimpleFile, SimplePage, Withheld
from registry.domain.upstream import uses
from registry.domain.upstream.policies import advisories, age, listed
from registry.domain.upstream.rules import Rules, rules_if
from registry.domain.upstream.uses import Fetch
from registry.errors import InvalidRecord
from registry.models import Group

MOST_EXAMINED = 5000  # downloads, the latest ones: a fifth of a second


@dataclass(frozen=True)
class Hidden:
    """A file that is offered now, and would be withheld.

    :ivar rule: as in ``Withheld``, or ``reserved``.
    :ivar until: when the rule would offer the file; ``None`` also if it never would.
    :ivar places: full paths of the projects and groups through which it was downloaded.
    """

    name: str
    filename: str
    rule: str
    until: datetime | None
    fetched_on: date
    places: tuple[str, ...]


@dataclass(frozen=True)
class Trial:
    """What changed rules come to.

    :ivar examined: number of files.
    :ivar hidden: by the day of their last download, newest first.
    :ivar released: number of files that are withheld now, and would be offered.
    :ivar is_partial: whether only the latest downloads were examined.
    """

    examined: int
    hidden: tuple[Hidden, ...]
    released: int
    is_partial: bool


def try_change(group: Group | None, changed: Mapping[str, Any], now: datetime) -> Trial:
    """Return what a change of rules would come to, in five statements. Nothing is changed.

    A file counts as hidden if that is so for at least one of the projects and groups through which it was downloaded.
    The mode is not considered: the rules are applied as if files are fetched.

    :param group: whose settings would be changed, or those of the instance (``None``).
    :param changed: new values by the names of the settings and locks.
    :raises InvalidRecord: a value is not valid.
    """
    faults = {one.name: one.kind.faults(changed[one.name]) for one in PUBLIC_INDEX if changed.get(one.name) is not None}
    if any(faults.values()):
        raise InvalidRecord({name: found for name, found in faults.items() if found})
    fetches = uses.fetched(group, now.date(), MOST_EXAMINED + 1)
    is_partial, fetches = len(fetches) > MOST_EXAMINED, fetches[:MOST_EXAMINED]
    rules = rules_if(group, changed, {fetch.namespace_id for fetch in fetches})
    findings = findings_about({fetch.normalized_name for fetch in fetches})
    by_rules: defaultdict[tuple[int, str], list[Fetch]] = defaultdict(list)
    for fetch in fetches:
        by_rules[id(rules[fetch.namespace_id]), fetch.normalized_name].append(fetch)
    hidden: defaultdict[str, list[tuple[Fetch, Withheld]]] = defaultdict(list)
    released = set()
    for (_, name), downloaded in by_rules.items():
        page = _page(name, downloaded)
        before, after = (
            _withheld(page, one, findings.get(page.name, ()), now) for one in rules[downloaded[0].namespace_id]
        )
        for fetch in downloaded:
            if fetch.sha256 in after and fetch.sha256 not in before:
                hidden[fetch.sha256].append((fetch, after[fetch.sha256]))
            elif fetch.sha256 in before and fetch.sha256 not in after:
                released.add(fetch.sha256)
    found = sorted(map(_hidden, hidden.values()), key=lambda one: (-one.fetched_on.toordinal(), one.name, one.filename))
    return Trial(len({fetch.sha256 for fetch in fetches}), tuple(found), len(released - set(hidden)), is_partial)


def _page(name: str, fetches: Iterable[Fetch]) -> SimplePage:
    files = {
        fetch.sha256: SimpleFile(fetch.filename, "", fetch.sha256, None, "", fetch.uploaded_at, None, None)
        for fetch in fetches
    }
    return SimplePage(name, name, (), tuple(files.values()), "active", "")


def _withheld(page: SimplePage, rules: Rules, findings: Iterable[Finding], now: datetime) -> dict[str, Withheld]:
    """Return the files of a page that are withheld, by digest, in the order of ``chain.upstream_for``.

    The public index is not asked for a reserved name at all.
    """
    for entry in rules.reserved:
        if entry.value.matches_name(page.name):
            return {file.sha256: Withheld(file, "reserved", entry.set_in, None, "") for file in page.files}
    decided = age.withhold(advisories.withhold(listed.withhold(page, rules), findings, rules), rules, now)
    return {one.file.sha256: one for one in decided.withheld}


def _hidden(found: list[tuple[Fetch, Withheld]]) -> Hidden:
    fetch, withheld = found[0]
    return Hidden(
        fetch.normalized_name, fetch.filename, withheld.rule, withheld.until, max(one.fetched_on for one, _ in found),
        tuple(one.path for one, _ in found),
    )  # fmt: skip
