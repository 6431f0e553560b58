"""Request forwarding: whether it is on, and the upstream URL of a request."""

from __future__ import annotations

from urllib.parse import quote

from packaging.utils import NormalizedName, canonicalize_name

from registry.domain.cascade import FORWARDING
from registry.domain.packages.reserved import Reservation, reservation
from registry.domain.upstream.policies.listed import NameRule, name_rule
from registry.domain.upstream.rules import Rules, place_in_words, rules_of
from registry.models import Namespace

of_group, change_forwarding = FORWARDING.of_group, FORWARDING.change


def forwards(namespace: Namespace) -> bool:
    """Return whether requests for package names missing from this project or group are forwarded."""
    return FORWARDING.value_in(namespace)


def page_url(name: str, upstream: str) -> str:
    """Return the URL of the upstream page of a package name.

    :param name: as requested; the URL contains its normalized form (PEP 503).
    :param upstream: URL of the upstream simple index.
    """
    return f"{upstream}/{canonicalize_name(name)}/"


def require_forwarded(namespace: Namespace, normalized_name: NormalizedName) -> Rules:
    """Return the rules about the upstream index, which may be asked for a package name that this namespace lacks.

    Raises the errors of ``refuse_unforwarded``.
    """
    rules = rules_of(namespace)
    refuse_unforwarded(namespace, normalized_name, rules)
    return rules


def refuse_unforwarded(namespace: Namespace, normalized_name: NormalizedName, rules: Rules) -> None:
    """Refuse to ask the upstream index for a package name that this namespace lacks.

    :param rules: of the namespace.
    :raises WithheldByRule: the name is blocked, or not allowed.
    :raises NotFound: forwarding is off, by the namespace's own, an inherited, or a locked setting; or the name is
        reserved (``reserving_rule``).

    GitLab, "Package request forwarding": the direct parent group decides for a project. GitLab forwards all names.
    """
    found = refusing_rule(namespace, normalized_name, rules)
    if found is not None:
        raise found.refusal()


def refusing_rule(namespace: Namespace, normalized_name: NormalizedName, rules: Rules) -> NameRule | None:
    """Return why the upstream index is not asked for a name; ``None`` if it can be."""
    if not rules.forwards.value:
        detail = (
            f"The {namespace.kind} {namespace.full_path} has no package {normalized_name}, and the setting "
            '"Forward PyPI package requests" is off there, so the public index is not asked.'
        )
        return NameRule("off", rules.forwards.set_in, "", detail)
    return reserving_rule(namespace, normalized_name, rules) or name_rule(normalized_name, rules)


def reserving_rule(namespace: Namespace, normalized_name: str, rules: Rules) -> NameRule | None:
    """Return by which publication around a namespace, or which pattern, a name is reserved; ``None`` if it is not.

    The explanation names the index that can have it, or the pattern.
    """
    found = reservation(namespace, normalized_name)
    if found is not None:
        return NameRule("reserved", found.top, "", _explanation(namespace, normalized_name, found))
    for rule in rules.reserved:
        if rule.value.matches_name(normalized_name):
            detail = (
                f'The name {normalized_name} is reserved by the entry "{rule.value.text}" in the settings of '
                f"{place_in_words(rule.set_in)}, so the public index is not asked. The {namespace.kind} "
                f"{namespace.full_path} has no such package."
            )
            return NameRule("reserved", rule.set_in, rule.value.text, detail)
    return None


def _explanation(namespace: Namespace, name: str, found: Reservation) -> str:
    if found.is_held_here:
        return (
            f"The name {name} belongs to the {namespace.kind} {namespace.full_path}, so the public index is not asked. "
            "Its packages were deleted, or you cannot read them."
        )
    kind = "personal namespace" if found.is_personal else "group"
    reason = f"The name {name} is reserved in the {kind} {found.top}, so the public index is not asked."
    if found.is_personal or found.top == namespace.full_path:
        return f"{reason} Use the index of the project that has it."
    return f"{reason} Use the index of the group: /api/v4/groups/{quote(found.top, safe='')}/-/packages/pypi/simple"
