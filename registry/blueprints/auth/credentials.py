"""Authentication: determines the principal of a request, in GitLab's order of credentials; the first match wins.

The order on PyPI routes (GitLab, PyPI API "Authenticate") is deploy token, job token as bearer, access token, job
token as Basic password of ``gitlab-ci-token``, session, anonymous; tokens for identity tokens come after deploy tokens.
An unknown Basic password is treated as anonymous, but an unknown ``PRIVATE-TOKEN`` or bearer token is refused, even for
public projects.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from flask import current_app, g, request
from flask_wtf.csrf import validate_csrf
from sqlalchemy.exc import OperationalError
from wtforms.validators import ValidationError

from registry import credential_names, database
from registry.blueprints.auth import sent, sessions
from registry.database import utcnow
from registry.domain import access, namespaces
from registry.domain.access import Principal, PrincipalKind, Scope
from registry.domain.accounts import access_tokens, deploy_tokens, feed_tokens, jobs, secrets, users
from registry.domain.oidc import exchanged_tokens
from registry.errors import (
    Code,
    DiskFull,
    ExpiredToken,
    Forbidden,
    NotFound,
    RevokedToken,
    Unauthenticated,
)
from registry.models import (
    AccessToken,
    DeployToken,
    Namespace,
    PublishingToken,
    ReadingToken,
    User,
)

JOB_USERNAME = "gitlab-ci-token"
logger = logging.getLogger(__name__)


def token_key() -> bytes:
    """Return the installation's key for the digests of tokens."""
    key: bytes = current_app.config["TOKEN_KEY"]
    return key


def pypi_principal() -> Principal:
    """Return the principal of a request to a PyPI route.

    :raises Unauthenticated: the token is unknown.
    :raises InvalidToken: the access token has expired or was revoked.
    :raises InactiveUser: the token's user is blocked.
    """
    return (
        _deploy_token_principal()
        or _exchanged_token_principal()
        or _bearer_job_principal()
        or _access_token_principal(sent.access_token())
        or _basic_principal()
        or _session_principal()
        or _anonymous()
    )


def find_namespace(reference: str, kind: type[Namespace]) -> Namespace:
    """Return the namespace with this ID or path, for a gate that authenticates after it.

    If the request can have an access token, the token and the role of its user are read with the namespace.

    :raises NotFound: there is none of this kind.
    """
    secret = sent.access_token() or sent.basic()[1]
    if not secret:
        return namespaces.find(reference, kind)
    found = access_tokens.find_in_namespace(reference, kind, secret, key=token_key(), now=utcnow())
    g.token_in_namespace = secret, found
    return found.namespace


def rest_principal() -> Principal:
    """Return the principal of a request to a REST route without job tokens; raises the errors of ``pypi_principal``."""
    principal = _access_token_principal(_rest_access_token()) or _session_principal() or _anonymous()
    return _sudo(principal)


def rest_or_job_principal() -> Principal:
    """Return the same for routes with job tokens (``JOB-TOKEN`` header, ``job_token`` parameter, or bearer)."""
    secret = sent.job_token() or sent.form_parameter(credential_names.JOB_TOKEN_PARAMETER)
    if secret:
        return _job_principal(secret)
    return _bearer_job_principal() or rest_principal()


def rotating_principal() -> Principal:
    """Return the principal that rotates an access token. Reuse of a revoked token revokes its whole family.

    GitLab, personal access tokens API, "Automatic reuse detection". Raises the errors of ``pypi_principal``.
    """
    secret = _rest_access_token()
    token = access_tokens.find_access_token(secret, token_key()) if secret else None
    if token is not None and token.revoked_at is not None:
        access_tokens.revoke_family(token, by=_of_user(PrincipalKind.ACCESS_TOKEN, token.user), now=utcnow())
    return rest_principal()


def session_principal() -> Principal:
    """Return the principal of a page: the signed-in user, or anonymous."""
    user = sessions.signed_in_user()
    return _anonymous() if user is None else _of_user(PrincipalKind.SESSION, user)


def complete_session_principal() -> Principal:
    """Return the principal of feeds and badges in a session: anonymous while a required second factor is missing.

    Pages instead have the user set it up. The responses must not be kept: they can depend on the header of a proxy.
    """
    return _anonymous() if sessions.lacks_second_factor() else session_principal()


def feed_principal() -> Principal:
    """Return the principal of a feed: the user of the feed token, or else that of the session, or anonymous.

    :raises Unauthenticated: the feed token is unknown.
    """
    token = request.args.get(credential_names.FEED_TOKEN_PARAMETER)
    if token is None:
        return complete_session_principal()
    user = feed_tokens.user_of(token, token_key())
    if user is None:
        raise Unauthenticated
    return _of_user(PrincipalKind.SESSION, user)


def anonymous_principal() -> Principal:
    """Return the anonymous caller, whatever credentials are sent."""
    return _anonymous()


def current_principal() -> Principal:
    """Return the principal that the gate determined for this request."""
    principal: Principal = g.principal
    return principal


