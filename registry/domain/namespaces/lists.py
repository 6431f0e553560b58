"""Lists of groups and projects that a principal may see."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import selectinload

from registry.database import contains, db
from registry.domain import access
from registry.domain.access import Permission, Principal
from registry.domain.paging import Listing
from registry.models import Group, Namespace, Project, Role, Visibility

MOST_CHOICES = 1000


@dataclass(frozen=True)
class NamespaceFilter:
    """What a list of groups or projects is narrowed to, and its order.

    :param search: a part of the name or path, without case.
    :param role: the caller holds at least this role there, by membership.
    :param joined_only: what is merely open to the caller is left out.
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
) -> Listing:
    """Groups the principal may know of.

    :param below: only its subgroups; with ``children_only`` those directly in it.
    :param without: ids left out.
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
) -> Listing:
    """Projects the principal may know of, each with its parent.

    :param below: only those in this namespace or its subgroups; with ``children_only`` those directly in it.
    :param after: only ids above this one.
    :param before: only ids below this one.
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
    """How many subgroups and projects lie in a group."""

    subgroups: int = 0
    projects: int = 0


def contents(groups: Iterable[Group], principal: Principal) -> dict[int, Contents]:
    """What the principal may know of directly in each of many groups, by id, in one statement."""
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
    """How many groups and projects lie anywhere below, whoever may know of them: what a deletion takes along."""
    row = db.session.execute(
        select(
            func.count().filter(Namespace.kind == "group"),
            func.count().filter(Namespace.kind == "project"),
        ).where(access.within(namespace))
    ).one()
    return Contents(*row)


def groups_with(principal: Principal, permission: Permission) -> Sequence[Group]:
    """Groups in which the principal holds a permission that asks for at least a Developer, by full path.

    For a choice on a page: no more than ``MOST_CHOICES`` are looked at.
    """
    listing = select(Group).where(access.visible(principal))
    if not principal.is_admin:
        listing = listing.where(access.has_role(principal, Role.DEVELOPER))
    found = db.session.scalars(listing.order_by(Group.full_path_key).limit(MOST_CHOICES)).all()
    access.held_roles(principal, found)
    return [group for group in found if access.allowed(principal, permission, group)]


def visible_ids(principal: Principal, records: Iterable[Namespace]) -> set[int]:
    """The ids of those that the principal may know of, in one statement."""
    ids = [record.id for record in records]
    return set(db.session.scalars(select(Namespace.id).where(Namespace.id.in_(ids), access.visible(principal))))


def _narrowed(
    listing: Listing, kind: type[Group] | type[Project], principal: Principal, wanted: NamespaceFilter
) -> Listing:
    listing = listing.where(access.visible(principal))
    if wanted.search:
        path = Namespace.full_path if "/" in wanted.search else Namespace.path
        listing = listing.where(contains(Namespace.name, wanted.search) | contains(path, wanted.search))
    if wanted.visibility is not None:
        listing = listing.where(Namespace.visibility == wanted.visibility)
    if wanted.joined_only:
        listing = listing.where(access.joined(principal))
    if wanted.role > Role.NO_ACCESS:
        listing = listing.where(access.has_role(principal, wanted.role))
    order = func.lower(Namespace.name) if wanted.order_by == "name" else getattr(kind, wanted.order_by)
    keys = (order, kind.id)
    return listing.order_by(*(key.desc() for key in keys) if wanted.descending else keys)
