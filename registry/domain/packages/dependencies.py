"""The dependencies of a package, by extra, and where installers find them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from sqlalchemy import func, select

from registry.database import db
from registry.domain.access import Principal
from registry.domain.packages.index import of_projects
from registry.models import Namespace, Package, PackageStatus, Project

_EXTRA = re.compile(r"""extra\s*==\s*(?:"([^"]*)"|'([^']*)')""")
# The usual markers of an extra: alone, or behind another condition.
_ONLY_EXTRA = re.compile(r'(?:(?P<rest>.*) and )?extra == "[^"]*"', re.DOTALL)


@dataclass(frozen=True)
class Dependency:
    """A requirement of a package.

    :ivar name: as spelled in the requirement.
    :ivar extras: those asked of the dependency.
    :ivar condition: the environment marker, without that of the extra if it can be left out; often empty.
    """

    name: str
    normalized_name: str
    extras: tuple[str, ...]
    specifier: str
    url: str
    condition: str


def by_extra(requirements: Iterable[str]) -> list[tuple[str, tuple[Dependency, ...]]]:
    """Return the dependencies of values of Requires-Dist by extra, those without one first, under ``""``.

    A requirement of several extras is listed with each; values that are no requirements are left out.
    """
    groups: dict[str, dict[Dependency, None]] = {"": {}}
    for text in requirements:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:  # published with an earlier version, which validated less
            continue
        marker = "" if requirement.marker is None else str(requirement.marker)
        for extra in _extras(marker) or ("",):
            groups.setdefault(extra, {})[_dependency(requirement, _condition(marker))] = None
    return [(extra, tuple(found)) for extra, found in groups.items() if found]


def _extras(marker: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(canonicalize_name(one or other) for one, other in _EXTRA.findall(marker)))


def _condition(marker: str) -> str:
    match = _ONLY_EXTRA.fullmatch(marker)
    if match is None or " or " in marker:
        return marker
    return match["rest"] or ""


def _dependency(requirement: Requirement, condition: str) -> Dependency:
    return Dependency(
        name=requirement.name,
        normalized_name=canonicalize_name(requirement.name),
        extras=tuple(sorted(requirement.extras)),
        specifier=", ".join(sorted(map(str, requirement.specifier), key=_order)),
        url=requirement.url or "",
        condition=condition,
    )


def _order(specifier: str) -> tuple[int, str]:
    """Return a key that sorts specifiers as people write them: lower bounds first, exceptions last."""
    return "=~><!".index(specifier[0]), specifier


def projects_with(names: Iterable[str], namespace: Namespace, principal: Principal) -> dict[str, Project]:
    """Return a project that has packages of each name, by name, among those that the caller can read in a namespace.

    :param names: normalized.
    """
    holders = (
        select(Package.normalized_name, func.min(Package.project_id).label("project_id"))
        .where(
            Package.normalized_name.in_(set(names)),
            Package.status == PackageStatus.DEFAULT,
            of_projects(Package.project_id, namespace, principal),
        )
        .group_by(Package.normalized_name)
        .subquery()
    )
    rows = db.session.execute(
        select(holders.c.normalized_name, Project).join(Project, Project.id == holders.c.project_id)
    )
    return {row[0]: row[1] for row in rows}
