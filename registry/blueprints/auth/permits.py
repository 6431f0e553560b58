"""The gate in front of every view: finds the namespace in the URL and the principal, and checks the permission.

It does not read the request body, except for a token in a small form on REST routes. Each blueprint has its own gate,
with its way of authentication and GitLab's order of checks for its routes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import replace
from functools import wraps
from inspect import signature
from typing import Any, TypeVar, cast

from flask import Response, current_app, g, redirect, request, url_for
from werkzeug.exceptions import RequestEntityTooLarge

from registry.blueprints.auth import sent, sessions
from registry.blueprints.auth.admissions import Admissions
from registry.blueprints.auth.sent import LARGEST_OPEN_FORM_BYTES
from registry.database import utcnow
from registry.domain import access, namespaces
from registry.domain.access import Permission, Principal
from registry.environ_keys import ACCESS_NUMBER, EVENT, PREFLIGHT, PRINCIPAL
from registry.errors import NotFound, RegistryError, Unauthenticated
from registry.metrics import AuthFailure
from registry.models import Group, Namespace, Project

View = TypeVar("View", bound=Callable[..., Any])

NAMESPACE_KINDS: dict[str, type[Namespace]] = {"project": Project, "group": Group, "namespace": Namespace}
FindNamespace = Callable[[str, type[Namespace]], Namespace]


def refuse_large_form() -> None:
    """Refuse a form that is too large for callers without an account.

    :raises RequestEntityTooLarge: its declared length is too large.
    """
    if (request.content_length or 0) > LARGEST_OPEN_FORM_BYTES:
        raise RequestEntityTooLarge


class Gate:
    """``@gate(Permission.X)`` on a route, which can contain ``<…:project>``, ``<…:group>``, or ``<…:namespace>``.

    The view receives the record as the argument of that name, or ``namespace`` if its routes have several kinds.

    :param find_principal: returns the principal; raises an error for invalid credentials.
    :param namespace_first: whether an unknown namespace is reported before credentials are checked, as on PyPI routes.
    :param find_namespace: finds a namespace by ID or path, or (for pages) by path only.
    :param shows_new_path: whether a request for a path that the namespace has given up is redirected to the present
        one, as on pages. Otherwise it is answered, because clients match credentials by the path in the URL.
    """

    def __init__(
        self,
        find_principal: Callable[[], Principal],
        *,
        namespace_first: bool,
        find_namespace: FindNamespace = namespaces.find,
        shows_new_path: bool = False,
    ) -> None:
        self._find_principal = find_principal
        self._namespace_first = namespace_first
        self._find_namespace = find_namespace
        self._shows_new_path = shows_new_path

    def __call__(
        self, permission: Permission, *, before_body: Callable[[Any], None] | None = None
    ) -> Callable[[View], View]:
        """Return a decorator that adds the gate to a view.

        :param before_body: further checks without the body, called with the namespace after the permission check. The
            server performs all these checks (``PREFLIGHT``) before it receives a large body.
        """

        def decorate(view: View) -> View:
            names = _names(view)

            @wraps(view)
            @_noting_failures
            def gated(**arguments: Any) -> Any:
                if ACCESS_NUMBER in request.environ:
                    namespace = self._admitted(permission, arguments, names)
                else:
                    namespace = self._checked(permission, arguments, names)
                if before_body is not None:
                    before_body(namespace)
                if PREFLIGHT in request.environ:
                    return Response(status=204)
                if self._shows_new_path and "new_path" in g:
                    return redirect(_with_path(g.new_path))
                return view(**arguments)

            cast(Any, gated).permission = permission
            cast(Any, gated).is_asked_before_body = before_body is not None
            return cast(View, gated)

        return decorate

    def open(self, view: View) -> View:
        """Decorate a view without required permission; the principal is available."""
        names = _names(view)

        @wraps(view)
        @_noting_failures
        def gated(**arguments: Any) -> Any:
            self._identify()
            self._found(arguments, names)
            return view(**arguments)

        cast(Any, gated).permission = None
        return cast(View, gated)

    def _admitted(self, permission: Permission, arguments: dict[str, Any], names: Collection[str]) -> Namespace | None:
        """Return the namespace after an earlier request's checks, if they still apply, or else check the request."""
        admissions: Admissions = current_app.extensions["admissions"]
        reference = ":".join(f"{kind} {arguments[kind]}" for kind in NAMESPACE_KINDS if kind in arguments)
        now = utcnow()
        found = admissions.find(request.environ, permission, reference, now)
        if found is not None:
            if found.depends_on_cookie:
                sessions.note_access()
            self._set_principal(replace(found.principal, address=request.remote_addr or ""))
            return self._found(arguments, names, found.namespace)
        namespace = self._checked(permission, arguments, names)
        if namespace is not None:
            admissions.keep(request.environ, permission, reference, g.principal, namespace, now)
        return namespace

    def _checked(self, permission: Permission, arguments: dict[str, Any], names: Collection[str]) -> Namespace | None:
        if self._namespace_first:
            namespace = self._found_first(arguments, names)
            self._identify()
        else:
            self._identify()
            namespace = self._found(arguments, names)
        g.principal = access.require(g.principal, permission, namespace)
        return namespace

    def _found_first(self, arguments: dict[str, Any], names: Collection[str]) -> Namespace | None:
        """Return the namespace before credentials are checked.

        If there is none, the credentials are read nevertheless. Otherwise, what reading them adds to the response and
        the log, and the time that it takes, would distinguish a hidden namespace from an absent one.

        :raises NotFound: there is none.
        """
        try:
            return self._found(arguments, names)
        except NotFound:
            with suppress(RegistryError):
                self._identify()
            raise

    def _identify(self) -> None:
        self._set_principal(self._find_principal())

    def _set_principal(self, principal: Principal) -> None:
        g.principal = principal
        request.environ[PRINCIPAL] = principal.label  # for the log

    def _found(
        self, arguments: dict[str, Any], names: Collection[str], known: Namespace | None = None
    ) -> Namespace | None:
        """Replace the identifier in the view's arguments with the namespace, under the name that the view uses.

        :param known: the namespace, if it has been found already.
        """
        for name, kind in NAMESPACE_KINDS.items():
            if name in arguments:
                reference = arguments.pop(name)
                found = self._at(reference, kind, name) if known is None else known
                arguments[name if name in names else "namespace"] = found
                return found
        return None

    def _at(self, reference: str, kind: type[Namespace], name: str) -> Namespace:
        """Return the namespace with an ID or path; for reading, also with a path that it has given up.

        :raises NotFound: there is none of this kind.
        """
        try:
            return self._find_namespace(reference, kind)
        except NotFound:
            is_read = request.method in ("GET", "HEAD") and not reference.isdigit()
            found = namespaces.moved(reference, kind) if is_read else None
            if found is None:
                raise
            g.new_path = {name: found.full_path}
            return found


def _with_path(new: dict[str, str]) -> str:
    """Return the URL of this request with the present path of its namespace."""
    address = url_for(str(request.endpoint), **{**(request.view_args or {}), **new})
    query = request.query_string.decode()
    return f"{address}?{query}" if query else address


def _noting_failures(gated: View) -> View:
    """Record the reasons of authentication failures for the metrics."""

    @wraps(gated)
    def noting(**arguments: Any) -> Any:
        try:
            return gated(**arguments)
        except RegistryError as error:
            if error.auth_failure is not None:
                request.environ[EVENT] = AuthFailure(_reason(error, error.auth_failure))
            raise

    return cast(View, noting)


def _reason(error: RegistryError, reason: str) -> str:
    """Return the reason; distinguishes missing credentials, as in a client's first request, from unknown ones."""
    if not isinstance(error, Unauthenticated):
        return reason
    return "unknown_credentials" if sent.has_credentials() else "no_credentials"


def _names(view: Callable[..., Any]) -> Collection[str]:
    """Return the names of the view's arguments."""
    return frozenset(signature(view).parameters)
