"""The page of the user's own two-factor authentication. Changes require the password, as a session can be stolen."""

from __future__ import annotations

import secrets
from typing import Any, ClassVar, Self
from urllib.parse import urlsplit

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_babel import gettext, lazy_gettext
from markupsafe import Markup
from werkzeug.wrappers import Response
from wtforms import HiddenField, StringField
from wtforms.validators import InputRequired

from registry.addresses import root_url
from registry.blueprints.auth import sessions
from registry.blueprints.auth.credentials import token_key
from registry.blueprints.auth.pages import site
from registry.blueprints.auth.permits import Gate
from registry.blueprints.ui.forms import CurrentPasswordForm, text
from registry.blueprints.ui.viewer import principal, signed_in
from registry.database import utcnow
from registry.domain.access import Permission
from registry.domain.accounts import passkeys, second_factors
from registry.domain.accounts.secrets import seal, unseal
from registry.models import User

_ = lazy_gettext

CODES, DISABLING = "codes", "disable"  # actions

Page = Response | tuple[str, int]


class PasswordForm(CurrentPasswordForm):
    """A form for an action that requires the password.

    :ivar action: the prefix of the fields, by which the forms of the page differ.
    """

    def __init__(self, action: str, **given: Any) -> None:
        super().__init__(prefix=f"{action}-", **given)
        self.action = action


class FactorForm(PasswordForm):
    """A new second factor, for which the registry makes a secret or a challenge.

    :cvar factor: the action.
    :ivar value: the secret or challenge, which ``sealed`` contains, encrypted for the session of the user.
    """

    shown_last = frozenset({"current_password"})
    factor: ClassVar[str]
    value: str
    sealed = HiddenField()

    @classmethod
    def empty(cls, value: str) -> Self:
        form = cls(cls.factor, formdata=None, sealed=seal(value, token_key(), cls._purpose()))
        form.value = value
        return form

    @classmethod
    def sent(cls) -> Self | None:
        """Return the form that was sent; ``None`` if the page was one of another session."""
        form = cls(cls.factor)
        value = unseal(form.sealed.data or "", token_key(), cls._purpose())
        if value is None:
            return None
        form.value = value
        return form

    @classmethod
    def _purpose(cls) -> str:
        return f"new {cls.factor} in the session {sessions.binding()}"


class PasskeyForm(FactorForm):
    """A new passkey; ``value`` is the challenge."""

    factor = "passkey"
    credential = HiddenField()
    name = StringField(_("Name"), [InputRequired(_("This field is required."))])


