"""Blueprint "ui": the web pages. This is the guide to adding a page.

* Each subject is a module with ``routes(gate) -> Blueprint``, named after the module and registered below.
* A view is decorated with a route and the gate: ``@blueprint.get("/<page_project:project>/-/packages")``, then
  ``@gate(Permission.READ_PACKAGE)``, then ``def project_packages(project: Project)``. Converters: ``page_project``,
  ``page_group``, ``page_namespace`` (any of the three kinds); the argument must be named ``project``, ``group``, or
  ``namespace``, and receives the record. For pages without a namespace, ``@gate(Permission.USE_API)`` requires a
  signed-in user, and ``@gate.open`` nothing.
* Views for both projects and groups are named ``project_<view>`` and ``group_<view>``, as the sidebar expects:
  ``ui.packages.*_packages``, ``ui.settings.*_packages_and_registries``, ``ui.deploy_tokens.*_repository``.
* ``url_for("ui.packages.project_packages", project=project)`` accepts a record as well as its path.
* ``render_template("ui/<module>/<view>.html", namespace=project, …)``: ``namespace`` adds sidebar and breadcrumb.
  The top of ``templates/base.html`` lists the blocks and macros.
* Forms are subclasses of ``forms.Form`` (``ui/forms.py``) and only parse. The pattern of a view with a form is::

      form = GroupForm(…)
      if form.can_be_tried():
          with form.refusals():
              namespaces.change(group, form.changes(), by=principal())
              flash(gettext("…"))
              return redirect(url_for(…), 303)
      return render_template(…, form=form), form.status

  ``refusals`` adds errors of the domain (``InvalidRecord``, ``Conflict``) to the fields and continues after the block.
  If the form has errors of its own, the block is rolled back, and all errors are shown at once. The password of the
  user is checked by the form itself (``CurrentPasswordForm``), so that guesses are counted.
  Every ``<form method="post">`` contains ``{{ forms.csrf() }}``; the token is checked here, for all pages.
* ``flash(sentence)`` shows a success, and ``flash(sentence, "error")`` an error.
* All texts use ``gettext`` / ``_()``. Run ``python -m tests.catalogues`` to update the catalogs, and translate the new
  entries in ``registry/translations/ja/LC_MESSAGES/messages.po``.
"""

from __future__ import annotations

from flask import Blueprint, Flask, g, make_response, redirect, render_template, request, url_for
from flask_wtf.csrf import CSRFError, CSRFProtect
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as BaseResponse

from registry.blueprints.auth import pages, sessions, single_sign_on
from registry.blueprints.auth.credentials import session_principal
from registry.blueprints.auth.permits import Gate, refuse_large_form
from registry.blueprints.ui import (
    account,
    admin,
    audit,
    comparison,
    contents,
    deploy_tokens,
    explore,
    feeds,
    frame,
    help,  # noqa: A004 - the name of its pages
    identity,
    job_tokens,
    language,
    members,
    namespaces,
    packages,
    preferences,
    provider_roles,
    releases,
    settings,
    tokens,
    trusted_identities,
    two_factor,
    upstream,
    usage,
    vulnerabilities,
    wording,
)
from registry.blueprints.ui.viewer import viewer
from registry.domain import access
from registry.domain.namespaces import by_path
from registry.errors import NotFound, RegistryError, Unauthenticated

blueprint = Blueprint("ui", __name__)
gate = Gate(session_principal, namespace_first=False, find_namespace=by_path, shows_new_path=True)
csrf = CSRFProtect()

ERROR_PAGES = frozenset({400, 403, 404, 413, 429, 500, 503})
NAMESPACE_WORDS = frozenset({"Project", "Group", "Namespace"})
PAGES_BEFORE_NEW_PASSWORD = frozenset({"ui.account.password", "ui.auth.sign_in", "ui.auth.sign_out"})

PAGES_BEFORE_SECOND_FACTOR = frozenset(
    {
        "ui.two_factor.two_factor",
        "ui.two_factor.add_app",
        "ui.two_factor.add_passkey",
        "ui.auth.sign_in",
        "ui.auth.sign_out",
    }
)

for child in (
    pages.routes(gate),
    single_sign_on.routes(gate, wording.refusal),
    explore.routes(gate),
    account.routes(gate),
    two_factor.routes(gate),
    identity.routes(gate),
    preferences.routes(gate),
    members.routes(gate),
    usage.routes(gate),
    help.routes(gate),
    tokens.routes(gate),
    admin.routes(gate),
    provider_roles.routes(gate),
    audit.routes(gate),
    packages.routes(gate),
    contents.routes(gate),
    comparison.routes(gate),
    upstream.routes(gate),
    vulnerabilities.routes(gate),
    releases.routes(gate),
    settings.routes(gate),
    deploy_tokens.routes(gate),
    job_tokens.routes(gate),
    trusted_identities.routes(gate),
    namespaces.routes(gate),
):
    blueprint.register_blueprint(child)


