"""Blueprint "oidc": CI jobs exchange the identity tokens of their CI system for tokens of the registry.

To publish, in the protocol of PyPI, which clients also use with other indexes: they drop the path of the index, ask at
the root of its host, and show the list ``errors`` of any refusal, each with a code and a description. To install, by
OAuth 2.0 Token Exchange (RFC 8693), which refuses with ``error`` and ``error_description`` (RFC 6749, section 5.2).
"""

from __future__ import annotations

from contextlib import suppress

from flask import Blueprint, Response, current_app, jsonify, request
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as BaseResponse

from registry.blueprints.auth.credentials import anonymous_principal, token_key
from registry.blueprints.auth.permits import Gate, refuse_large_form
from registry.blueprints.auth.sent import LARGEST_OPEN_FORM_BYTES
from registry.blueprints.routing import OIDC, TOKEN_EXCHANGE
from registry.database import utcnow
from registry.domain.access import DeployScope
from registry.domain.oidc import exchanged_tokens
from registry.domain.oidc.claims import read_object
from registry.domain.oidc.exchanged_tokens import Token
from registry.errors import IdentityTokenRefused, RegistryError, TokenExchangeRefused, TooManyRequests, Unavailable
from registry.models import PublishingToken, ReadingToken

TOKEN_TYPE = "urn:ietf:params:oauth:token-type:"
GRANT_TYPE = "urn:ietf:params:oauth:grant-type:token-exchange"
READING_SCOPE = DeployScope.READ_PACKAGE_REGISTRY

blueprint = Blueprint("oidc", __name__)
gate = Gate(anonymous_principal, namespace_first=False)
blueprint.before_request(refuse_large_form)


@blueprint.get(f"{OIDC}/audience")
@gate.open
def audience() -> Response:
    """Return the audience for which a CI system has to issue identity tokens."""
    return jsonify(audience=current_app.config["OIDC_AUDIENCE"])


@blueprint.post(f"{OIDC}/mint-token")
@gate.open
def mint_token() -> Response:
    """Return a token to publish, for the identity token of a job that projects trust."""
    token, secret = _exchange(_sent_token(), PublishingToken)
    return _unstored(success=True, token=secret, expires=int(token.expires_at.timestamp()))


@blueprint.post(TOKEN_EXCHANGE)
@gate.open
def exchange_token() -> Response:
    """Return a token to install, for the identity token of a job that projects or groups trust (RFC 8693)."""
    token, secret = _exchange(_subject_token(), ReadingToken)
    return _unstored(
        access_token=secret,
        issued_token_type=f"{TOKEN_TYPE}access_token",
        token_type="Bearer",  # noqa: S106 - no secret
        expires_in=int((token.expires_at - token.created_at).total_seconds()),
        scope=READING_SCOPE,
    )


@blueprint.post(f"{OIDC}/burn-token")
@gate.open
def burn_token() -> tuple[str, int]:
    """Revoke a token of a job, if it is one; the response is the same for any other text up to 64 KiB."""
    with suppress(IdentityTokenRefused):
        exchanged_tokens.burn(_sent_token(), token_key(), utcnow())
    return "", 202


def is_asked() -> bool:
    """Return whether the request is for an address of the exchange, even one without a route."""
    return request.path.startswith(f"{OIDC}/") or request.path == TOKEN_EXCHANGE


def refuse(error: RegistryError) -> BaseResponse:
    """Return the response for an error of the registry."""
    if request.path == TOKEN_EXCHANGE:
        response = jsonify(error=_oauth_code(error), error_description=_in_oauth(error.message))
        response.status_code = 400 if isinstance(error, IdentityTokenRefused) else error.status
        response.headers["Cache-Control"] = "no-store"
    else:
        body = error.body() if isinstance(error, IdentityTokenRefused) else _listed(error.phrase, error.message)
        response = jsonify(body)
        response.status_code = error.status
    response.headers.update(error.headers())
    return response