class AppForm(FactorForm):
    """An authenticator app; ``value`` is its secret."""

    factor = "app"
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
        user, form = signed_in(), AppForm.sent()
        if form is None:
            return _outdated()
        if form.can_be_tried():
            with form.refusals():
                with sessions.restarting():
                    codes = second_factors.add_app(
                        user, form.value, form.code.data or "", key=token_key(), by=principal(), now=utcnow()
                    )
                flash(gettext("The authenticator app is set up. Other sessions have been signed out."))
                return _page(codes=codes) if codes else redirect(url_for("ui.two_factor.two_factor"), 303)
        return _page(form)

    @blueprint.post("/passkeys")
    @gate(Permission.USE_API)
    def add_passkey() -> Page:
        """Add a passkey, which ends all other sessions, and show recovery codes once."""
        user, form = signed_in(), PasskeyForm.sent()
        if form is None:
            return _outdated()
        if form.can_be_tried():
            with form.refusals():
                with sessions.restarting():
                    codes = passkeys.add(
                        user, text(form.name), form.credential.data or "", bytes.fromhex(form.value), site(),
                        key=token_key(), by=principal(), now=utcnow(),
                    )  # fmt: skip
                flash(gettext("The passkey was added. Other sessions have been signed out."))
                return _page(codes=codes) if codes else redirect(url_for("ui.two_factor.two_factor"), 303)
        form.credential.data = ""  # another answer of the authenticator is needed
        return _page(form)

    @blueprint.post("/passkeys/<id:passkey_id>/remove")
    @gate(Permission.USE_API)
    def remove_passkey(passkey_id: int) -> Page:
        """Remove a passkey, which ends all other sessions."""
        user, form = signed_in(), PasswordForm(_removal(passkey_id))
        if form.validate_on_submit():
            with form.refusals():
                with sessions.restarting():
                    passkeys.remove(user, passkey_id, by=principal())
                flash(gettext("The passkey was removed. Other sessions have been signed out."))
                return redirect(url_for("ui.two_factor.two_factor"), 303)
        return _page(form)

    @blueprint.post("/codes")
    @gate(Permission.USE_API)
    def replace_recovery_codes() -> Page:
        """Replace the recovery codes, and show the new ones once."""
        user, form = signed_in(), PasswordForm(CODES)
        if form.validate_on_submit():
            with form.refusals():
                return _page(codes=second_factors.replace_recovery_codes(user, key=token_key(), by=principal()))
        return _page(form)

    @blueprint.post("/disable")
    @gate(Permission.USE_API)
    def disable() -> Page:
        """Remove all second factors, which ends all other sessions."""
        user, form = signed_in(), PasswordForm(DISABLING)
        if form.validate_on_submit():
            with form.refusals():
                with sessions.restarting():
                    second_factors.disable(user, by=principal())
                flash(gettext("Two-factor authentication is disabled. Other sessions have been signed out."))
                return redirect(url_for("ui.two_factor.two_factor"), 303)
        return _page(form)

    return blueprint


def _page(sent: PasswordForm | None = None, *, codes: list[str] | None = None) -> tuple[str, int]:
    """Render the page.

    :param sent: the form that was refused; the others are empty.
    :param codes: recovery codes that were just made, which are shown only once.
    """
    user = signed_in()
    app = sent if isinstance(sent, AppForm) else AppForm.empty(second_factors.new_totp_secret())
    new_passkey = sent if isinstance(sent, PasskeyForm) else PasskeyForm.empty(secrets.token_hex(32))
    challenge, own_site = bytes.fromhex(new_passkey.value), site()
    page = render_template(
        "ui/account/two_factor.html",
        user=user,
        app=app,
        secret=_in_groups_of_four(app.value),
        qr_code=_qr_code(user, app.value),
        new_codes=_sent_or_empty(sent, CODES),
        disabling=_sent_or_empty(sent, DISABLING),
        new_passkey=new_passkey,
        passkey_options=passkeys.creation_options(user, challenge, own_site, key=token_key()),
        unsuitable_address=None if own_site.admits_passkeys else own_site.origin,
        removals=[(each, _sent_or_empty(sent, _removal(each.id))) for each in passkeys.passkeys_of(user)],
        codes=codes,
        codes_left=second_factors.recovery_codes_left(user),
    )
    return page, 200 if sent is None else sent.status


def _sent_or_empty(sent: PasswordForm | None, action: str) -> PasswordForm:
    """Return the form of an action, which is empty unless it was sent."""
    return sent if sent is not None and sent.action == action else PasswordForm(action, formdata=None)


def _removal(passkey_id: int) -> str:
    """Return the action that removes a passkey."""
    return f"removal-{passkey_id}"


def _in_groups_of_four(secret: str) -> str:
    return " ".join(secret[start : start + 4] for start in range(0, len(secret), 4))


def _outdated() -> Response:
    flash(gettext("The page was out of date. Try again."), "error")
    return redirect(url_for("ui.two_factor.two_factor"), 303)


def _qr_code(user: User, secret: str) -> Markup:
    """Return an SVG image of the address that authenticator apps read."""
    import segno  # takes 20 ms, and few processes set up an app

    issuer = urlsplit(root_url(request.environ)).hostname or ""
    code = segno.make(second_factors.app_address(user, secret, issuer), error="m", micro=False)
    return Markup(code.svg_inline(scale=4, dark="#000", light="#fff", svgclass=None, lineclass=None))  # noqa: S704