def _deploy_token_principal() -> Principal | None:
    for secret in (sent.basic()[1], sent.deploy_token(), sent.bearer()):
        token = deploy_tokens.find_deploy_token(secret, token_key(), utcnow()) if secret else None
        if token is not None:
            _note_use(token)
            return Principal(PrincipalKind.DEPLOY_TOKEN, deploy_token=token, address=_address())
    return None


def _exchanged_token_principal() -> Principal | None:
    """Return the principal of a token for an identity token.

    Publishing tokens have the prefix of job tokens. These have a user name of their own, and only they can be bearer
    tokens.
    """
    username, secret = sent.basic()
    if not secret and sent.bearer().startswith(exchanged_tokens.PREFIXES[ReadingToken]):
        secret = sent.bearer()
    is_sent = secret and username != JOB_USERNAME
    token = exchanged_tokens.find_active(secret, token_key(), utcnow()) if is_sent else None
    if isinstance(token, ReadingToken):
        return Principal(PrincipalKind.TRUSTED_READER, reading_token=token, address=_address())
    if isinstance(token, PublishingToken):
        return Principal(PrincipalKind.TRUSTED_PUBLISHER, publishing_token=token, address=_address())
    return None


def _bearer_job_principal() -> Principal | None:
    secret = sent.bearer()
    return _job_principal(secret) if secret.startswith(jobs.JOB_TOKEN_PREFIX) else None


def _job_principal(secret: str) -> Principal:
    job = jobs.find_running_job(secret, token_key(), utcnow())
    if job is None:
        raise Unauthenticated
    users.refuse_inactive(job.user)
    return Principal(PrincipalKind.JOB, user=job.user, job=job, address=_address())


def _rest_access_token() -> str:
    return sent.access_token() or sent.form_parameter(credential_names.PRIVATE_TOKEN_PARAMETER)


def _access_token_principal(secret: str) -> Principal | None:
    """Return the principal of an access token; ``None`` for an empty secret.

    :raises Unauthenticated: the token is unknown.
    """
    if not secret:
        return None
    found = _found_token(secret)
    if found is None:
        raise Unauthenticated
    return found


def _basic_principal() -> Principal | None:
    username, password = sent.basic()
    if not password:
        return None
    found = _found_token(password)
    if found is not None:
        return found
    return _job_principal(password) if username == JOB_USERNAME else None


def _found_token(secret: str) -> Principal | None:
    """Return the principal of the access token with this secret; ``None`` if there is none."""
    known, found = g.get("token_in_namespace", ("", None))
    if known != secret:
        token = access_tokens.find_access_token(secret, token_key())
        return None if token is None else _of_access_token(token)
    if found.token is None:
        return None
    principal = _of_access_token(found.token)
    return principal if principal.is_admin else replace(principal, roles={found.namespace.id: found.role})


def _of_access_token(token: AccessToken) -> Principal:
    if token.revoked_at is not None:
        raise RevokedToken
    if token.expires_on is not None and token.is_expired(utcnow()):
        raise ExpiredToken(token.expires_on)
    users.refuse_inactive(token.user)
    _note_use(token)
    return Principal(PrincipalKind.ACCESS_TOKEN, user=token.user, access_token=token, address=_address())


def _session_principal() -> Principal | None:
    """Return the principal of a session, unless its user has to set up a second factor first.

    A session by the header of a proxy is for pages and feeds only, as kept answers do not depend on that header.

    Changes also require the CSRF token, which other sites cannot know.
    """
    user = sessions.signed_in_user()
    if user is None or sessions.is_by_proxy() or sessions.lacks_second_factor():
        return None
    if request.method not in ("GET", "HEAD", "OPTIONS"):
        try:
            validate_csrf(request.headers.get("X-CSRF-Token"))
        except ValidationError:
            return None
    return _of_user(PrincipalKind.SESSION, user)


def _sudo(principal: Principal) -> Principal:
    """Return the principal after ``sudo``, with which administrators act as another user (GitLab, "Impersonation")."""
    reference = request.headers.get("Sudo") or request.args.get("sudo") or sent.form_parameter("sudo")
    if not reference:
        return principal
    if principal.is_anonymous:
        raise Unauthenticated
    if not principal.is_admin or principal.access_token is None:
        raise Forbidden(Code.SUDO_WITHOUT_ADMIN)
    access.require_scope(principal, (Scope.SUDO,))
    user = users.by_reference(reference)
    if user is None:
        raise NotFound(f"User with ID or username '{reference}'")
    users.refuse_inactive(user)
    return replace(principal, user=user, sudo_by=principal.user, roles={}, reader=None)


def _anonymous() -> Principal:
    return replace(access.ANONYMOUS, address=_address())


def _of_user(kind: PrincipalKind, user: User) -> Principal:
    return Principal(kind, user=user, address=_address())


def _address() -> str:
    return request.remote_addr or ""


def _note_use(token: AccessToken | DeployToken) -> None:
    try:
        secrets.note_use(token, utcnow())
    except (OperationalError, DiskFull) as error:  # reads must work even if writes fail
        logger.warning("The time of the last use of a token could not be noted: %s", database.cause(error))
