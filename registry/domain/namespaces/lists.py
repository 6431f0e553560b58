"""Lists of the groups and projects visible to a principal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import SQLColumnExpression, case, false, func, or_, select
from sqlalchemy.orm import selectinload

from registry.database import contains, db
from registry.domain import access
from registry.domain.access import Permission, Principal
from registry.domain.paging import Listing
from registry.models import Group, Namespace, Project, Role, Visibility

MOST_CHOICES = 1000
GroupOrProject = TypeVar("GroupOrProject", Group, Project)


@dataclass(frozen=True)
class NamespaceFilter:
    """Filter and order of a list of groups or projects.

    :param search: part of the name or path; case-insensitive.
    :param role: minimum role of the caller, by membership.
    :param joined_only: only those that the caller is a member of.
    :param order_by: a column, or ``match`` for the best matches of the search first, without a search none.
    """

    search: str = ""
    visibility: Visibility | None = None
    role: Role = Role.NO_ACCESS
    joined_only: bool = False
    order_by: str = "id"
    descending: bool = False


def groups(
    principal: Principal,
    wanted: NamespaceFilter,
    *,
    below: Group | None = None,
    children_only: bool = False,
    top_level_only: bool = False,
    without: Iterable[int] = (),
) -> Listing[Group]:
    """Return the groups visible to the principal.

    :param below: only its descendants; with ``children_only``, its direct subgroups.
    :param without: IDs to exclude.
    """
    listing = _narrowed(select(Group), Group, principal, wanted).where(Group.id.not_in(list(without)))
    if below is not None:
        listing = listing.where(Group.parent_id == below.id if children_only else access.within(below))
    if top_level_only:
        listing = listing.where(Group.parent_id.is_(None))
    return listing


def projects(
    principal: Principal,
    wanted: NamespaceFilter,
    *,
    below: Namespace | None = None,
    children_only: bool = False,
    archived: bool | None = None,
    after: int | None = None,
    before: int | None = None,
) -> Listing[Project]:
    """Return the projects visible to the principal, with their parents loaded.

    :param below: only those in this namespace or its subgroups; with ``children_only``, those directly in it.
    :param after: only IDs above this one.
    :param before: only IDs below this one.
    """
    listing = _narrowed(select(Project), Project, principal, wanted).options(selectinload(Project.parent))
    if below is not None:
        listing = listing.where(Project.parent_id == below.id if children_only else access.within(below))
    if archived is not None:
        listing = listing.where(Project.archived.is_(archived))
    if after is not None:
        listing = listing.where(Project.id > after)
    if before is not None:
        listing = listing.where(Project.id < before)
    return listing


@dataclass(frozen=True)
class Contents:
    """Numbers of subgroups and projects in a group."""

    subgroups: int = 0
    projects: int = 0


def contents(groups: Iterable[Group], principal: Principal) -> dict[int, Contents]:
    """Count the visible direct subgroups and projects of many groups, by group ID, in one statement."""
    found = {group.id: Contents() for group in groups}
    rows = db.session.execute(
        select(
            Namespace.parent_id,
            func.count().filter(Namespace.kind == "group"),
            func.count().filter(Namespace.kind == "project"),
        )
        .where(Namespace.parent_id.in_(found), access.visible(principal))
        .group_by(Namespace.parent_id)
    )
    return found | {
        parent_id: Contents(subgroups, projects) for parent_id, subgroups, projects in rows if parent_id is not None
    }


def counts_below(namespace: Namespace) -> Contents:
    """Count all groups and projects below a namespace, visible or not, which are deleted with it."""
    row = db.session.execute(
        select(
            func.count().filter(Namespace.kind == "group"),
            func.count().filter(Namespace.kind == "project"),
        ).where(access.within(namespace))
    ).one()
    return Contents(*row)


def groups_with(principal: Principal, permission: Permission) -> Sequence[Group]:
    """Return the groups in which the principal has a permission that requires at least Developer, ordered by full path.

    It is for choices on pages, and considers at most ``MOST_CHOICES`` groups.
    """
    listing = select(Group).where(access.visible(principal))
    if not principal.is_admin:
        listing = listing.where(access.has_role(principal, Role.DEVELOPER))
    found = db.session.scalars(listing.order_by(Group.full_path_key).limit(MOST_CHOICES)).all()
    principal = access.load_roles(principal, found)
    return [group for group in found if access.allowed(principal, permission, group)]


def new_parents(group: Group, principal: Principal) -> list[Group]:
    """Return the groups that the principal can move a group into, without the group itself and its descendants."""
    below = f"{group.full_path_key}/"
    return [
        parent
        for parent in groups_with(principal, Permission.CREATE_SUBGROUP)
        if parent != group and not parent.full_path_key.startswith(below)
    ]


def visible_ids(principal: Principal, records: Iterable[Namespace]) -> set[int]:
    """Return the IDs of the namespaces visible to the principal, in one statement."""
    ids = [record.id for record in records]
    return set(db.session.scalars(select(Namespace.id).where(Namespace.id.in_(ids), access.visible(principal))))


def _narrowed(
    listing: Listing[GroupOrProject], kind: type[GroupOrProject], principal: Principal, wanted: NamespaceFilter
) -> Listing[GroupOrProject]:
    listing = listing.where(access.visible(principal))
    if not wanted.search and wanted.order_by == "match":
        listing = listing.where(false())
    elif wanted.search:
        path = Namespace.full_path if "/" in wanted.search else Namespace.path
        listing = listing.where(contains(Namespace.name, wanted.search) | contains(path, wanted.search))
    if wanted.visibility is not None:
        listing = listing.where(Namespace.visibility == wanted.visibility)
    if wanted.joined_only:
        listing = listing.where(access.joined(principal))
    if wanted.role > Role.NO_ACCESS:
        listing = listing.where(access.has_role(principal, wanted.role))
    keys = (*_order(kind, wanted), kind.id)
    return listing.order_by(*(key.desc() for key in keys) if wanted.descending else keys)


def _order(kind: type[GroupOrProject], wanted: NamespaceFilter) -> tuple[SQLColumnExpression[Any], ...]:
    name = func.lower(Namespace.name)
    match wanted.order_by:
        case "name":
            return (name,)
        case "match":
            text = wanted.search.lower()
            path = Namespace.full_path_key if "/" in text else func.lower(Namespace.path)
            rank = case(
                (or_(path == text, name == text), 0),
                (or_(path.startswith(text, autoescape=True), name.startswith(text, autoescape=True)), 1),
                else_=2,
            )
            return rank, func.length(Namespace.full_path), Namespace.full_path_key
        case column:
            return (getattr(kind, column),)
