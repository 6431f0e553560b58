"""The policy's rules as SQL conditions, for lists."""

from __future__ import annotations

from sqlalchemy import ColumnElement, and_, exists, false, or_, true

from registry.domain.access.policy import POLICY, Permission, holds_scope
from registry.domain.access.principals import Principal
from registry.domain.access.roles import member_below, unexpired
from registry.models import Ancestry, InstanceSettings, Membership, Namespace, Project, RegistryAccess, Role, Visibility


def readable(principal: Principal) -> ColumnElement[bool]:
    """Projects whose packages the principal may read through a group or a list, as a condition on ``Project``.

    Narrower than ``allowed`` on the project itself in two points, as in GitLab: "anyone may pull" opens only the
    project's own endpoints, and a deploy token is shown only its own namespace. Wider in one: a job token on a group
    counts as its user, without regard to the allowlists of the projects below.
    """
    enabled = Project.registry_access != RegistryAccess.DISABLED
    if principal.is_admin:
        return enabled
    if principal.deploy_token is not None:
        token = principal.deploy_token
        if holds_scope(token, POLICY[Permission.READ_PACKAGE]):
            return and_(enabled, _lies_within(token.namespace_id))
    open_to_all = and_(
        Project.registry_access != RegistryAccess.PRIVATE, Project.visibility.in_(_open_visibilities(principal))
    )
    if principal.user is None:
        return and_(enabled, open_to_all)
    least = Role.GUEST if InstanceSettings.current().allow_guest_plus_roles_to_pull_packages else Role.REPORTER
    return and_(enabled, or_(open_to_all, _has_role(principal.user.id, least)))


def visible(principal: Principal) -> ColumnElement[bool]:
    """Namespaces the principal may know of, as a condition on ``Namespace``; a CI job counts as its user."""
    if principal.is_admin:
        return true()
    conditions: list[ColumnElement[bool]] = [Namespace.visibility.in_(_open_visibilities(principal))]
    if principal.deploy_token is not None and holds_scope(principal.deploy_token, POLICY[Permission.READ_NAMESPACE]):
        conditions.append(_lies_within(principal.deploy_token.namespace_id))
    return or_(*conditions, joined(principal))


def joined(principal: Principal) -> ColumnElement[bool]:
    """Namespaces the principal's user is a member of, or of one above; and groups with such a namespace below."""
    if principal.user is None:
        return false()
    is_above = and_(Namespace.kind == "group", member_below(principal.user.id, Namespace.id))
    return or_(_has_role(principal.user.id, Role.GUEST), is_above)


def has_role(principal: Principal, least: Role) -> ColumnElement[bool]:
    """Namespaces in which the principal's user is a member with at least this role, as a condition on ``Namespace``."""
    return false() if principal.user is None else _has_role(principal.user.id, least)


def within(ancestor: Namespace, *, itself: bool = False) -> ColumnElement[bool]:
    """Namespaces below the given one, as a condition on ``Namespace``."""
    below = _lies_within(ancestor.id)
    return below if itself else and_(below, Namespace.id != ancestor.id)


def _open_visibilities(principal: Principal) -> list[Visibility]:
    return [Visibility.PUBLIC, Visibility.INTERNAL] if principal.is_internal_user else [Visibility.PUBLIC]


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
