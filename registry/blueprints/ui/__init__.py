"""Blueprint "ui": the pages people see. This is the map for whoever adds one.

* A module per subject, each with ``routes(gate) -> Blueprint``, named after the module and registered below.
* A view stands behind the gate: ``@blueprint.get("/<page_project:project>/-/packages")``, then
  ``@gate(Permission.READ_PACKAGE)``, then ``def project_packages(project: Project)``. Converters: ``page_project``,
  ``page_group``, ``page_namespace`` (any of the three kinds); the argument must be called ``project``, ``group`` or
  ``namespace``, and arrives as the record. What belongs to no namespace: ``@gate(Permission.USE_API)`` asks for a
  signed-in user, ``@gate.open`` lets everybody in.
* A view that exists for projects and groups is called ``project_<view>`` and ``group_<view>``; so the sidebar finds
  ``ui.packages.*_packages``, ``ui.settings.*_packages_and_registries``, ``ui.deploy_tokens.*_repository``.
* ``url_for("ui.packages.project_packages", project=project)``: a record is as good as its path.
* ``render_template("ui/<module>/<view>.html", namespace=project, …)``: ``namespace`` brings sidebar and breadcrumb.
  The blocks to fill and the macros to use are listed at the top of ``templates/base.html``.
* A form is a ``forms.Form`` (``ui/forms.py``) and only parses. The pattern of a changing view::

      form = GroupForm(…)
      if form.validate_on_submit():
          with form.refusals():
              namespaces.change(group, form.changes(), by=principal())
              flash(gettext("…"))
              return redirect(url_for(…), 303)
      return render_template(…, form=form), form.status

  ``refusals`` puts what the domain refuses (``InvalidRecord``, ``Conflict``) beside the fields, and goes on.
  Every ``<form method="post">`` holds ``{{ forms.csrf() }}``; the token is checked here, for all pages at once.
* ``flash(sentence)`` is a success; ``flash(sentence, "error")`` is not.
* All words go through ``gettext`` / ``_()``; then ``python -m tests.catalogues`` brings the catalogues up to date, and
  the new entries of ``registry/translations/ja/LC_MESSAGES/messages.po`` are filled in.
"""

from __future__ import annotations

from flask import Blueprint, Flask, g, make_response, redirect, render_template, request, url_for
from flask_wtf.csrf import CSRFError, CSRFProtect
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as BaseResponse

from registry.blueprints.auth import pages
from registry.blueprints.auth.credentials import session_principal
from registry.blueprints.auth.permits import Gate
from registry.blueprints.ui import (
    account,
    admin,
    deploy_tokens,
    explore,
    frame,
    help,  # noqa: A004 - as its pages are called
    job_tokens,
    language,
    members,
    namespaces,
    packages,
    releases,
    settings,
    tokens,
    usage,
    wording,
)
from registry.blueprints.ui.viewer import viewer
from registry.domain import access
from registry.domain.namespaces import by_path
from registry.errors import NotFound, RegistryError, Unauthenticated

blueprint = Blueprint("ui", __name__)
gate = Gate(session_principal, namespace_first=False, find_namespace=by_path)
csrf = CSRFProtect()

ERROR_PAGES = frozenset({400, 403, 404, 413, 429, 500, 503})
NAMESPACE_WORDS = frozenset({"Project", "Group", "Namespace"})
PAGES_BEFORE_NEW_PASSWORD = frozenset({"ui.account.password", "ui.auth.sign_in", "ui.auth.sign_out"})

for child in (
    pages.routes(gate),
    explore.routes(gate),
    account.routes(gate),
    members.routes(gate),
    usage.routes(gate),
    help.routes(gate),
    tokens.routes(gate),
    admin.routes(gate),
    packages.routes(gate),
    releases.routes(gate),
    settings.routes(gate),
    deploy_tokens.routes(gate),
    job_tokens.routes(gate),
    namespaces.routes(gate),
):
    blueprint.register_blueprint(child)


def init_app(app: Flask) -> None:
    """Everything pages need of the application; CSRF is checked for pages only, the API knows no cookies but theirs."""
    app.config.update(
        WTF_CSRF_CHECK_DEFAULT=False,
        WTF_CSRF_TIME_LIMIT=None,  # as long as the session: an hour over a form is no attack
        WTF_CSRF_SSL_STRICT=False,  # the token suffices, and some browsers and proxies drop the referrer
    )
    csrf.init_app(app)
    language.init_app(app)
    frame.init_app(app)
    app.register_blueprint(blueprint)


@blueprint.before_request
def check_form_token() -> None:
    csrf.protect()


@blueprint.before_request
def ask_for_new_password() -> BaseResponse | None:
    """Who signed in with a password somebody else knows gets no further without a new one."""
    user = viewer()
    if user is None or not user.must_change_password or request.endpoint in PAGES_BEFORE_NEW_PASSWORD:
        return None
    return redirect(url_for("ui.account.password"), 303)


blueprint.after_request(frame.secure_page)


# Refusals -------------------------------------------------------------------------------------------------------


@blueprint.errorhandler(Unauthenticated)
def ask_to_sign_in(_error: Unauthenticated) -> BaseResponse:
    return redirect(url_for("ui.auth.sign_in", next=frame.this_page()), 303)


@blueprint.errorhandler(NotFound)
def refuse_unknown(error: NotFound) -> BaseResponse:
    """Nobody learns from a page whether a group or project is private or not there at all: both ask to sign in."""
    if viewer() is None and error.what in NAMESPACE_WORDS:
        return ask_to_sign_in(Unauthenticated())
    return error_page(404)


@blueprint.errorhandler(CSRFError)
def refuse_forged(_error: CSRFError) -> BaseResponse:
    """A form without the token of this session: sent from elsewhere, or shown before signing in or out."""
    return error_page(400, template="errors/form_expired.html")


def refuse(error: RegistryError) -> BaseResponse:
    """The page for a refusal of the domain."""
    response = error_page(error.status, reason=wording.refusal(error))
    response.headers.update(error.headers())
    return response


def refuse_http(error: HTTPException) -> BaseResponse:
    """The page for an address or request that no view took; redirects and headers stay as they are."""
    answer = error.get_response()
    if answer.status_code < 400:
        return answer
    response = error_page(answer.status_code)
    if "Allow" in answer.headers:
        response.headers["Allow"] = answer.headers["Allow"]
    return response


def error_page(status: int, *, reason: str = "", template: str = "") -> BaseResponse:
    """``templates/errors/<status>.html``, or the nearest there is. Those of 413 and 5xx ask the database nothing."""
    if status >= 500 or status == 413:
        g.principal = access.ANONYMOUS
    known = status if status in ERROR_PAGES else 500 if status >= 500 else 400
    body = render_template(template or f"errors/{known}.html", reason=reason, status=status)
    return frame.secure_page(make_response(body, status))
