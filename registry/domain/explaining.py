"""Why a project or group offers the files of a package name, or withholds them: from where, and by which rule."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from packaging.utils import NormalizedName
from packaging.version import Version

from registry.domain import forwarding
from registry.domain.access import Principal
from registry.domain.packages import index, reserved
from registry.domain.packages.simple import SimpleFile, SimplePage
from registry.domain.upstream.chain import upstream_for
from registry.domain.upstream.policies.filenames import version_of
from registry.domain.upstream.policies.listed import NameRule, name_rule
from registry.domain.upstream.protocol import Upstream
from registry.domain.upstream.rules import Rules, rules_of
from registry.errors import Unauthenticated
from registry.models import Group, Project, UpstreamMode

_LAST = datetime.max.replace(tzinfo=UTC)


class Decision(NamedTuple):
    """Whether one file is offered.

    :ivar rule: that withholds the file, as in ``Withheld``; ``None`` if it is offered, like the following ones.
    :ivar until: when the rule offers the file; ``None`` also if it never does.
    :ivar detail: the reason, in a sentence for people; empty if it is offered.
    """

    file: SimpleFile
    rule: str | None = None
    set_in: str | None = None
    until: datetime | None = None
    detail: str = ""

    @property
    def version(self) -> Version | None:
        return version_of(self.file.filename)

    @property
    def is_offered(self) -> bool:
        return self.rule is None


@dataclass(frozen=True)
class Explanation:
    """The source of a package name, and the decision on each of its files.

    :ivar source: ``private``: projects here have the name; ``upstream``: it comes from the public index; ``reserved``:
        it is never asked for there; ``off``: nothing is asked for there; ``none``: the public index lacks it, too.
    :ivar mode: how packages of the public index are offered; in the mode ``redirect``, their files are unknown.
    :ivar hidden_by: the rule that hides the whole name, so that no file is offered.
    :ivar detail: why there are no files, in a sentence for people; empty if there are some.
    """

    name: str
    source: str
    mode: UpstreamMode
    files: tuple[Decision, ...] = ()
    hidden_by: NameRule | None = None
    detail: str = ""


def explain(
    namespace: Project | Group,
    name: NormalizedName,
    principal: Principal,
    pages: Upstream,
    now: datetime,
    *,
    version: Version | None = None,
) -> Explanation:
    """Return how a package name is decided upon, as for a client that asks for its page.

    :param pages: of the public index, without rules.
    :param version: only files of this version (PEP 440).
    :raises Unauthenticated: the caller is anonymous, and some names are hidden from anonymous callers.
    :raises UpstreamFailed: the public index does not answer, and no page of the name is kept.
    """
    rules = rules_of(namespace)
    page = index.simple_page(namespace, name, lambda _digest, _filename: "", principal)
    if page is not None:
        return Explanation(name, "private", rules.mode.value, _decisions(page, version))
    index.refuse_where_names_are_hidden(namespace, principal)
    if not rules.forwards.value:
        return Explanation(name, "off", rules.mode.value, detail="The public index is not used here.")
    reserving = forwarding.reserving_rule(namespace, name, rules)
    if reserving is not None:
        return Explanation(name, "reserved", rules.mode.value, hidden_by=reserving, detail=reserving.detail)
    return _from_upstream(name, rules, pages, now, version)


def forwarded_among(namespace: Project | Group, names: Collection[str], principal: Principal) -> set[str]:
    """Return those of these package names, which this namespace lacks for the reader, that are asked for upstream.

    If the index answers an anonymous reader 401 for every name that it lacks, the names are not told apart here either.
    """
    rules = rules_of(namespace)
    if not rules.forwards.value:
        return set()
    try:
        index.refuse_where_names_are_hidden(namespace, principal)
    except Unauthenticated:
        return set(names)
    reservations = reserved.reserved_among(namespace, names)
    return {name for name in names if name not in reservations and not _is_refused(NormalizedName(name), rules)}


def _is_refused(name: NormalizedName, rules: Rules) -> bool:
    return name_rule(name, rules) is not None or any(rule.value.matches_name(name) for rule in rules.reserved)


def _from_upstream(
    name: NormalizedName, rules: Rules, pages: Upstream, now: datetime, version: Version | None
) -> Explanation:
    mode, rule = rules.mode.value, name_rule(name, rules)
    refusal = "" if rule is None else rule.detail
    if mode is UpstreamMode.REDIRECT:
        detail = refusal or "Requests are redirected to the public index."
        return Explanation(name, "upstream", mode, hidden_by=rule, detail=detail)
    only = None if version is None else lambda file: version_of(file.filename) == version
    page = upstream_for(rules, pages, now, only=only).page(name)
    if page is None:
        detail = refusal or "The public index has no such package."
        return Explanation(name, "none", mode, hidden_by=rule, detail=detail)
    return Explanation(name, "upstream", mode, _decisions(page, version), rule, refusal)


def _decisions(page: SimplePage, version: Version | None) -> tuple[Decision, ...]:
    """Return the decisions on the files of a page, oldest first."""
    found = [
        *(Decision(file) for file in page.files),
        *(Decision(one.file, one.rule, one.set_in, one.until, one.detail) for one in page.withheld),
    ]
    if version is not None:
        found = [one for one in found if one.version == version]
    return tuple(sorted(found, key=lambda one: (one.file.uploaded_at or _LAST, one.file.filename)))
