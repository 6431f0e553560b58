"""The rules of the policy as SQL conditions, for lists."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import date

from sqlalchemy import ColumnElement, and_, exists, false, func, not_, or_, select, true

from registry.database import utcnow
from registry.domain.access.policy import POLICY, Permission, holds_scope, open_visibilities
from registry.domain.access.principals import Principal, Reader
from registry.domain.access.roles import member_below, unexpired
from registry.models import (
    AllowedJobSource,
    Ancestry,
    GroupPackageSettings,
    InstanceSettings,
    Membership,
    Namespace,
    Project,
    RegistryAccess,
    Role,
    Visibility,
)


def load_reader(principal: Principal) -> Principal:
    """Return the principal with its ``reader`` loaded, in one statement at most."""
    return replace(principal, reader=reader_of(principal))


def reader_of(principal: Principal) -> Reader:
    """Return ``principal.reader``, or else find it."""
    if principal.reader is not None:
        return principal.reader
    rule, token = POLICY[Permission.READ_PACKAGE], principal.deploy_token
    reader = Reader(
        is_admin=principal.is_admin,
        visibilities=open_visibilities(principal),
        user_id=principal.user_id,
        deploy_namespace_id=token.namespace_id if token is not None and holds_scope(token, rule) else None,
        least_role=Role.GUEST if principal.user is not None and rule.guests() else rule.role,
        today=utcnow().date(),
    )
    if principal.reading_token is not None:
        ids = {each.namespace_id for found in principal.accepting.values() for each in found}
        return replace(reader, trusting_ids=tuple(sorted(ids)))
    if principal.job is None:
        return reader
    settings = InstanceSettings.current()
    return replace(
        reader,
        job_project_id=principal.job.project_id,
        are_allowlists_enforced=settings.enforce_job_token_allowlists_on_group_endpoints,
        are_allowlists_locked=settings.lock_enforce_job_token_allowlists_on_group_endpoints,
    )


def readable(reader: Reader) -> ColumnElement[bool]:
    """Return a condition on ``Project``: its packages can be read through a group or a list.

    As in GitLab, it is stricter than ``allowed`` on the project in two ways: "allow anyone to pull" applies only to the
    project's own endpoints, and a deploy token sees only its own namespace. It is more permissive in one: in a group, a
    job token has the access of its user, regardless of the allowlists of the group's projects, unless the setting for
    them says otherwise. That of the project's parent counts, so that groups above do not read past it.
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
    if reader.job_project_id is not None:
        as_user = replace(reader, job_project_id=None)
        accepted = or_(not_(_is_allowlist_enforced(reader)), _accepts_jobs_of(reader.job_project_id))
        return or_(_is_open_to_all(reader), and_(_is_open_to(as_user), accepted))
    if reader.is_admin:
        return true()
    if reader.deploy_namespace_id is not None:
        return _lies_within(reader.deploy_namespace_id)
    if reader.trusting_ids:
        return or_(_is_open_to_all(reader), *map(_lies_within, reader.trusting_ids))
    if reader.user_id is None:
        return _is_open_to_all(reader)
    return or_(_is_open_to_all(reader), _has_role(reader.user_id, reader.least_role, reader.today))


def _is_open_to_all(reader: Reader) -> ColumnElement[bool]:
    return and_(Project.registry_access != RegistryAccess.PRIVATE, _is_visible(reader.visibilities))


def _accepts_jobs_of(project_id: int) -> ColumnElement[bool]:
    """Return a condition on ``Project``: jobs of a project are its own or on its allowlist, or it has none."""
    is_listed = exists().where(
        AllowedJobSource.project_id == Project.id,
        Ancestry.ancestor_id == AllowedJobSource.source_id,
        Ancestry.namespace_id == project_id,
    )
    return or_(Project.id == project_id, Project.job_allowlist_enforced.is_(False), is_listed)


def _is_allowlist_enforced(reader: Reader) -> ColumnElement[bool]:
    """Return a condition on ``Project``: its allowlist counts in groups, by the cascade of ``domain.cascade``."""
    by_instance = true() if reader.are_allowlists_enforced else false()
    if reader.are_allowlists_locked:
        return by_instance
    value = GroupPackageSettings.enforce_job_token_allowlists_on_group_endpoints
    above = (
        select(func.coalesce(value, by_instance))
        .join(Ancestry, Ancestry.ancestor_id == GroupPackageSettings.group_id)
        .where(Ancestry.namespace_id == Namespace.id)
        .limit(1)
    )
    is_locked = GroupPackageSettings.lock_enforce_job_token_allowlists_on_group_endpoints
    topmost_lock = above.where(is_locked).order_by(Ancestry.distance.desc()).scalar_subquery()
    nearest_value = above.where(value.is_not(None)).order_by(Ancestry.distance).scalar_subquery()
    return func.coalesce(topmost_lock, nearest_value, by_instance)


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
