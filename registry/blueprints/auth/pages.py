"""Blueprint "auth": pages to sign in, with a password and the second factor, and out."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Blueprint, current_app, flash, redirect, render_template, request, url_for
from flask_babel import gettext, lazy_gettext
from flask_wtf import FlaskForm
from werkzeug.wrappers import Response as BaseResponse
from wtforms import HiddenField, PasswordField, StringField
from wtforms.validators import InputRequired

from registry.addresses import root_url
from registry.blueprints.auth import sessions, single_sign_on
from registry.blueprints.auth.credentials import current_principal, token_key
from registry.blueprints.auth.local_addresses import local_address
from registry.blueprints.auth.permits import Gate
from registry.database import utcnow
from registry.domain.accounts import passkeys
from registry.domain.accounts import sign_in as signing_in
from registry.environ_keys import EVENT
from registry.errors import InactiveUser
from registry.metrics import AuthFailure
from registry.models import SignInMethod, User

_ = lazy_gettext


class SignInForm(FlaskForm):  # type: ignore[misc]
    class Meta:
        csrf = False  # checked for all pages in one place

    login = StringField(_("Username or email"), [InputRequired(_("Enter your username or email."))])
    password = PasswordField(_("Password"), [InputRequired(_("Enter your password."))])
    next = HiddenField()


class CodeForm(FlaskForm):  # type: ignore[misc]
    class Meta:
        csrf = False  # checked for all pages in one place

    code = StringField(_("Two-factor code"), [InputRequired(_("Enter a code."))])
    next = HiddenField()


def routes(gate: Gate) -> Blueprint:
    blueprint = Blueprint("auth", __name__)

    @blueprint.route("/users/sign_in", methods=["GET", "POST"])
    @gate.open
    def sign_in() -> BaseResponse | tuple[str, int]:
        """Sign in with user name or e-mail address, and password."""
        if sessions.signed_in_user() is not None:
            return redirect(local_address(request.args.get("next")), 303)
        form = SignInForm(next=request.args.get("next", ""))
        user = _identified(form) if form.validate_on_submit() else None
        if user is None:
            return _page(form), 422 if form.errors else 200
        if sessions.start_by_password(user):
            return redirect(local_address(form.next.data), 303)
        return redirect(url_for("ui.auth.second_factor", next=form.next.data or None), 303)

    @blueprint.route("/users/two_factor", methods=["GET", "POST"])
    @gate.open
    def second_factor() -> BaseResponse | tuple[str, int]:
        """Complete a sign-in with a code of the second factor, or a recovery code."""
        user = sessions.begun_by()
        if user is None:
            return _begin_again()
        form = CodeForm(next=request.args.get("next", ""))
        if form.validate_on_submit() and _is_code_right(form, user):
            sessions.start(user, SignInMethod.PASSWORD)
            return redirect(local_address(form.next.data), 303)
        return _second_step(form, user)

    @blueprint.post("/users/two_factor/passkey")
    @gate.open
    def passkey() -> BaseResponse | tuple[str, int]:
        """Complete a sign-in with a passkey."""
        user = sessions.begun_by()
        if user is None:
            return _begin_again()
        form, address, now = CodeForm(), request.remote_addr or "", utcnow()
        sent, challenge, own_site = request.form.get("credential", ""), sessions.challenge(), site()

        def is_accepted() -> bool:
            return passkeys.accept(user, sent, challenge, own_site, now=now)

        begun = sessions.begun()
        if signing_in.complete(user, is_accepted, begun=begun, key=token_key(), address=address, now=now):
            sessions.start(user, SignInMethod.PASSWORD)
            return redirect(local_address(form.next.data), 303)
        request.environ[EVENT] = AuthFailure("wrong_passkey")
        form.form_errors += [gettext("The passkey was not accepted.")]
        return _second_step(form, user)

    @blueprint.post("/users/sign_out")
    @gate.open
    def sign_out() -> BaseResponse | str:
        """End the session, also for copies of its cookie, and the one at the identity provider."""
        id_token = sessions.sign_out(by=current_principal())
        flash(gettext("You have signed out."))
        url = None if id_token is None else single_sign_on.sign_out_url(id_token)
        return redirect(url_for("ui.auth.sign_in"), 303) if url is None else single_sign_on.leaving(url)

    return blueprint


def _page(form: SignInForm) -> str:
    """Render the sign-in page. If passwords are turned off, ``?password`` shows the form nevertheless."""
    label = None if single_sign_on.provider() is None else current_app.config["OIDC_LABEL"]
    is_on = current_app.config["PASSWORD_SIGN_IN"]
    has_form = is_on or "password" in request.args or form.is_submitted()
    return render_template(
        "auth/sign_in.html", form=form, provider=label, has_form=has_form, are_passwords_off=not is_on
    )


def _identified(form: SignInForm) -> User | None:
    """Return the user with the submitted credentials, or ``None``.

    :raises TooManyRequests: the wait after failed attempts is not over; the password is not verified.
    """
    login, password = form.login.data or "", form.password.data or ""
    recovery_only, address = not current_app.config["PASSWORD_SIGN_IN"], request.remote_addr or ""
    try:
        user = signing_in.sign_in(login, password, recovery_only=recovery_only, address=address, now=utcnow())
    except InactiveUser:
        request.environ[EVENT] = AuthFailure("inactive_user")
        form.form_errors += [gettext("Your account is blocked or deactivated. Contact an administrator.")]
        return None
    if user is None:
        request.environ[EVENT] = AuthFailure("wrong_password")
        form.form_errors += [gettext("Invalid login or password.")]
    return user


def _second_step(form: CodeForm, user: User) -> tuple[str, int]:
    """Render the page that asks for the second factor."""
    own_site, has_passkeys = site(), bool(passkeys.passkeys_of(user))
    options = None
    if has_passkeys and own_site.admits_passkeys:
        options = passkeys.request_options(user, sessions.challenge(), own_site)
    page = render_template(
        "auth/second_factor.html", form=form, options=options, has_app=user.totp_secret is not None,
        unsuitable_address=own_site.origin if has_passkeys and not own_site.admits_passkeys else None,
    )  # fmt: skip
    return page, 422 if form.errors else 200


def site() -> passkeys.Site:
    """Return the registry as the browser sees it."""
    parts = urlsplit(root_url(request.environ))
    netloc = parts.netloc.lower().removesuffix(":443" if parts.scheme == "https" else ":80")  # as in origins
    return passkeys.Site(host=parts.hostname or "", origin=f"{parts.scheme}://{netloc}")


def _begin_again() -> BaseResponse:
    """Return to the sign-in page without a sign-in that was begun."""
    following = request.values.get("next") or None
    if sessions.signed_in_user() is not None:
        return redirect(local_address(following), 303)
    flash(gettext("Enter your password again. Your sign-in was not completed in time."), "error")
    return redirect(url_for("ui.auth.sign_in", next=following), 303)


def _is_code_right(form: CodeForm, user: User) -> bool:
    """Return whether the submitted code completes the sign-in; adds an error to the form otherwise.

    :raises TooManyRequests: the wait after failed attempts is not over; the code is not verified.
    """
    code, address, now = form.code.data or "", request.remote_addr or "", utcnow()
    if signing_in.enter_code(user, code, begun=sessions.begun(), key=token_key(), address=address, now=now):
        return True
    request.environ[EVENT] = AuthFailure("wrong_code")
    form.form_errors += [gettext("Invalid code. Each code is accepted only once.")]
    return False
