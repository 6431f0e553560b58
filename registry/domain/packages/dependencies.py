"""The dependencies of a package and the packages that require it, as far as the reader may know of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Select, and_, func, or_, select
from sqlalchemy.orm import contains_eager

from registry.database import db
from registry.domain import access, namespaces
from registry.domain.access import Principal
from registry.domain.packages.index import of_projects
from registry.domain.packages.requirements import Requirement
from registry.models import Namespace, NameSummary, Package, PackageRequirement, PackageStatus, Project


@dataclass(frozen=True)
class Dependency:
    """A requirement of a package, and where installers find it.

    :ivar project: one that has packages of the name, among those that the reader can read in the index.
    """

    requirement: Requirement
    project: Project | None


def of_package(package: Package, namespace: Namespace, principal: Principal) -> list[Dependency]:
    """Return the dependencies of a package in the order of its metadata, in one statement.

    :param namespace: the project or group with the index that is used.
    """
    names = select(PackageRequirement.normalized_name).where(PackageRequirement.package_id == package.id)
    holders = _holders(namespace, principal).where(Package.normalized_name.in_(names)).subquery()
    rows = db.session.execute(
        select(PackageRequirement, Project)
        .outerjoin(holders, holders.c.normalized_name == PackageRequirement.normalized_name)
        .outerjoin(Project, Project.id == holders.c.project_id)
        .where(PackageRequirement.package_id == package.id)
        .order_by(PackageRequirement.number)
    )
    return [Dependency(_requirement(row), project) for row, project in rows]


def of_requirements(
    requirements: Iterable[Requirement], namespace: Namespace, principal: Principal
) -> list[Dependency]:
    """Return the same of requirements of a package that has no rows yet."""
    requirements = list(requirements)
    names = {each.normalized_name for each in requirements}
    holders = _holders(namespace, principal).where(Package.normalized_name.in_(names)).subquery()
    rows = db.session.execute(
        select(holders.c.normalized_name, Project).join(Project, Project.id == holders.c.project_id)
    )
    projects = {row[0]: row[1] for row in rows}
    return [Dependency(each, projects.get(each.normalized_name)) for each in requirements]


def _holders(namespace: Namespace, principal: Principal) -> Select[str, int]:
    """Select package names, each with one of the projects that have packages of it."""
    return (
        select(Package.normalized_name, func.min(Package.project_id).label("project_id"))
        .where(Package.status == PackageStatus.DEFAULT, of_projects(Package.project_id, namespace, principal))
        .group_by(Package.normalized_name)
    )


def _requirement(row: PackageRequirement) -> Requirement:
    return Requirement(
        extra=row.extra,
        name=row.name,
        normalized_name=row.normalized_name,
        extras=row.extras,
        specifier=row.specifier,
        url=row.url,
        condition=row.condition,
    )


def by_extra(dependencies: Iterable[Dependency]) -> list[tuple[str, list[Dependency]]]:
    """Return dependencies by extra, those without one first, under ``""``."""
    groups: dict[str, list[Dependency]] = {"": []}
    for each in dependencies:
        groups.setdefault(each.requirement.extra, []).append(each)
    return [(extra, found) for extra, found in groups.items() if found]


@dataclass(frozen=True)
class Dependent:
    """A package version that requires a name.

    :ivar requirements: those on the name.
    """

    package: Package
    requirements: list[Requirement]


def dependents(project: Project, normalized_name: str, principal: Principal) -> list[int]:
    """Return the IDs of packages that require a name and are the latest versions of their own, ordered by name.

    Those in projects that the principal can read are returned, in the top-level group or personal namespace of the
    project, whose packages can depend on each other. The database reads only indexes.
    """
    is_readable = and_(access.readable(access.reader_of(principal)), access.below(namespaces.top_of(project)))
    requiring = select(PackageRequirement.package_id).where(PackageRequirement.normalized_name == normalized_name)
    found = db.session.scalars(
        select(NameSummary.latest_id)
        .where(
            NameSummary.latest_id.in_(requiring),
            NameSummary.project_id.in_(select(Project.id).where(is_readable)),
            or_(NameSummary.project_id != project.id, NameSummary.normalized_name != normalized_name),
        )
        .order_by(NameSummary.normalized_name, NameSummary.project_id)
    )
    return list(found)


def described(package_ids: Sequence[int], normalized_name: str) -> list[Dependent]:
    """Return these packages with their projects and what they require of a name, in the same order, in one statement.

    Those that were deleted in the meantime are left out.
    """
    rows = db.session.execute(
        select(Package, PackageRequirement)
        .join(Package.project)
        .join(PackageRequirement, PackageRequirement.package_id == Package.id)
        .options(contains_eager(Package.project))
        .where(
            Package.id.in_(package_ids),
            Package.status == PackageStatus.DEFAULT,
            PackageRequirement.normalized_name == normalized_name,
        )
        .order_by(PackageRequirement.package_id, PackageRequirement.number)
    )
    found: dict[int, Dependent] = {}
    for package, row in rows:
        found.setdefault(package.id, Dependent(package, [])).requirements.append(_requirement(row))
    return [found[package_id] for package_id in package_ids if package_id in found]
