"""Roles of users by membership in a namespace or its ancestors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Date,
    Select,
    SQLColumnExpression,
    bindparam,
    exists,
    func,
    or_,
    select,
)

from registry.database import db, utcnow
from registry.domain.access.principals import Principal
from registry.models import AllowedJobSource, Ancestry, Group, Job, Membership, Namespace, Project, Role, User

AnyId = BindParameter[int] | SQLColumnExpression[int]


def role_in(principal: Principal, namespace: Namespace) -> Role:
    """Return the principal's role in the namespace, from ``principal.roles`` or else from the database.

    The role is the highest of the user in the namespace or any ancestor; administrators have a role of their own. A CI
    job has no role in a project whose allowlist does not include it.
    """
    known = principal.roles.get(namespace.id)
    return _looked_up(principal, [namespace])[namespace.id] if known is None else known


def load_roles(principal: Principal, namespaces: Iterable[Namespace]) -> Principal:
    """Return the principal with its roles in all these namespaces loaded, in one statement; two for a CI job."""
    unknown = [namespace for namespace in namespaces if namespace.id not in principal.roles]
    return replace(principal, roles={**principal.roles, **_looked_up(principal, unknown)}) if unknown else principal


def _looked_up(principal: Principal, namespaces: Sequence[Namespace]) -> dict[int, Role]:
    closed = set() if principal.job is None else _closed_to(principal.job, namespaces)
    accepting = [namespace for namespace in namespaces if namespace.id not in closed]
    return dict.fromkeys(closed, Role.NO_ACCESS) | _held(principal, accepting)


def _held(principal: Principal, namespaces: Sequence[Namespace]) -> dict[int, Role]:
    if principal.is_admin:
        return {namespace.id: Role.ADMIN for namespace in namespaces}
    if principal.user is not None and len(namespaces) == 1:  # by a statement that is made already
        return {namespaces[0].id: role_of(principal.user, namespaces[0])}
    return {id_: held.highest for id_, held in held_roles(principal, namespaces).items()}


def accepts_job(namespace: Namespace, job: Job) -> bool:
    """Return whether the user of a CI job has a role in the namespace by the job's token."""
    return not _closed_to(job, [namespace])


def _closed_to(job: Job, namespaces: Iterable[Namespace]) -> set[int]:
    """Return the IDs of the projects that do not accept the job.

    A project accepts its own jobs and those on its allowlist, by project or by group. A group accepts any job.
    """
    asked = {
        namespace.id
        for namespace in namespaces
        if isinstance(namespace, Project) and namespace.id != job.project_id and namespace.job_allowlist_enforced
    }
    if not asked:
        return asked
    listing = (
        select(AllowedJobSource.project_id)
        .join(Ancestry, Ancestry.ancestor_id == AllowedJobSource.source_id)
        .where(AllowedJobSource.project_id.in_(asked), Ancestry.namespace_id == job.project_id)
    )
    return asked - set(db.session.scalars(listing))


def role_of(user: User, namespace: Namespace) -> Role:
    """Return the highest role by membership in the namespace or any ancestor, read from the database each time."""
    highest = db.session.scalar(
        _HIGHEST_ROLE, {"namespace_id": namespace.id, "user_id": user.id, "today": utcnow().date()}
    )
    return Role(highest or Role.NO_ACCESS)


@dataclass(frozen=True)
class HeldRoles:
    """The roles of one user in a namespace: direct, and inherited from its ancestors."""

    direct: Role = Role.NO_ACCESS
    inherited: Role = Role.NO_ACCESS

    @property
    def highest(self) -> Role:
        return max(self.direct, self.inherited)


def held_roles(principal: Principal, namespaces: Iterable[Namespace]) -> dict[int, HeldRoles]:
    """Return the roles of the principal's user in each of many namespaces, by namespace ID, in one statement.

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


def unexpired(today: date | None = None) -> ColumnElement[bool]:
    """Return a condition on ``Membership``: it has not expired; it expires at 00:00 UTC on its date."""
    return _counts_on(today or utcnow().date())


def _counts_on(today: date | BindParameter[date]) -> ColumnElement[bool]:
    return or_(Membership.expires_on.is_(None), Membership.expires_on > today)


def highest_role(namespace_id: AnyId, user_id: AnyId) -> Select[Role | None]:
    """Return a statement for the highest role of a user in a namespace or any ancestor.

    It has the current date as the parameter ``today``.
    """
    return (
        select(func.max(Membership.role))
        .join(Ancestry, Ancestry.ancestor_id == Membership.namespace_id)
        .where(
            Ancestry.namespace_id == namespace_id,
            Membership.user_id == user_id,
            _counts_on(bindparam("today", type_=Date())),
        )
    )


# Built once, like all statements of the read path: building a statement takes as long as executing it.
_HIGHEST_ROLE = highest_role(bindparam("namespace_id"), bindparam("user_id"))
