"""The viewer of a page, and permission checks for templates."""

from __future__ import annotations

from flask import g

from registry.blueprints.auth.credentials import session_principal
from registry.domain import access, namespaces
from registry.domain.access import Permission, Principal
from registry.models import Group, Namespace, Role, User


def principal() -> Principal:
    """Return the principal determined by the gate; without a gate, as on error pages, that of the session."""
    if "principal" not in g:
        g.principal = session_principal()
    found: Principal = g.principal
    return found


def viewer() -> User | None:
    """Return the signed-in user, or ``None``."""
    return principal().user


def signed_in() -> User:
    """Return the signed-in user in a view whose gate requires one."""
    user = viewer()
    assert user is not None  # noqa: S101
    return user


def may(permission: str, namespace: Namespace | None = None) -> bool:
    """Return whether the viewer has a permission, by its GitLab name: ``may("destroy_package", project)``."""
    wanted = Permission(permission)
    g.principal = access.load_role_for(principal(), wanted, namespace)  # pages ask often
    return access.allowed(principal(), wanted, namespace)


def visible_group(source: int | str | None) -> Group | None:
    """Return the group with this ID, if the viewer can see it; ``None`` for other sources of a setting."""
    return namespaces.visible_group(source, principal()) if isinstance(source, int) else None


def role_in(namespace: Namespace) -> Role:
    """Return the viewer's role in a namespace, looking it up once per request."""
    g.principal = access.load_roles(principal(), [namespace])
    return access.role_in(principal(), namespace)
