"""The page of the user's own two-factor authentication. Changes require the password, as a session can be stolen."""

from __future__ import annotations

import secrets
from urllib.parse import urlsplit

import segno
from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_babel import gettext, lazy_gettext
from markupsafe import Markup
from werkzeug.wrappers import Response
from wtforms import HiddenField, PasswordField, StringField
from wtforms.validators import InputRequired

from registry.addresses import root_url
from registry.blueprints.auth import sessions
from registry.blueprints.auth.credentials import token_key
from registry.blueprints.auth.pages import site
from registry.blueprints.auth.permits import Gate
from registry.blueprints.ui.forms import Form, text
from registry.blueprints.ui.viewer import principal, signed_in
from registry.database import utcnow
from registry.domain.access import Permission
from registry.domain.accounts import passkeys, second_factors, sign_in
from registry.domain.accounts.secrets import seal, unseal
from registry.models import User

_ = lazy_gettext

Page = Response | tuple[str, int]


class PasswordForm(Form):
    current_password = PasswordField(_("Current password"), [InputRequired(_("Enter your current password."))])

    def require_password(self, user: User) -> None:
        """Require the user's password.

        :raises InvalidRecord: it is wrong.
        :raises TooManyRequests: the wait after failed attempts is not over.
        """
        sign_in.require_password(user, self.current_password.data or "", by=principal(), now=utcnow())


class PasskeyForm(PasswordForm):
    """A new passkey; ``sealed`` is the challenge, encrypted for the session of the user."""

    sealed = HiddenField()
    credential = HiddenField()
    name = StringField(_("Name"), [InputRequired(_("This field is required."))])


class AppForm(PasswordForm):
    """An authenticator app; ``sealed`` is its secret, encrypted for the session of the user."""

    sealed = HiddenField()
    code = StringField(_("Verification code"), [InputRequired(_("Enter a code."))])


def routes(gate: Gate) -> Blueprint:
    blueprint = Blueprint("two_factor", __name__, url_prefix="/-/profile/two_factor_auth")

    @blueprint.get("")
    @gate(Permission.USE_API)
    def two_factor() -> Page:
        """Show the second factors of the user, and how to add one."""
        return _page()

    @blueprint.post("")
    @gate(Permission.USE_API)
    def add_app() -> Page:
        """Set up an authenticator app, which ends all other sessions, and show recovery codes once."""
        user, form = signed_in(), AppForm(prefix="app-")
        secret = unseal(form.sealed.data or "", token_key(), _purpose("app"))
        if secret is None:
            return _outdated()
        if form.validate_on_submit():
            with form.refusals():
                form.require_password(user)
                with sessions.restarting():
                    codes = second_factors.add_app(
                        user, secret, form.code.data or "", key=token_key(), by=principal(), now=utcnow()
                    )
                flash(gettext("The authenticator app is set up. Other sessions have been signed out."))
                return _page(codes=codes) if codes else redirect(url_for("ui.two_factor.two_factor"), 303)
        return _page(app=form, secret=secret)

    @blueprint.post("/passkeys")
    @gate(Permission.USE_API)
    def add_passkey() -> Page:
        """Add a passkey, which ends all other sessions, and show recovery codes once."""
        user, form = signed_in(), PasskeyForm(prefix="passkey-")
        challenge = unseal(form.sealed.data or "", token_key(), _purpose("passkey"))
        if challenge is None:
            return _outdated()
        if form.validate_on_submit():
            with form.refusals():
                form.require_password(user)
                with sessions.restarting():
                    codes = passkeys.add(
                        user, text(form.name), form.credential.data or "", bytes.fromhex(challenge), site(),
                        key=token_key(), by=principal(), now=utcnow(),
                    )  # fmt: skip
                flash(gettext("The passkey was added. Other sessions have been signed out."))
                return _page(codes=codes) if codes else redirect(url_for("ui.two_factor.two_factor"), 303)
        return _page(new_passkey=form, challenge=challenge)

    @blueprint.post("/passkeys/<id:passkey_id>/remove")
    @gate(Permission.USE_API)
    def remove_passkey(passkey_id: int) -> Page:
        """Remove a passkey, which ends all other sessions."""
        user, form = signed_in(), PasswordForm(prefix=f"removal-{passkey_id}-")
        if form.validate_on_submit():
            with form.refusals():
                form.require_password(user)
                with sessions.restarting():
                    passkeys.remove(user, passkey_id, by=principal())
                flash(gettext("The passkey was removed. Other sessions have been signed out."))
                return redirect(url_for("ui.two_factor.two_factor"), 303)
        return _page(removal=(passkey_id, form))

    @blueprint.post("/codes")
    @gate(Permission.USE_API)
    def replace_recovery_codes() -> Page:
        """Replace the recovery codes, and show the new ones once."""
        user, form = signed_in(), PasswordForm(prefix="codes-")
        if form.validate_on_submit():
            with form.refusals():
                form.require_password(user)
                return _page(codes=second_factors.replace_recovery_codes(user, key=token_key(), by=principal()))
        return _page(new_codes=form)

    @blueprint.post("/disable")
    @gate(Permission.USE_API)
    def disable() -> Page:
        """Remove all second factors, which ends all other sessions."""
        user, form = signed_in(), PasswordForm(prefix="disable-")
        if form.validate_on_submit():
            with form.refusals():
                form.require_password(user)
                with sessions.restarting():
                    second_factors.disable(user, by=principal())
                flash(gettext("Two-factor authentication is disabled. Other sessions have been signed out."))
                return redirect(url_for("ui.two_factor.two_factor"), 303)
        return _page(disabling=form)

    return blueprint


