"""Page to link the user's account of the identity provider, and to unlink it."""

from __future__ import annotations

from flask import Blueprint, current_app, flash, redirect, render_template, url_for
from flask_babel import gettext
from werkzeug.wrappers import Response

from registry.blueprints.auth import sessions, single_sign_on
from registry.blueprints.auth.permits import Gate
from registry.blueprints.ui.forms import CurrentPasswordForm
from registry.blueprints.ui.viewer import principal, signed_in
from registry.database import utcnow
from registry.domain.access import Permission
from registry.domain.accounts import sign_in
from registry.domain.single_sign_on import identities
from registry.errors import Code, Forbidden

Page = Response | str | tuple[str, int]


def routes(gate: Gate) -> Blueprint:
    blueprint = Blueprint("identity", __name__, url_prefix="/-/user_settings/identity")

    @blueprint.get("")
    @gate(Permission.USE_API)
    def show() -> Page:
        return _page(CurrentPasswordForm(formdata=None))

    @blueprint.post("")
    @gate(Permission.USE_API)
    def link() -> Page:
        """Send the user to the provider, whose account is linked afterwards."""
        single_sign_on.required_provider()
        user, form = signed_in(), CurrentPasswordForm()
        if form.validate():
            with form.refusals():
                sign_in.require_password(user, form.current_password.data or "", by=principal(), now=utcnow())
                return single_sign_on.send_to_provider(user_id=user.id)
        return _page(form)

    @blueprint.post("/unlink")
    @gate(Permission.USE_API)
    def unlink() -> Page:
        if not current_app.config["PASSWORD_SIGN_IN"]:
            raise Forbidden(Code.PASSWORDS_OFF)
        known, user, form = single_sign_on.required_provider(), signed_in(), CurrentPasswordForm()
        if form.validate():
            with form.refusals():
                current = form.current_password.data or ""
                with sessions.restarting():
                    identities.unlink(user, known.issuer, current, by=principal(), now=utcnow())
                flash(
                    gettext(
                        "Your account is no longer linked. Sign in with your password. Other sessions have been signed "
                        "out."
                    )
                )
                return redirect(url_for("ui.identity.show"), 303)
        return _page(form)

    return blueprint


def _page(form: CurrentPasswordForm) -> Page:
    user = signed_in()
    page = render_template(
        "ui/account/identity.html",
        form=form,
        identity=identities.identity_of(user, single_sign_on.required_provider().issuer),
        has_password=user.password_hash is not None,
        has_password_sign_in=current_app.config["PASSWORD_SIGN_IN"],
        label=current_app.config["OIDC_LABEL"],
    )
    return page, form.status
