"""The rules of the policy as SQL conditions, for lists."""

from __future__ import annotations

from sqlalchemy import ColumnElement, and_, exists, false, or_, true

from registry.domain.access.policy import POLICY, Permission, Rule, holds_scope, open_visibilities
from registry.domain.access.principals import Principal
from registry.domain.access.roles import member_below, unexpired
from registry.models import Ancestry, Membership, Namespace, Project, RegistryAccess, Role


def readable(principal: Principal) -> ColumnElement[bool]:
    """Return a condition on ``Project``: the principal can read its packages through a group or a list.

    As in GitLab, it is stricter than ``allowed`` on the project in two ways: "allow anyone to pull" applies only to the
    project's own endpoints, and a deploy token sees only its own namespace. It is more permissive in one: in a group, a
    job token has the access of its user, regardless of the allowlists of the group's projects.
    """
    return and_(Project.has_registry, _is_open_to(principal, POLICY[Permission.READ_PACKAGE]))


def visible(principal: Principal) -> ColumnElement[bool]:
    """Return a condition on ``Namespace``: it is visible to the principal. A CI job has the access of its user."""
    if principal.is_admin:
        return true()
    conditions = [_is_visible(principal), joined(principal)]
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


def within(ancestor: Namespace, *, itself: bool = False) -> ColumnElement[bool]:
    """Return a condition on ``Namespace``: it is a descendant of the given one, or with ``itself`` that one."""
    below = _lies_within(ancestor.id)
    return below if itself else and_(below, Namespace.id != ancestor.id)


def _is_open_to(principal: Principal, rule: Rule) -> ColumnElement[bool]:
    if principal.is_admin:
        return true()
    if principal.deploy_token is not None and holds_scope(principal.deploy_token, rule):
        return _lies_within(principal.deploy_token.namespace_id)
    is_open_to_all = and_(Project.registry_access != RegistryAccess.PRIVATE, _is_visible(principal))
    if principal.user is None:
        return is_open_to_all
    return or_(is_open_to_all, _has_role(principal.user.id, Role.GUEST if rule.guests() else rule.role))


def _is_visible(principal: Principal) -> ColumnElement[bool]:
    return Namespace.visibility.in_(open_visibilities(principal))


def _lies_within(ancestor_id: int) -> ColumnElement[bool]:
    return exists().where(Ancestry.namespace_id == Namespace.id, Ancestry.ancestor_id == ancestor_id)


def _has_role(user_id: int, least: Role) -> ColumnElement[bool]:
    return exists().where(
        Ancestry.namespace_id == Namespace.id,
        Membership.namespace_id == Ancestry.ancestor_id,
        Membership.user_id == user_id,
        Membership.role >= least,
        unexpired(),
    )
