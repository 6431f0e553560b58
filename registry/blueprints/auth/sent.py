"""The credentials in a request, as they are sent. Which of them count is decided in ``credentials``."""

from __future__ import annotations

import base64
from collections.abc import Iterator

from flask import g, request

from registry import credential_names

LARGEST_OPEN_FORM_BYTES = 64 << 10  # of callers without an account: a mebibyte can take a second to parse


def has_credentials() -> bool:
    """Return whether the request contains credentials other than a cookie; in a form, those that were looked for."""
    headers = (credential_names.AUTHORIZATION, *credential_names.TOKEN_HEADERS)
    return (
        any(name in request.headers for name in headers)
        or any(name in request.args for name in credential_names.PARAMETERS)
        or "has_credentials_in_form" in g
    )


def secrets() -> Iterator[str]:
    """Yield everything that could be a token; empty for what is not sent."""
    yield from (basic()[1], bearer())
    yield from (request.headers.get(name, "") for name in credential_names.TOKEN_HEADERS)
    yield from (request.args.get(name, "") for name in credential_names.PARAMETERS)


def access_token() -> str:
    """Return the secret that is sent explicitly as an access token, so that it must be valid."""
    return (
        request.headers.get(credential_names.PRIVATE_TOKEN)
        or request.args.get(credential_names.PRIVATE_TOKEN_PARAMETER)
        or bearer()
    )


def form_parameter(name: str) -> str:
    """Return a parameter of a form that is small enough to be read before its sender is known; empty if it is missing.

    GitLab accepts the parameters of tokens in the body of REST requests as well ("Authentication").
    """
    if request.method in ("GET", "HEAD") or (request.content_length or 0) > LARGEST_OPEN_FORM_BYTES:
        return ""
    value = request.form.get(name, "")
    if value and name in credential_names.PARAMETERS:
        g.has_credentials_in_form = True
    return value


def deploy_token() -> str:
    """Return the secret that is sent explicitly as a deploy token."""
    return request.headers.get(credential_names.DEPLOY_TOKEN, "")


def job_token() -> str:
    """Return the secret that is sent explicitly as a job token, other than as a bearer token."""
    return (
        request.headers.get(credential_names.JOB_TOKEN) or request.args.get(credential_names.JOB_TOKEN_PARAMETER) or ""
    )


def basic() -> tuple[str, str]:
    """Return user name and password of Basic authentication (RFC 7617); empty if they are missing or malformed.

    The user name rarely matters, and pip and twine send the name of a token in Latin-1.
    """
    try:
        username, _, password = base64.b64decode(_authorization("basic"), validate=True).partition(b":")
        return username.decode(errors="replace"), password.decode()
    except ValueError:  # not ASCII, base64, or UTF-8
        return "", ""


def bearer() -> str:
    return _authorization("bearer")


def _authorization(scheme: str) -> str:
    """Return the credentials in the ``Authorization`` header if it has this scheme.

    Werkzeug's parser fails on invalid base64, and parses a token that contains ``=`` as a list of parameters.
    """
    sent_scheme, _, rest = request.headers.get(credential_names.AUTHORIZATION, "").partition(" ")
    return rest.strip() if sent_scheme.lower() == scheme else ""