def refuse_http(error: HTTPException) -> BaseResponse:
    """Return the response for an error of HTTP, with its headers."""
    response = error.get_response()
    message = f"{error.code} {error.name}"
    if (request.content_length or 0) > LARGEST_OPEN_FORM_BYTES:
        message += f" - The body can have up to {LARGEST_OPEN_FORM_BYTES >> 10} KiB."
    body = _listed(error.name, message)
    if request.path == TOKEN_EXCHANGE:
        body = {"error": "invalid_request", "error_description": message}
    response.data = jsonify(body).data
    response.content_type = "application/json"
    return response


def _listed(phrase: str, message: str) -> dict[str, object]:
    code = phrase.lower().replace(" ", "-")
    return {"message": message, "errors": [{"code": code, "description": message}]}


def _sent_token() -> str:
    """Return the token in the body.

    :raises IdentityTokenRefused: the body is something else.
    """
    try:
        token = read_object(request.get_data()).get("token")
    except ValueError as error:
        raise IdentityTokenRefused("invalid-payload", "The body is not a JSON object.") from error
    if not isinstance(token, str):
        raise IdentityTokenRefused("invalid-payload", "The body has no text as token.")
    return token


def _subject_token() -> str:
    """Return the identity token in the form of a token exchange, which can ask for a reading token only.

    :raises TokenExchangeRefused: the form asks for something else, or lacks a parameter (RFC 8693, section 2.1).
    """
    sent = {name: values for name in request.form if (values := [each for each in request.form.getlist(name) if each])}
    repeated = next((name for name, values in sent.items() if len(values) > 1), None)
    if repeated is not None:
        raise TokenExchangeRefused("invalid_request", f"The parameter {repeated} is repeated.")
    form = {name: values[0] for name, values in sent.items()}
    _require_one_of(form, "grant_type", "unsupported_grant_type", GRANT_TYPE)
    _require_one_of(form, "subject_token_type", "invalid_request", f"{TOKEN_TYPE}jwt", f"{TOKEN_TYPE}id_token")
    if "subject_token" not in form:
        raise TokenExchangeRefused("invalid_request", "The parameter subject_token is missing.")
    if "actor_token" in form:
        raise TokenExchangeRefused("invalid_request", "The parameter actor_token is not supported.")
    optional = {
        "requested_token_type": ("invalid_request", f"{TOKEN_TYPE}access_token"),
        "scope": ("invalid_scope", READING_SCOPE),
        "audience": ("invalid_target", current_app.config["OIDC_AUDIENCE"]),
    }
    for name, (code, accepted) in optional.items():
        if name in form:
            _require_one_of(form, name, code, accepted)
    if "resource" in form:
        raise TokenExchangeRefused("invalid_target", "The parameter resource is not supported.")
    return form["subject_token"]


def _require_one_of(form: dict[str, str], name: str, code: str, *accepted: str) -> None:
    if form.get(name) not in accepted:
        code = code if name in form else "invalid_request"
        raise TokenExchangeRefused(code, f"The parameter {name} has to be {' or '.join(accepted)}.")


def _exchange(sent: str, kind: type[Token]) -> tuple[Token, str]:
    return exchanged_tokens.exchange(
        sent,
        kind,
        audience=current_app.config["OIDC_AUDIENCE"],
        issuers=current_app.extensions["issuers"],
        key=token_key(),
        address=request.remote_addr or "",
        now=utcnow(),
    )


def _unstored(**body: object) -> Response:
    response = jsonify(body)
    response.headers["Cache-Control"] = "no-store"
    return response


def _oauth_code(error: RegistryError) -> str:
    if isinstance(error, TokenExchangeRefused):
        return error.code
    # This endpoint of OAuth has no code for overload, so that of the authorization endpoint is used.
    return "temporarily_unavailable" if isinstance(error, TooManyRequests | Unavailable) else "invalid_request"


def _in_oauth(text: str) -> str:
    """Return a text without the characters that ``error_description`` cannot have (RFC 6749, section 5.2)."""
    return "".join(each if " " <= each <= "~" else "?" for each in text).replace('"', "'").replace("\\", "/")
