"""Blocked and allowed names and versions of the public index."""

from __future__ import annotations

from dataclasses import dataclass

from packaging.utils import NormalizedName

from registry.domain.packages.simple import SimpleFile, SimplePage, Withheld
from registry.domain.patterns import ByVersion, Pattern
from registry.domain.upstream.policies.filenames import version_of, without
from registry.domain.upstream.protocol import Upstream
from registry.domain.upstream.rules import Placed, Rules, place_in_words
from registry.errors import NotFound, RegistryError, WithheldByRule


@dataclass(frozen=True)
class NameRule:
    """A rule that hides a whole name.

    :ivar rule: ``blocked`` or ``allowed``, as in ``Withheld``; or ``reserved``; or ``off`` if nothing is asked for.
    :ivar set_in: as in ``Placed``; for a name that was published, the top-level group or personal namespace around it.
    :ivar entry: of the list; empty if the name is hidden because it is on no list, or because it was published.
    :ivar detail: the reason, in a sentence for people.
    """

    rule: str
    set_in: str
    entry: str
    detail: str

    def refusal(self) -> RegistryError:
        """Return the error for a client that asks for the name."""
        if self.rule in ("reserved", "off"):
            return NotFound("Package").explained("Package not found", self.detail)
        title = "Package blocked" if self.rule == "blocked" else "Package not allowed"
        return WithheldByRule(self.rule).explained(title, self.detail)


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
    blocked_here, allowed_here = (ByVersion(rule.value for rule in placed) for placed in (blocked, allowed))
    withheld = []
    for file in page.files:
        version = version_of(file.filename)
        place = blocked_here.first(version)
        if place is not None:
            withheld.append(_blocked(file, blocked[place]))
        elif rules.allowed and allowed_here.first(version) is None:
            withheld.append(_not_allowed(file, rules.allowed[-1].set_in))
    return without(page, withheld)


def refuse_name(name: NormalizedName, rules: Rules) -> None:
    """Refuse a name of which no version is offered, whatever the public index has.

    :raises WithheldByRule: the name is blocked, or not allowed.
    """
    found = name_rule(name, rules)
    if found is not None:
        raise found.refusal()


def name_rule(name: NormalizedName, rules: Rules) -> NameRule | None:
    """Return the rule because of which no version of a name is offered, whatever the public index has."""
    for rule in rules.blocked:
        if rule.value.is_whole and rule.value.matches_name(name):
            detail = f"The package {name} is {_blocked_by(rule)} {_whom_to_ask(rule.set_in)}"
            return NameRule("blocked", rule.set_in, rule.value.text, detail)
    if rules.allowed and not any(rule.value.matches_name(name) for rule in rules.allowed):
        set_in = rules.allowed[-1].set_in
        detail = f"The package {name} is {_not_allowed_by(set_in)} {_whom_to_ask(set_in)}"
        return NameRule("allowed", set_in, "", detail)
    return None


def _blocked(file: SimpleFile, rule: Placed[Pattern]) -> Withheld:
    return Withheld(file, "blocked", rule.set_in, None, f"{file.filename} is {_blocked_by(rule)}")


def _not_allowed(file: SimpleFile, set_in: str) -> Withheld:
    return Withheld(file, "allowed", set_in, None, f"{file.filename} is {_not_allowed_by(set_in)}")


def _blocked_by(rule: Placed[Pattern]) -> str:
    return f'blocked by the entry "{rule.value.text}" in the settings of {place_in_words(rule.set_in)}.'


def _not_allowed_by(set_in: str) -> str:
    return f"not on the list of allowed packages, which is set in {place_in_words(set_in)}."


def _whom_to_ask(set_in: str) -> str:
    return "Ask an administrator." if set_in == "instance" else f"Ask an Owner of the group {set_in}."
