"""Blocked and allowed names and versions of the public index."""

from __future__ import annotations

from packaging.utils import NormalizedName
from packaging.version import Version

from registry.domain.packages.simple import SimpleFile, SimplePage, Withheld
from registry.domain.patterns import Pattern
from registry.domain.upstream.policies.filenames import version_of, without
from registry.domain.upstream.protocol import Upstream
from registry.domain.upstream.rules import Placed, Rules, place_in_words
from registry.errors import WithheldByRule


class ByList:
    """Withholds the files that ``withhold`` does."""

    def __init__(self, upstream: Upstream, rules: Rules) -> None:
        self._upstream = upstream
        self._rules = rules

    def page(self, name: NormalizedName, *, is_fresh: bool = False) -> SimplePage | None:
        page = self._upstream.page(name, is_fresh=is_fresh)
        return None if page is None else withhold(page, self._rules)


def withhold(page: SimplePage, rules: Rules) -> SimplePage:
    """Return a page without the files that are blocked, or, if some names are allowed, those that are not allowed."""
    blocked = [rule for rule in rules.blocked if rule.value.matches_name(page.name)]
    allowed = [rule for rule in rules.allowed if rule.value.matches_name(page.name)]
    if not blocked and (not rules.allowed or any(rule.value.is_whole for rule in allowed)):
        return page
    blocked_here, allowed_here = _Matching(blocked), _Matching(allowed)
    found = (_withheld(file, blocked_here, allowed_here, rules) for file in page.files)
    return without(page, (one for one in found if one is not None))


def refuse_name(name: NormalizedName, rules: Rules) -> None:
    """Refuse a name of which no version is offered, whatever the public index has.

    :raises WithheldByRule: the name is blocked, or not allowed.
    """
    for rule in rules.blocked:
        if rule.value.is_whole and rule.value.matches_name(name):
            raise WithheldByRule("blocked").explained(
                "Package blocked", f"The package {name} is {_blocked_by(rule)} {_whom_to_ask(rule.set_in)}"
            )
    if rules.allowed and not any(rule.value.matches_name(name) for rule in rules.allowed):
        set_in = rules.allowed[-1].set_in
        raise WithheldByRule("allowed").explained(
            "Package not allowed", f"The package {name} is {_not_allowed_by(set_in)} {_whom_to_ask(set_in)}"
        )


class _Matching:
    """Patterns of one name, found by version: there can be hundreds, and tens of thousands of files."""

    def __init__(self, patterns: list[Placed[Pattern]]) -> None:
        self._whole: tuple[int, Placed[Pattern]] | None = None
        self._of_versions: dict[Version, tuple[int, Placed[Pattern]]] = {}
        for place, rule in enumerate(patterns):
            if rule.value.version is not None:
                self._of_versions.setdefault(rule.value.version, (place, rule))
            elif self._whole is None:
                self._whole = (place, rule)

    def first(self, version: Version | None) -> Placed[Pattern] | None:
        """Return the first pattern that matches a version (``Pattern.matches_version``)."""
        found = [] if self._whole is None else [self._whole]
        if version is not None:
            spelled = {version, Version(version.public)} if version.local else (version,)
            found += [self._of_versions[one] for one in spelled if one in self._of_versions]
        return min(found, key=lambda one: one[0])[1] if found else None


def _withheld(file: SimpleFile, blocked: _Matching, allowed: _Matching, rules: Rules) -> Withheld | None:
    version = version_of(file.filename)
    rule = blocked.first(version)
    if rule is not None:
        return Withheld(file, "blocked", rule.set_in, None, f"{file.filename} is {_blocked_by(rule)}")
    if rules.allowed and allowed.first(version) is None:
        set_in = rules.allowed[-1].set_in
        return Withheld(file, "allowed", set_in, None, f"{file.filename} is {_not_allowed_by(set_in)}")
    return None


def _blocked_by(rule: Placed[Pattern]) -> str:
    return f'blocked by the entry "{rule.value.text}" in the settings of {place_in_words(rule.set_in)}.'


def _not_allowed_by(set_in: str) -> str:
    return f"not on the list of allowed packages, which is set in {place_in_words(set_in)}."


def _whom_to_ask(set_in: str) -> str:
    return "Ask an administrator." if set_in == "instance" else f"Ask an Owner of the group {set_in}."
