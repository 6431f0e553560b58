"""The gate every view stands behind: namespace in the URL → found; principal → allowed; then the view.

The body of the request is untouched so far. Each blueprint opens a gate of its own, with its way to find the principal
and GitLab's order of checks for its routes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import wraps
from inspect import signature
from typing import Any, TypeVar, cast

from flask import Response, g, request

from registry import metrics
from registry.blueprints.auth import credentials
from registry.domain import access, namespaces
from registry.domain.access import Permission, Principal
from registry.errors import RegistryError, Unauthenticated
from registry.metrics import AuthFailure
from registry.models import Group, Namespace, Project

View = TypeVar("View", bound=Callable[..., Any])

NAMESPACE_KINDS: dict[str, type[Namespace]] = {"project": Project, "group": Group, "namespace": Namespace}
FindNamespace = Callable[[str, type[Namespace]], Namespace]


class Gate:
    """``@gate(Permission.X)`` beside a route; its address may hold ``<…:project>``, ``<…:group>`` or ``<…:namespace>``.

    The view gets the record under that name. One that stands at addresses of several kinds calls it ``namespace``.

    :param find_principal: who asks; raises when a credential is wrong.
    :param namespace_first: whether an unknown namespace is told before credentials are looked at (PyPI routes do).
    :param find_namespace: how addresses name a namespace: by id or path, or (pages) by path alone.
    """

    def __init__(
        self,
        find_principal: Callable[[], Principal],
        *,
        namespace_first: bool,
        find_namespace: FindNamespace = namespaces.find,
    ) -> None:
        self._find_principal = find_principal
        self._namespace_first = namespace_first
        self._find_namespace = find_namespace

    def __call__(
        self, permission: Permission, *, before_body: Callable[[Any], None] | None = None
    ) -> Callable[[View], View]:
        """The gate for one view.

        :param before_body: what else can be refused before the body is there; called behind the permission, with the
            namespace. The server asks so far (``registry.preflight``) before it receives a large body.
        """

        def decorate(view: View) -> View:
            names = _names(view)

            @wraps(view)
            @_noting_failures
            def gated(**arguments: Any) -> Any:
                if not self._namespace_first:
                    self._identify()
                namespace = self._found(arguments, names)
                if self._namespace_first:
                    self._identify()
                access.require(g.principal, permission, namespace)
                if before_body is not None:
                    before_body(namespace)
                if "registry.preflight" in request.environ:
                    return Response(status=204)
                return view(**arguments)

            cast(Any, gated).permission = permission
            cast(Any, gated).is_asked_before_body = before_body is not None
            return cast(View, gated)

        return decorate

    def open(self, view: View) -> View:
        """For a view that anybody may call; it sees the principal all the same."""
        names = _names(view)

        @wraps(view)
        @_noting_failures
        def gated(**arguments: Any) -> Any:
            self._identify()
            self._found(arguments, names)
            return view(**arguments)

        cast(Any, gated).permission = None
        return cast(View, gated)

    def _identify(self) -> None:
        g.principal = self._find_principal()
        request.environ["registry.principal"] = g.principal.label  # for the log

    def _found(self, arguments: dict[str, Any], names: Collection[str]) -> Namespace | None:
        """Put the namespace in place of its spelling in the view's arguments, by the name the view has for it."""
        for name, kind in NAMESPACE_KINDS.items():
            if name in arguments:
                found = self._find_namespace(arguments.pop(name), kind)
                arguments[name if name in names else "namespace"] = found
                return found
        return None


def _noting_failures(gated: View) -> View:
    """Leave for the metrics why somebody was refused for who they are."""

    @wraps(gated)
    def noting(**arguments: Any) -> Any:
        try:
            return gated(**arguments)
        except RegistryError as error:
            if error.auth_failure is not None:
                request.environ[metrics.EVENT] = AuthFailure(_reason(error, error.auth_failure))
            raise

    return cast(View, noting)


def _reason(error: RegistryError, reason: str) -> str:
    """Clients ask without credentials first: that is something else than credentials that nobody has."""
    if not isinstance(error, Unauthenticated):
        return reason
    return "unknown_credentials" if credentials.are_sent() else "no_credentials"


def _names(view: Callable[..., Any]) -> Collection[str]:
    """What the view calls its arguments."""
    return frozenset(signature(view).parameters)
