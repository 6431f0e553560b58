"""The gate every view stands behind: namespace in the URL → found; principal → allowed; then the view.

The body of the request is untouched so far. Each blueprint opens a gate of its own, with its way to find the principal
and GitLab's order of checks for its routes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from flask import g

from registry.domain import access, namespaces
from registry.domain.access import Permission, Principal
from registry.models import Group, Project

View = TypeVar("View", bound=Callable[..., Any])

NAMESPACE_KINDS = {"project": Project, "group": Group}


class Gate:
    """``@gate(Permission.X)`` beside a route whose address may hold ``<…:project>`` or ``<…:group>``.

    :param find_principal: who asks; raises when a credential is wrong.
    :param namespace_first: whether an unknown namespace is told before credentials are looked at (PyPI routes do).
    """

    def __init__(self, find_principal: Callable[[], Principal], *, namespace_first: bool) -> None:
        self._find_principal = find_principal
        self._namespace_first = namespace_first

    def __call__(self, permission: Permission) -> Callable[[View], View]:
        def decorate(view: View) -> View:
            @wraps(view)
            def gated(**arguments: Any) -> Any:
                if not self._namespace_first:
                    self._identify()
                namespace = _found(arguments)
                if self._namespace_first:
                    self._identify()
                access.require(g.principal, permission, namespace)
                return view(**arguments)

            cast(Any, gated).permission = permission
            return cast(View, gated)

        return decorate

    def open(self, view: View) -> View:
        """For a view that anybody may call; it sees the principal all the same."""

        @wraps(view)
        def gated(**arguments: Any) -> Any:
            self._identify()
            _found(arguments)
            return view(**arguments)

        cast(Any, gated).permission = None
        return cast(View, gated)

    def _identify(self) -> None:
        g.principal = self._find_principal()
        g.principal_label = g.principal.label


def _found(arguments: dict[str, Any]) -> Project | Group | None:
    """Put the namespace in place of its spelling in the view's arguments."""
    for name, kind in NAMESPACE_KINDS.items():
        if name in arguments:
            arguments[name] = namespaces.find(arguments[name], kind)
            found: Project | Group = arguments[name]
            return found
    return None