def _page(
    *, app: AppForm | None = None, secret: str = "", new_codes: PasswordForm | None = None,
    disabling: PasswordForm | None = None, new_passkey: PasskeyForm | None = None, challenge: str = "",
    removal: tuple[int, PasswordForm] | None = None, codes: list[str] | None = None,
) -> tuple[str, int]:  # fmt: skip
    """Render the page, with the form that was refused, if one was.

    :param secret: the secret of the app in the form; by default, a new one.
    :param challenge: likewise for the passkey in the form.
    :param codes: recovery codes that were just made, which are shown only once.
    """
    user, secret = signed_in(), secret or second_factors.new_totp_secret()
    challenge = challenge or secrets.token_hex(32)
    refused_id, removing = removal or (0, None)
    sent = [form for form in (app, new_codes, disabling, new_passkey, removing) if form is not None]
    if new_passkey is not None:
        new_passkey.credential.data = ""  # another answer of the authenticator is needed
    else:
        sealed = seal(challenge, token_key(), _purpose("passkey"))
        new_passkey = PasskeyForm(prefix="passkey-", formdata=None, sealed=sealed)
    removals = [
        (one, (removing if one.id == refused_id else None) or PasswordForm(prefix=f"removal-{one.id}-", formdata=None))
        for one in passkeys.passkeys_of(user)
    ]
    app = app or AppForm(prefix="app-", formdata=None, sealed=seal(secret, token_key(), _purpose("app")))
    page = render_template(
        "ui/account/two_factor.html",
        user=user,
        app=app,
        secret=" ".join(secret[start : start + 4] for start in range(0, len(secret), 4)),
        qr_code=_qr_code(user, secret),
        new_codes=new_codes or PasswordForm(prefix="codes-", formdata=None),
        disabling=disabling or PasswordForm(prefix="disable-", formdata=None),
        new_passkey=new_passkey,
        passkey_options=passkeys.creation_options(user, bytes.fromhex(challenge), site(), key=token_key()),
        removals=removals,
        codes=codes,
        codes_left=second_factors.recovery_codes_left(user),
    )
    return page, 422 if any(form.errors for form in sent) else 200


def _outdated() -> Response:
    flash(gettext("The page was out of date. Try again."), "error")
    return redirect(url_for("ui.two_factor.two_factor"), 303)


def _qr_code(user: User, secret: str) -> Markup:
    """Return an SVG image of the address that authenticator apps read."""
    issuer = urlsplit(root_url(request.environ)).hostname or ""
    code = segno.make(second_factors.app_address(user, secret, issuer), error="m", micro=False)
    return Markup(code.svg_inline(scale=4, dark="#000", light="#fff", svgclass=None, lineclass=None))  # noqa: S704


def _purpose(factor: str) -> str:
    return f"new {factor} in the session {sessions.binding()}"