def init_app(app: Flask) -> None:
    """Set up the pages. CSRF tokens are checked here for pages; the API checks them for session cookies."""
    app.config.update(
        WTF_CSRF_CHECK_DEFAULT=False,
        WTF_CSRF_TIME_LIMIT=None,  # tokens expire with the session, as users can leave forms open for hours
        WTF_CSRF_SSL_STRICT=False,  # the token is sufficient, and some browsers and proxies remove the referrer
    )
    csrf.init_app(app)
    language.init_app(app)
    frame.init_app(app)
    app.register_blueprint(blueprint)
    app.register_blueprint(feeds.blueprint)


@blueprint.before_request
def follow_proxy() -> None:
    """Sign in the user whom a trusted proxy has authenticated, before anything else uses the session of another one.

    :raises Forbidden: the registry does not have the user.
    :raises InactiveUser: the user is blocked or deactivated.
    """
    name, user = sessions.proxy_user(), sessions.signed_in_user()
    if name and (user is None or user.username_key != name.lower()):
        sessions.start_by_proxy(name)


@blueprint.before_request
def refuse_large_form_without_session() -> None:
    """Refuse a large form before its CSRF token is read, unless the caller has signed in."""
    if sessions.signed_in_user() is None:
        refuse_large_form()


@blueprint.before_request
def check_form_token() -> None:
    csrf.protect()


@blueprint.before_request
def ask_for_new_password() -> BaseResponse | None:
    """Redirect users who must change their password, and have signed in with it, to the page for it."""
    user = viewer()
    if user is None or not user.must_change_password or not sessions.is_by_password():
        return None
    if request.endpoint in PAGES_BEFORE_NEW_PASSWORD:
        return None
    return redirect(url_for("ui.account.password"), 303)


@blueprint.before_request
def ask_for_second_factor() -> BaseResponse | None:
    """Redirect users without a second factor, where the instance requires it, to the page for it."""
    user = viewer()
    if user is None or user.must_change_password or not sessions.lacks_second_factor():
        return None
    if request.endpoint in PAGES_BEFORE_SECOND_FACTOR or request.blueprint == "ui.help":
        return None
    return redirect(url_for("ui.two_factor.two_factor"), 303)


blueprint.after_request(frame.secure_page)


@blueprint.errorhandler(Unauthenticated)
def ask_to_sign_in(_error: Unauthenticated) -> BaseResponse:
    return redirect(url_for("ui.auth.sign_in", next=frame.this_page()), 303)


@blueprint.errorhandler(NotFound)
def refuse_unknown(error: NotFound) -> BaseResponse:
    """Return the same page for hidden and missing groups and projects; anonymous callers are asked to sign in."""
    if viewer() is None and error.what in NAMESPACE_WORDS:
        return ask_to_sign_in(Unauthenticated())
    return error_page(404)


@blueprint.errorhandler(CSRFError)
def refuse_forged(_error: CSRFError) -> BaseResponse:
    """Return the page for a missing or wrong CSRF token, such as after signing in or out in another tab."""
    return error_page(400, template="errors/form_expired.html")


def refuse(error: RegistryError) -> BaseResponse:
    """Return the page for an error of the domain."""
    response = error_page(error.status, reason=wording.refusal(error))
    response.headers.update(error.headers())
    return response


def refuse_http(error: HTTPException) -> BaseResponse:
    """Return the page for an HTTP error outside views; redirects and headers are unchanged."""
    answer = error.get_response()
    if answer.status_code < 400:
        return answer
    response = error_page(answer.status_code)
    if "Allow" in answer.headers:
        response.headers["Allow"] = answer.headers["Allow"]
    return response


def error_page(status: int, *, reason: str = "", template: str = "") -> BaseResponse:
    """Render ``templates/errors/<status>.html`` or the closest one. Those of 413 and 5xx do not query the database."""
    if status >= 500 or status == 413:
        g.principal = access.ANONYMOUS
    known = status if status in ERROR_PAGES else 500 if status >= 500 else 400
    body = render_template(template or f"errors/{known}.html", reason=reason, status=status)
    return frame.secure_page(make_response(body, status))
