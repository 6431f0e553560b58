"""Simple pages for callers whose admission is kept, made in front of Flask.

Flask takes about as long as the page itself to find the view and to complete the response. Here, a caller that an
earlier request has admitted (``auth.admissions``) gets the page from the function that the view calls
(``index.made_page``). Everything else is left to the view: first requests, sessions, anonymous callers, other
spellings of the URL, redirects to the upstream index, and errors.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import Context
from threading import local
from typing import TYPE_CHECKING

from flask import Flask
from flask.ctx import AppContext
from sqlalchemy.exc import SQLAlchemyError

from registry import addresses, metrics
from registry.blueprints.auth.admissions import ACCESS_NUMBER, Admission, Admissions
from registry.blueprints.pypi import index
from registry.blueprints.pypi.index import MadePage
from registry.blueprints.pypi.prepared import LARGEST_PAGE_BYTES, note_validity
from registry.blueprints.routing import SimplePageURL, simple_page_url
from registry.database import db, utcnow
from registry.domain.access import Permission, PrincipalKind
from registry.errors import RegistryError

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


class AdmittedPages:
    """WSGI middleware behind ``CanonicalPaths``.

    Each thread keeps a context of Flask for the pages that it makes, and begins another after one that used a session:
    to enter and to leave a context takes a tenth of the time of a page.

    :param headers: those that every response of the API has.
    """

    def __init__(self, application: WSGIApplication, app: Flask, headers: list[tuple[str, str]]) -> None:
        self._application = application
        self._headers = headers
        self._app = app
        self._contexts = local()
        self._admissions: Admissions = app.extensions["admissions"]

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        page = self._page(environ)
        if page is None:
            return self._application(environ, start_response)
        start_response("200 OK", page.headers + self._headers)
        return [page.body]

    def _page(self, environ: WSGIEnvironment) -> MadePage | None:
        if ACCESS_NUMBER not in environ or environ["REQUEST_METHOD"] != "GET" or not addresses.is_usable(environ):
            return None
        asked, now = simple_page_url(environ["PATH_INFO"]), utcnow()
        if asked is None:
            return None
        admission = self._admissions.find(environ, Permission.READ_PACKAGE, asked.reference, now)
        if admission is None or admission.principal.kind in (PrincipalKind.SESSION, PrincipalKind.ANONYMOUS):
            return None
        environ[metrics.ROUTE], environ["registry.principal"] = asked.rule, admission.principal.label
        page = self._made(admission, asked, environ)
        if page is not None and len(page.body) <= LARGEST_PAGE_BYTES:
            note_validity(environ, admission.principal, now)
        return page

    def _made(self, admission: Admission, asked: SimplePageURL, environ: WSGIEnvironment) -> MadePage | None:
        kept: tuple[Context, AppContext] | None = getattr(self._contexts, "kept", None)
        if kept is None:
            kept = self._contexts.kept = Context(), self._app.app_context()
            kept[0].run(kept[1].push)
        try:
            return kept[0].run(self._made_inside, kept[1], admission, asked, environ)
        except SQLAlchemyError as error:  # it can have taken long, so the view is not to try again
            environ[index.FAILURE] = error
            return None

    def _made_inside(
        self, context: AppContext, admission: Admission, asked: SimplePageURL, environ: WSGIEnvironment
    ) -> MadePage | None:
        context.g.environ = environ  # for the log of slow statements
        try:
            return index.made_page(admission.namespace, asked.name, admission.principal, environ)
        except RegistryError as error:  # the view reports it
            environ[index.REFUSAL] = error
            return None
        finally:
            del context.g.environ
            if db.session.registry.has():
                self._contexts.kept = None
                context.pop()  # closes the session
