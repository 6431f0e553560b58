"""Blueprint "single_sign_on": sign-in with the account of the identity provider, and linking it to a user.

The secrets of a sign-in are in the session cookie of the browser that has begun it, so that only this browser can
complete it, and only once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import wraps
from typing import Any, cast

from flask import Blueprint, current_app, flash, make_response, redirect, render_template, request, session, url_for
from flask_babel import get_locale, gettext
from werkzeug.wrappers import Response as BaseResponse

from registry.addresses import root_url
from registry.blueprints.auth import sessions
from registry.blueprints.auth.credentials import current_principal
from registry.blueprints.auth.local_addresses import local_address
from registry.blueprints.auth.permits import Gate
from registry.database import utcnow
from registry.domain.accounts import sign_in
from registry.domain.single_sign_on import identities
from registry.domain.single_sign_on.persons import Person
from registry.domain.single_sign_on.provider import Attempt, Provider
from registry.environ_keys import EVENT
from registry.errors import BadRequest, Code, Forbidden, NotFound, RegistryError, TooManyRequests
from registry.metrics import AuthFailure
from registry.models import SignInMethod

logger = logging.getLogger(__name__)
ATTEMPTS = "sign_ins"  # in the session: those that were begun, by state
MOST_ATTEMPTS = 3  # in several tabs; a cookie has 4 KB
ATTEMPT_LIFETIME = timedelta(minutes=10)
LONGEST_NEXT = 500

View = Callable[[], BaseResponse | str]
# Sentences of the pages for refusals, from ``blueprints.ui.wording``.
Worded = Callable[[RegistryError], str]


def provider() -> Provider | None:
    """Return the identity provider, if one is configured."""
    found: Provider | None = current_app.extensions["identity_provider"]
    return found


def required_provider() -> Provider:
    """Return the identity provider.

    :raises NotFound: none is configured.
    """
    known = provider()
    if known is None:
        raise NotFound
    return known


def routes(gate: Gate, worded: Worded) -> Blueprint:
    blueprint = Blueprint("single_sign_on", __name__)

    @blueprint.post("/users/auth/openid_connect")
    @gate.open
    @_explaining(worded)
    def begin() -> BaseResponse | str:
        """Send the browser to the provider."""
        if sessions.signed_in_user() is not None:
            return redirect(local_address(request.form.get("next")), 303)
        return send_to_provider(next_page=request.form.get("next", ""))

    @blueprint.get("/users/auth/openid_connect/callback")
    @gate.open
    @_explaining(worded)
    def callback() -> BaseResponse | str:
        """Sign in the user, or link the account, when the browser comes back from the provider."""
        attempt, begun = _attempt()
        now, address = utcnow(), request.remote_addr or ""
        with sign_in.counting_answers(address, now):
            identities.complete_once(attempt.state, until=now + ATTEMPT_LIFETIME, now=now)
            signed_in = required_provider().person(_code(), attempt, _return_url())
            if begun["user_id"] is not None:
                return _link(signed_in.person, begun["user_id"])
            user = identities.sign_in_person(
                signed_in.person,
                creates_users=current_app.config["OIDC_CREATE_USERS"],
                admin_group=current_app.config["OIDC_ADMIN_GROUP"],
                address=address,
                now=now,
            )
        sessions.start(user, SignInMethod.OPENID_CONNECT, id_token=signed_in.id_token)
        return redirect(local_address(begun["next"]), 303)

    return blueprint


def send_to_provider(*, next_page: str = "", user_id: int | None = None) -> str:
    """Return a page that sends the browser to the provider, where it is asked to sign in.

    The answer is not a redirect: browsers apply the ``form-action`` of the page with the form to each redirect that
    follows, also to those of the provider to other servers.

    :param next_page: the path to return to.
    :param user_id: the user to link, instead of signing in.
    :raises NotFound: there is no provider.
    :raises ProviderAway: it does not answer.
    """
    attempt, locale = Attempt.new(), get_locale()
    url = required_provider().sign_in_url(attempt, _return_url(), "en" if locale is None else locale.language)
    begun = {
        "nonce": attempt.nonce,
        "verifier": attempt.verifier,
        "at": int(utcnow().timestamp()),
        "next": next_page if len(next_page) <= LONGEST_NEXT else "",
        "user_id": user_id,
    }
    earlier = sorted(session.get(ATTEMPTS, {}).items(), key=lambda item: item[1]["at"])
    session[ATTEMPTS] = dict([*earlier[1 - MOST_ATTEMPTS :], (attempt.state, begun)])
    return leaving(url)


def leaving(url: str) -> str:
    """Return a page that leads to a page of the provider."""
    return render_template("auth/leaving.html", url=url, label=current_app.config["OIDC_LABEL"])


def sign_out_url(id_token: str) -> str | None:
    """Return the URL that signs the user out at the provider, too; ``None`` if there is none.

    :param id_token: of the sign-in.
    """
    known = provider()
    return None if known is None else known.sign_out_url(id_token, _absolute("ui.auth.sign_in"))


def _return_url() -> str:
    return _absolute("ui.single_sign_on.callback")


def _absolute(endpoint: str) -> str:
    return f"{root_url(request.environ)}{url_for(endpoint).removeprefix(request.script_root + '/')}"


def _attempt() -> tuple[Attempt, Mapping[str, Any]]:
    """Return the sign-in that the browser has begun, and forget it.

    :raises BadRequest: it has begun none with this state, has completed it, or took too long.
    """
    required_provider()
    state = request.args.get("state", "")
    begun = dict(session.get(ATTEMPTS, {}))
    found = begun.pop(state, None)
    if found is None:
        raise BadRequest(Code.SIGN_IN_UNKNOWN)
    session[ATTEMPTS] = begun
    if utcnow().timestamp() - found["at"] > ATTEMPT_LIFETIME.total_seconds():
        raise BadRequest(Code.SIGN_IN_UNKNOWN)
    return Attempt(state, found["nonce"], found["verifier"]), found


def _code() -> str:
    """Return the code in the redirect of the provider; empty if there is none.

    :raises BadRequest: it comes from another provider.
    :raises Forbidden: the provider or the person has denied the sign-in.
    """
    required_provider().refuse_other_issuer(request.args.get("iss"))
    if "error" in request.args:
        raise Forbidden(Code.SIGN_IN_DENIED, reason=_reason(request.args["error"]))
    return request.args.get("code", "")


def _reason(error: str) -> str:
    """Return the code of an error (RFC 6749, section 4.1.2.1); its description is not shown, as it can be any text."""
    return error if len(error) <= 100 and error.replace("_", "").isalnum() and error.isascii() else "error"


def _link(person: Person, user_id: int) -> BaseResponse:
    """Link the account to the user who has begun it, if the browser still has the user's session."""
    user = sessions.signed_in_user()
    if user is None or user.id != user_id:
        raise BadRequest(Code.SIGN_IN_UNKNOWN)
    with sessions.restarting():
        identities.link(user, person, by=current_principal())
    flash(gettext("Your account is linked. You can sign in with it from now on."))
    return redirect(url_for("ui.identity.show"), 303)


def _explaining(worded: Worded) -> Callable[[View], View]:
    """Show a page with the reason for each refusal, and with the way back to the sign-in page."""

    def decorate(view: View) -> View:
        @wraps(view)
        def explaining() -> BaseResponse | str:
            try:
                return view()
            except (NotFound, TooManyRequests):
                raise
            except RegistryError as error:
                logger.info("Answered %d to a sign-in at the identity provider: %s", error.status, error.sentence)
                if error.auth_failure is not None:
                    request.environ[EVENT] = AuthFailure(error.auth_failure)
                page = render_template(
                    "auth/refused.html", reason=worded(error), label=current_app.config["OIDC_LABEL"]
                )
                response = make_response(page, error.status)
                response.headers.update(error.headers())
                return response

        return cast(View, explaining)

    return decorate
