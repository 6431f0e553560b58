"""The rules of the policy as SQL conditions, for lists."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import date

from sqlalchemy import ColumnElement, and_, exists, false, or_, true

from registry.database import utcnow
from registry.domain.access.policy import POLICY, Permission, holds_scope, open_visibilities
from registry.domain.access.principals import Principal, Reader
from registry.domain.access.roles import member_below, unexpired
from registry.models import Ancestry, Membership, Namespace, Project, RegistryAccess, Role, Visibility


def load_reader(principal: Principal) -> Principal:
    """Return the principal with its ``reader`` loaded, in one statement at most."""
    return replace(principal, reader=reader_of(principal))


def reader_of(principal: Principal) -> Reader:
    """Return ``principal.reader``, or else find it."""
    if principal.reader is not None:
        return principal.reader
    rule, token = POLICY[Permission.READ_PACKAGE], principal.deploy_token
    return Reader(
        is_admin=principal.is_admin,
        visibilities=open_visibilities(principal),
        user_id=principal.user_id,
        deploy_namespace_id=token.namespace_id if token is not None and holds_scope(token, rule) else None,
        least_role=Role.GUEST if principal.user is not None and rule.guests() else rule.role,
        today=utcnow().date(),
    )


def readable(reader: Reader) -> ColumnElement[bool]:
    """Return a condition on ``Project``: its packages can be read through a group or a list.

    As in GitLab, it is stricter than ``allowed`` on the project in two ways: "allow anyone to pull" applies only to the
    project's own endpoints, and a deploy token sees only its own namespace. It is more permissive in one: in a group, a
    job token has the access of its user, regardless of the allowlists of the group's projects.
    """
    return and_(Project.has_registry, _is_open_to(reader))


def visible(principal: Principal) -> ColumnElement[bool]:
    """Return a condition on ``Namespace``: it is visible to the principal. A CI job has the access of its user."""
    if principal.is_admin:
        return true()
    conditions = [_is_visible(open_visibilities(principal)), joined(principal)]
    if principal.deploy_token is not None and holds_scope(principal.deploy_token, POLICY[Permission.READ_NAMESPACE]):
        conditions.append(_lies_within(principal.deploy_token.namespace_id))
    return or_(*conditions)


def joined(principal: Principal) -> ColumnElement[bool]:
    """Return a condition on ``Namespace``: the principal's user is a member of it, an ancestor, or a descendant."""
    if principal.user is None:
        return false()
    is_above = and_(Namespace.kind == "group", member_below(principal.user.id, Namespace.id))
    return or_(_has_role(principal.user.id, POLICY[Permission.READ_NAMESPACE].role), is_above)


def has_role(principal: Principal, least: Role) -> ColumnElement[bool]:
    """Return a condition on ``Namespace``: the principal's user is a member of it with at least this role."""
    return false() if principal.user is None else _has_role(principal.user.id, least)


def within(ancestor: Namespace) -> ColumnElement[bool]:
    """Return a condition on ``Namespace``: it is a descendant of the given one."""
    return below(ancestor.id)


def below(ancestor_id: int) -> ColumnElement[bool]:
    """Return a condition on ``Namespace``: it is a descendant of the one with this ID."""
    return and_(_lies_within(ancestor_id), Namespace.id != ancestor_id)


def _is_open_to(reader: Reader) -> ColumnElement[bool]:
    if reader.is_admin:
        return true()
    if reader.deploy_namespace_id is not None:
        return _lies_within(reader.deploy_namespace_id)
    is_open_to_all = and_(Project.registry_access != RegistryAccess.PRIVATE, _is_visible(reader.visibilities))
    if reader.user_id is None:
        return is_open_to_all
    return or_(is_open_to_all, _has_role(reader.user_id, reader.least_role, reader.today))


def _is_visible(visibilities: Iterable[Visibility]) -> ColumnElement[bool]:
    return Namespace.visibility.in_(visibilities)


def _lies_within(ancestor_id: int) -> ColumnElement[bool]:
    return exists().where(Ancestry.namespace_id == Namespace.id, Ancestry.ancestor_id == ancestor_id)


def _has_role(user_id: int, least: Role, today: date | None = None) -> ColumnElement[bool]:
    return exists().where(
        Ancestry.namespace_id == Namespace.id,
        Membership.namespace_id == Ancestry.ancestor_id,
        Membership.user_id == user_id,
        Membership.role >= least,
        unexpired(today),
    )
