"""Who looks at a page, and what a page may ask about them."""

from __future__ import annotations

from flask import g

from registry.blueprints.auth.credentials import session_principal
from registry.domain import access
from registry.domain.access import Permission, Principal
from registry.models import Namespace, User


def principal() -> Principal:
    """The principal the gate found, or whoever is signed in where no gate was passed (an address without a page)."""
    if "principal" not in g:
        g.principal = session_principal()
    found: Principal = g.principal
    return found


def viewer() -> User | None:
    """The signed-in user, or ``None``."""
    return principal().user


def signed_in() -> User:
    """The same behind a gate that lets nobody else in."""
    user = viewer()
    assert user is not None  # noqa: S101
    return user


def may(permission: str, namespace: Namespace | None = None) -> bool:
    """Whether the viewer holds a permission, by its GitLab name: ``may("destroy_package", project)``."""
    return access.allowed(principal(), Permission(permission), namespace)
