"""Blueprint "oidc": trusted publishing, in the protocol of PyPI, which clients also use with other indexes.

Clients drop the path of the index and ask at the root of its host. They show the list ``errors`` of any refusal, each
with a code and a description.
"""

from __future__ import annotations

from flask import Blueprint, Response, current_app, jsonify, request
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as BaseResponse

from registry.blueprints.auth.credentials import anonymous_principal, token_key
from registry.blueprints.auth.permits import Gate
from registry.blueprints.routing import OIDC
from registry.database import utcnow
from registry.domain.oidc import publishing_tokens
from registry.domain.oidc.claims import read_object
from registry.errors import IdentityTokenRefused, RegistryError

blueprint = Blueprint("oidc", __name__, url_prefix=OIDC)
gate = Gate(anonymous_principal, namespace_first=False)


@blueprint.get("/audience")
@gate.open
def audience() -> Response:
    """Return the audience for which a CI system has to issue identity tokens."""
    return jsonify(audience=current_app.config["OIDC_AUDIENCE"])


@blueprint.post("/mint-token")
@gate.open
def mint_token() -> Response:
    """Return a token to publish, for the identity token of a job that projects trust."""
    token, secret = publishing_tokens.exchange(
        _sent_token(),
        audience=current_app.config["OIDC_AUDIENCE"],
        issuers=current_app.extensions["issuers"],
        key=token_key(),
        address=request.remote_addr or "",
        now=utcnow(),
    )
    response = jsonify(success=True, token=secret, expires=int(token.expires_at.timestamp()))
    response.headers["Cache-Control"] = "no-store"
    return response


@blueprint.post("/burn-token")
@gate.open
def burn_token() -> tuple[str, int]:
    """Revoke a token to publish, if it is one; the response is the same for any other text of less than 1 MB."""
    try:
        publishing_tokens.burn(_sent_token(), token_key(), utcnow())
    except IdentityTokenRefused:
        return "", 202
    return "", 202


def is_asked() -> bool:
    """Return whether the request is for an address of the exchange, even one without a route."""
    return request.path.startswith(f"{OIDC}/")


def refuse(error: RegistryError) -> BaseResponse:
    """Return the response for an error of the registry."""
    body = error.body() if isinstance(error, IdentityTokenRefused) else _listed(error.phrase, error.message)
    response = jsonify(body)
    response.status_code = error.status
    response.headers.update(error.headers())
    return response


def refuse_http(error: HTTPException) -> BaseResponse:
    """Return the response for an error of HTTP, with its headers."""
    response = error.get_response()
    response.data = jsonify(_listed(error.name, f"{error.code} {error.name}")).data
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
