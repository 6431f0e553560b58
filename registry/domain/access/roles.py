"""Roles of users by membership in a namespace or its ancestors."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date

from sqlalchemy import BindParameter, ColumnElement, Date, SQLColumnExpression, bindparam, exists, func, or_, select

from registry.database import db, utcnow
from registry.domain.access.principals import Principal
from registry.models import Ancestry, Group, Membership, Namespace, Role, User


def role_in(principal: Principal, namespace: Namespace) -> Role:
    """Return the highest role of the principal's user in the namespace or any ancestor; Owner for administrators."""
    if principal.is_admin:
        return Role.OWNER
    if principal.user is None:
        return Role.NO_ACCESS
    if namespace.id not in principal._roles:
        principal._roles[namespace.id] = role_of(principal.user, namespace)
    return principal._roles[namespace.id]


def role_of(user: User, namespace: Namespace) -> Role:
    """Return the same by membership alone, read from the database each time."""
    highest = db.session.scalar(
        _HIGHEST_ROLE, {"namespace_id": namespace.id, "user_id": user.id, "today": utcnow().date()}
    )
    return Role(highest or Role.NO_ACCESS)


@dataclass(frozen=True)
class HeldRoles:
    """The roles of one user in a namespace: direct, and inherited from its ancestors."""

    direct: Role = Role.NO_ACCESS
    inherited: Role = Role.NO_ACCESS


def held_roles(principal: Principal, namespaces: Iterable[Namespace]) -> dict[int, HeldRoles]:
    """Return the roles of the principal's user by namespace ID, in one statement, and cache them for ``role_in``.

    The Owner of a personal namespace counts as a direct Owner of its projects.
    """
    found = {namespace.id: HeldRoles() for namespace in namespaces}
    if principal.user is None or not found:
        return found
    rows = db.session.execute(
        select(Ancestry.namespace_id, or_(Ancestry.distance == 0, Namespace.kind == "user"), Membership.role)
        .join(Membership, Membership.namespace_id == Ancestry.ancestor_id)
        .join(Namespace, Namespace.id == Ancestry.ancestor_id)
        .where(Ancestry.namespace_id.in_(found), Membership.user_id == principal.user.id, unexpired())
    )
    for namespace_id, is_direct, role in rows:
        held = found[namespace_id]
        found[namespace_id] = (
            replace(held, direct=max(held.direct, role))
            if is_direct
            else replace(held, inherited=max(held.inherited, role))
        )
    for namespace_id, held in found.items():
        principal._roles[namespace_id] = max(held.direct, held.inherited)
    return found


def is_member_below(principal: Principal, group: Group) -> bool:
    if principal.user is None:
        return False
    return bool(db.session.scalar(select(member_below(principal.user.id, group.id))))


def is_within(namespace: Namespace, ancestor_id: int) -> bool:
    """Return whether the namespace has this ID or is a descendant of the namespace with it."""
    if namespace.id == ancestor_id:
        return True
    return db.session.get(Ancestry, (namespace.id, ancestor_id)) is not None


def member_below(user_id: int, group_id: int | SQLColumnExpression[int]) -> ColumnElement[bool]:
    return exists().where(
        Ancestry.ancestor_id == group_id,
        Membership.namespace_id == Ancestry.namespace_id,
        Membership.user_id == user_id,
        unexpired(),
    )


def unexpired() -> ColumnElement[bool]:
    """Return a condition on ``Membership``: it has not expired; it expires at 00:00 UTC on its date."""
    return _counts_on(utcnow().date())


def _counts_on(today: date | BindParameter[date]) -> ColumnElement[bool]:
    return or_(Membership.expires_on.is_(None), Membership.expires_on > today)


# Built once, like all statements of the read path: building a statement takes as long as executing it.
_HIGHEST_ROLE = (
    select(func.max(Membership.role))
    .join(Ancestry, Ancestry.ancestor_id == Membership.namespace_id)
    .where(
        Ancestry.namespace_id == bindparam("namespace_id"),
        Membership.user_id == bindparam("user_id"),
        _counts_on(bindparam("today", type_=Date())),
    )
)
