"""Browser sessions: who is signed in, by Flask-Login's cookie."""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import cast

from flask import Flask, current_app, request, session
from flask.sessions import SecureCookieSessionInterface
from flask_login import LoginManager, UserMixin, current_user, login_user, logout_user

from registry.database import db
from registry.models import User

login_manager = LoginManager()


class SignedIn(UserMixin):  # type: ignore[misc]
    """A user as Flask-Login sees one. The id changes with the password, so that a new password ends other sessions."""

    def __init__(self, user: User) -> None:
        self.user = user

    @property
    def is_active(self) -> bool:
        return self.user.is_active

    def get_id(self) -> str:
        return f"{self.user.id}.{_fingerprint(self.user)}"


class SessionCookies(SecureCookieSessionInterface):
    """Cookies for HTTPS alone where the request came by it, as the external URL or a trusted proxy says."""

    def get_cookie_secure(self, app: Flask) -> bool:
        return request.is_secure


def init_app(app: Flask) -> None:
    app.session_interface = SessionCookies()
    # In place of init_app, which also looks into the session of every request for a "remember me" cookie: there is
    # none here, and the look would make every answer of the index vary by cookie.
    app.login_manager = login_manager  # type: ignore[attr-defined]
    app.context_processor(lambda: {"current_user": current_user})
    login_manager.user_loader(_load)
    login_manager.session_protection = None  # addresses change on the way; the cookie is signed and HttpOnly


def sign_in(user: User) -> None:
    """Start a session from nothing: what an earlier visitor left in the cookie does not carry over."""
    session.clear()
    session.permanent = True
    login_user(SignedIn(user))


def sign_out() -> None:
    logout_user()
    session.clear()


def signed_in_user() -> User | None:
    """The active user of this request's session."""
    return cast(SignedIn, current_user).user if current_user.is_authenticated and current_user.is_active else None


def _load(identifier: str) -> SignedIn | None:
    user_id, _, fingerprint = identifier.partition(".")
    user = db.session.get(User, int(user_id)) if user_id.isdecimal() else None
    if user is None or not user.is_active or not hmac.compare_digest(fingerprint, _fingerprint(user)):
        return None
    return SignedIn(user)


def _fingerprint(user: User) -> str:
    key = current_app.config["TOKEN_KEY"]
    return hmac.new(key, (user.password_hash or "").encode(), sha256).hexdigest()[:32]
