"""Browser sessions, with Flask-Login's cookie, which holds the secret of a recorded session."""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import cast

from flask import Flask, Request, Response, current_app, request, session
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface, SessionMixin
from flask_login import LoginManager, UserMixin, current_user, login_user, logout_user

from registry.database import utcnow
from registry.domain import audit
from registry.domain.accounts import sessions as recorded
from registry.domain.accounts import sign_in
from registry.environ_keys import PROXY_USER
from registry.models import SignInMethod, User

BEGUN = "begun_sign_in"  # in the cookie, while the second factor is asked for
login_manager = LoginManager()


class SignedIn(UserMixin):  # type: ignore[misc]
    """A user of Flask-Login. The ID depends on the password, so that changing the password ends other sessions."""

    def __init__(
        self,
        user: User,
        secret: str,
        method: SignInMethod = SignInMethod.PASSWORD,
        *,
        lacks_second_factor: bool = False,
    ) -> None:
        self.user, self.secret, self.method = user, secret, method
        self.lacks_second_factor = lacks_second_factor

    @property
    def is_active(self) -> bool:
        return self.user.is_active

    def get_id(self) -> str:
        return f"{self.secret}.{_fingerprint(self.user)}"


class SessionCookies(SecureCookieSessionInterface):
    """Marks cookies as secure for HTTPS requests, as determined by the external URL or a trusted proxy.

    Requests without a cookie, as clients of packages send them, and sessions that are not used cost nothing.
    """

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        return super().open_session(app, request) if "HTTP_COOKIE" in request.environ else self.session_class()

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        if session.accessed or session.modified:
            super().save_session(app, session, response)

    def get_cookie_secure(self, app: Flask) -> bool:
        return request.is_secure


def init_app(app: Flask) -> None:
    app.session_interface = SessionCookies()
    # Instead of init_app, which also accesses the session in every request because of "remember me" cookies. There are
    # none here, and the access would add "Vary: Cookie" to all responses of the index.
    app.login_manager = login_manager  # type: ignore[attr-defined]
    app.context_processor(lambda: {"current_user": current_user})
    login_manager.user_loader(_load)
    login_manager.session_protection = None  # clients change addresses; the cookie is signed and HttpOnly


def start(user: User, method: SignInMethod, *, id_token: str | None = None) -> None:
    """Start a new session of a user who was authenticated, which replaces an earlier one of the browser.

    :param id_token: of the identity provider that has authenticated the user.
    """
    _replace(user, method, recorded.start(user, method, id_token=id_token, key=_key(), now=utcnow()))


def start_by_proxy(name: str) -> None:
    """Use the session of the user with this name, whom a trusted proxy has authenticated; raises its errors."""
    address = request.remote_addr or ""
    user, secret = sign_in.sign_in_by_proxy(name, key=_key(), address=address, now=utcnow())
    _replace(user, SignInMethod.PROXY, secret)


def start_by_password(user: User) -> bool:
    """Start a session of a user who has entered the right password, and return whether that was enough.

    If a second factor is needed, a sign-in is begun instead.
    """
    secret = recorded.start_by_password(user, key=_key(), now=utcnow())
    if secret is None:
        session.clear()
        session[BEGUN] = f"{recorded.begin(user, key=_key(), now=utcnow())}.{_fingerprint(user)}"
        return False
    _replace(user, SignInMethod.PASSWORD, secret)
    return True


def _replace(user: User, method: SignInMethod, secret: str) -> None:
    """End the session of the browser, also for copies of its cookie, and use the one with this secret instead.

    A session by the header of a proxy remains, as other browsers of its user share it.
    """
    if current_user.is_authenticated and not is_by_proxy():
        recorded.discard(cast(SignedIn, current_user).secret, key=_key())
    session.clear()
    session.permanent = True
    login_user(SignedIn(user, secret, method))


def begun_by() -> User | None:
    """Return the active user who has begun to sign in, with the password that is still the current one."""
    secret, _, fingerprint = session.get(BEGUN, "").partition(".")
    user = recorded.begun_by(secret, key=_key(), now=utcnow()) if secret else None
    if user is None or not user.is_active or not hmac.compare_digest(fingerprint, _fingerprint(user)):
        return None
    return user


def begun() -> str:
    """Return the secret of the sign-in that was begun."""
    secret: str = session[BEGUN].partition(".")[0]
    return secret


def challenge() -> bytes:
    """Return the challenge for a passkey that completes the sign-in that was begun, and no other one."""
    return hmac.digest(_key(), f"passkey for {session[BEGUN]}".encode(), "sha256")


def binding() -> str:
    """Return a text that belongs to this session alone, and cannot be guessed without its cookie."""
    return cast(SignedIn, current_user).secret


@contextmanager
def restarting() -> Iterator[None]:
    """Make a change that ends all sessions of the user, and then replace the request's session with a new one.

    It remains the same sign-in, which ends at the identity provider, too. A change that is refused replaces nothing.
    """
    replaced = cast(SignedIn, current_user)
    id_token = recorded.id_token(replaced.secret, key=_key())
    yield
    start(replaced.user, replaced.method, id_token=id_token)


def sign_out(*, by: audit.Author) -> str | None:
    """End the session, also for copies of its cookie, and return the ID token of the sign-in if there is one."""
    id_token = None
    if current_user.is_authenticated:
        ended = cast(SignedIn, current_user)
        id_token = recorded.end(ended.secret, ended.user, key=_key(), by=by)
    logout_user()
    session.clear()
    return id_token


def note_access() -> None:
    """Have the response announce that it depends on the session cookie, as if the session had been read."""
    session.accessed = True


def signed_in_user() -> User | None:
    """Return the active user of the request's session.

    A session that began with the header of a proxy is of use only in requests with the same header.
    """
    if not current_user.is_authenticated or not current_user.is_active:
        return None
    found = cast(SignedIn, current_user)
    if found.method is SignInMethod.PROXY and proxy_user().lower() != found.user.username_key:
        return None
    return found.user


def proxy_user() -> str:
    """Return the name of the user whom a trusted proxy has authenticated; empty if there is none."""
    name: str = request.environ.get(PROXY_USER, "")
    return name


def is_by_proxy() -> bool:
    """Return whether the request's session began with the header of a proxy."""
    return current_user.is_authenticated and cast(SignedIn, current_user).method is SignInMethod.PROXY


def is_by_password() -> bool:
    """Return whether the request's session began with a password."""
    return current_user.is_authenticated and cast(SignedIn, current_user).method is SignInMethod.PASSWORD


def lacks_second_factor() -> bool:
    """Return whether the user of the request's session has to set up a second factor before anything else."""
    return signed_in_user() is not None and cast(SignedIn, current_user).lacks_second_factor


def _load(identifier: str) -> SignedIn | None:
    secret, _, fingerprint = identifier.partition(".")
    found = recorded.find(secret, key=_key(), now=utcnow())
    if found is None or not found.user.is_active or not hmac.compare_digest(fingerprint, _fingerprint(found.user)):
        return None
    return SignedIn(found.user, secret, found.method, lacks_second_factor=found.lacks_second_factor)


def _fingerprint(user: User) -> str:
    return hmac.new(_key(), (user.password_hash or "").encode(), sha256).hexdigest()[:32]


def _key() -> bytes:
    key: bytes = current_app.config["TOKEN_KEY"]
    return key
