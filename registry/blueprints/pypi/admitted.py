"""Simple pages and uploads of callers whose admission is kept, answered in front of Flask.

Flask takes about as long as a page itself to find the view and to complete the response. Here, a caller that an
earlier request has admitted (``auth.admissions``) gets the response from the function that the view calls
(``index.made_page``, ``upload.published``). Everything else is left to the view: first requests, sessions, anonymous
callers, other spellings of the URL, redirects to the upstream index, and errors.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import Context
from dataclasses import replace
from threading import local
from typing import TYPE_CHECKING, cast

from flask import Flask, g
from flask.ctx import AppContext
from sqlalchemy.exc import SQLAlchemyError
from werkzeug import Request

from registry import addresses
from registry.blueprints.auth.admissions import Admission, Admissions
from registry.blueprints.pypi import index, upload
from registry.blueprints.pypi.in_front import FAILURE, REFUSAL
from registry.blueprints.pypi.index import MadePage
from registry.blueprints.pypi.prepared import LARGEST_PAGE_BYTES, note_validity
from registry.blueprints.routing import UPLOADS, SimplePageURL, simple_page_url, uploaded_to
from registry.database import db, utcnow
from registry.domain.access import Permission
from registry.environ_keys import ACCESS_NUMBER, PREFLIGHT, PRINCIPAL, ROUTE
from registry.errors import RegistryError
from registry.models import Project

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
        if admission is None or admission.depends_on_cookie:
            return None
        environ[ROUTE], environ[PRINCIPAL] = asked.rule, admission.principal.label
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
            environ[FAILURE] = error
            return None

    def _made_inside(
        self, context: AppContext, admission: Admission, asked: SimplePageURL, environ: WSGIEnvironment
    ) -> MadePage | None:
        context.g.environ = environ  # for the log of slow statements
        try:
            return index.made_page(admission.namespace, asked.name, admission.principal, environ)
        except RegistryError as error:  # the view reports it
            environ[REFUSAL] = error
            return None
        finally:
            del context.g.environ
            if db.session.registry.has():
                self._contexts.kept = None
                context.pop()  # closes the session


class AdmittedUploads:
    """WSGI middleware behind ``CanonicalPaths``.

    :param headers: those that every response to an upload has.
    """

    def __init__(self, application: WSGIApplication, app: Flask, headers: list[tuple[str, str]]) -> None:
        self._application = application
        self._headers = headers
        self._app = app
        self._admissions: Admissions = app.extensions["admissions"]

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        answer = self._answer(environ)
        if answer is None:
            return self._application(environ, start_response)
        own = [("Content-Type", upload.JSON), ("Content-Length", str(len(answer.body)))]
        start_response(answer.status, own + self._headers)
        return [answer.body]

    def _answer(self, environ: WSGIEnvironment) -> upload.Answer | None:
        admission = self._admission(environ)
        if admission is None:
            return None
        environ[ROUTE], environ[PRINCIPAL] = UPLOADS, admission.principal.label
        principal = replace(admission.principal, address=environ.get("REMOTE_ADDR", ""))
        with self._app.app_context():
            g.environ = environ  # for the log of slow statements
            try:
                asked, project = Request(environ), cast(Project, admission.namespace)
                allowed = upload.allowance(asked, project, principal, admission.allowance)
                return upload.published(asked, project, principal, allowed)
            except RegistryError as error:  # the view reports it
                environ[REFUSAL] = error
            except Exception as error:  # noqa: BLE001 - likewise
                environ[FAILURE] = error
            return None

    def _admission(self, environ: WSGIEnvironment) -> Admission | None:
        """Return the admission of the caller of an upload whose body has arrived."""
        is_upload = (
            ACCESS_NUMBER in environ
            and environ["REQUEST_METHOD"] == "POST"
            and environ.get("CONTENT_TYPE", "").startswith(upload.MULTIPART)
            and PREFLIGHT not in environ
            and addresses.is_usable(environ)
        )
        reference = uploaded_to(environ["PATH_INFO"]) if is_upload else None
        if reference is None:
            return None
        admission = self._admissions.find(environ, Permission.CREATE_PACKAGE, reference, utcnow())
        if admission is None or admission.depends_on_cookie:
            return None
        return admission
