"""Pages to create, rotate, and revoke the user's own personal access tokens.

A new secret is shown in the response to the form instead of after a redirect, which would require storing it.
"""

from __future__ import annotations

from datetime import timedelta

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_babel import gettext, lazy_gettext
from werkzeug.wrappers import Response
from wtforms import DateField, SelectMultipleField, StringField, TextAreaField
from wtforms.validators import InputRequired, Optional

from registry.blueprints.auth.credentials import token_key
from registry.blueprints.auth.permits import Gate
from registry.blueprints.ui import commands, pagination
from registry.blueprints.ui.forms import Form, in_the_future, text
from registry.blueprints.ui.frame import pypi_url
from registry.blueprints.ui.viewer import may, principal, signed_in
from registry.database import utcnow
from registry.domain import namespaces, paging
from registry.domain.access import Permission, Scope
from registry.domain.accounts import access_tokens as tokens
from registry.domain.accounts import feed_tokens
from registry.domain.accounts.access_tokens import AccessTokenFilter
from registry.errors import NotFound
from registry.models import AccessToken, Project

_ = lazy_gettext

TOKENS = "/-/user_settings/personal_access_tokens"
USUAL_LIFETIME = timedelta(days=30)
RECENT = 20
# The scopes that grant something here; the API accepts GitLab's other scopes, too.
PACKAGE_SCOPES = frozenset({Scope.API, Scope.READ_API})
SCOPES = {
    Scope.API: _("Grants all your permissions: publish, install, and delete packages, and use the whole REST API."),
    Scope.READ_API: _("Grants read access to everything you can see: install packages and read from the REST API."),
    Scope.READ_USER: _("Your own user and the list of users."),
    Scope.SELF_ROTATE: _("Rotate this token only."),
}
ADMINISTRATORS_SCOPES = {Scope.SUDO: _("Act as any other user in the REST API.")}

Page = Response | tuple[str, int]


class AccessTokenForm(Form):
    name = StringField(_("Token name"), [InputRequired(_("This field is required."))])
    description = TextAreaField(_("Token description"))
    expires_on = DateField(_("Expiration date"), [Optional(), in_the_future])
    scopes = SelectMultipleField(_("Select scopes"), [InputRequired(_("Select at least one scope."))])


def routes(gate: Gate) -> Blueprint:
    blueprint = Blueprint("tokens", __name__)

    @blueprint.route(TOKENS, methods=["GET", "POST"])
    @gate(Permission.USE_API)
    def access_tokens() -> Page:
        """Show the user's tokens and a form, prefilled with ``?name=``, ``?description=``, and ``?scopes=``.

        With ``?project=`` and the path of a project, the page leads back to it, and shows how to publish to it.
        """
        form = _form()
        if form.can_be_tried():
            with form.refusals():
                issued = tokens.issue_access_token(
                    signed_in(),
                    name=text(form.name),
                    description=text(form.description),
                    scopes=form.scopes.data or (),
                    expires_on=form.expires_on.data,
                    key=token_key(),
                    by=principal(),
                    now=utcnow(),
                )
                return _page(_form(empty=True), issued)
        return _page(form)

    @blueprint.get("/-/profile/personal_access_tokens")
    @gate(Permission.USE_API)
    def old_address() -> Response:
        query = request.query_string.decode("latin-1")
        return redirect(url_for("ui.tokens.access_tokens") + (f"?{query}" if query else ""), 301)

    @blueprint.post(f"{TOKENS}/<id:token_id>/rotate")
    @gate(Permission.USE_API)
    def rotate(token_id: int) -> Page:
        """Replace a token with a new one of the same name and lifetime."""
        token = tokens.own_access_token(signed_in(), token_id)
        now = utcnow()
        if not token.is_active(now):
            flash(gettext("Only an active token can be rotated."), "error")
            return redirect(url_for("ui.tokens.access_tokens"), 303)
        issued = tokens.rotate_access_token(
            token, key=token_key(), by=principal(), now=now, expires_on=tokens.same_lifetime(token, now)
        )
        return _page(_form(empty=True), issued)

    @blueprint.post(f"{TOKENS}/<id:token_id>/revoke")
    @gate(Permission.USE_API)
    def revoke(token_id: int) -> Response:
        token = tokens.own_access_token(signed_in(), token_id)
        tokens.revoke_access_token(token, by=principal(), now=utcnow())
        flash(gettext("Revoked personal access token %(name)s.", name=token.name))
        return redirect(url_for("ui.tokens.access_tokens"), 303)

    @blueprint.post(f"{TOKENS}/reset_feed_token")
    @gate(Permission.USE_API)
    def reset_feed_token() -> Response:
        feed_tokens.reset(signed_in(), by=principal())
        flash(gettext("The feed token was replaced. Feeds with the old token no longer work."))
        return redirect(url_for("ui.tokens.access_tokens"), 303)

    return blueprint


def _page(form: AccessTokenForm, issued: tuple[AccessToken, str] | None = None) -> Page:
    """Render the page.

    :param issued: the token just created and its secret, which is shown only once.
    """
    own, now = principal().user_id, utcnow()
    active = tokens.access_tokens(
        AccessTokenFilter(user_id=own, is_active=True, order_by="created_at", descending=True), by=principal(), now=now
    )
    inactive = tokens.access_tokens(
        AccessTokenFilter(user_id=own, is_active=False, order_by="created_at", descending=True), by=principal(), now=now
    )
    project = _project()
    publishes = project is not None and issued is not None and Scope.API in issued[0].scopes
    page = render_template(
        "ui/account/access_tokens.html",
        form=form,
        issued=issued,
        project=project,
        publishes=publishes,
        next_command=_next_command(*issued, project if publishes else None) if issued else "",
        feed_token=feed_tokens.feed_token(signed_in(), token_key()),
        helps=_scopes(),
        active=pagination.page(active),
        inactive=paging.page(inactive, 1, RECENT),
        latest=tokens.latest_expiry(now),
        tomorrow=(now + timedelta(days=1)).date(),
    )
    return page, form.status


def _project() -> Project | None:
    """Return the project in ``?project=``, if the user can publish to it."""
    try:
        project = namespaces.by_path(request.args.get("project", ""), Project)
    except NotFound:
        return None
    return project if may("create_package", project) else None


def _next_command(token: AccessToken, secret: str, project: Project | None) -> str:
    """Return the command that a new token is for, with the token filled in: to publish, or to use it for installs."""
    if project is not None:
        return commands.publish(pypi_url(project), secret)
    return commands.set_token(secret) if PACKAGE_SCOPES & set(token.scopes) else ""


def _form(*, empty: bool = False) -> AccessTokenForm:
    """Return the form with submitted values, else with those in the URL; ``empty`` after a token was created."""
    latest, usual = tokens.latest_expiry(utcnow()), (utcnow() + USUAL_LIFETIME).date()
    asked = {} if empty else request.args.to_dict()
    scopes = [scope for value in request.args.getlist("scopes") for scope in value.split(",")]
    form = AccessTokenForm(
        name=asked.get("name"),
        description=asked.get("description"),
        scopes=[] if empty else scopes,
        expires_on=usual if latest is None else min(usual, latest),
        **({"formdata": None} if empty else {}),
    )
    form.scopes.choices = [(scope.value, scope.value) for scope in _scopes()]
    return form


def _scopes() -> dict[Scope, object]:
    return SCOPES | ADMINISTRATORS_SCOPES if principal().is_admin else SCOPES
