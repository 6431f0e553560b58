"""Why the token in a request does not count, and what its holder can do."""

from __future__ import annotations

from registry.blueprints.auth import sent
from registry.blueprints.auth.credentials import JOB_USERNAME, token_key
from registry.database import utcnow
from registry.domain.accounts import deploy_tokens, jobs
from registry.domain.oidc import exchanged_tokens, identities
from registry.errors import Unauthenticated
from registry.models import DeployToken, ExchangedToken, Job, ReadingToken


def explained(error: Unauthenticated) -> Unauthenticated:
    """Return a refusal with the reason why the token in the request does not count, as far as it is known.

    Only the holder of a token gets to know about it.
    """
    for secret in dict.fromkeys(filter(None, sent.secrets())):
        token, job = deploy_tokens.find(secret, token_key()), jobs.find(secret, token_key())
        published = exchanged_tokens.find(secret, token_key())
        if token is not None:
            return error.explained(*_inactive(token))
        if job is not None:
            return error.explained(*_unused(job))
        if published is not None:
            return error.explained(*_spent(published))
    if not sent.has_credentials():
        return error
    return error.explained("Credential unknown", f"{_unknown()} {error.advice}")


def _unknown() -> str:
    if not any(sent.secrets()):
        return "The password is empty or cannot be read. It has to be the token."
    if sent.basic()[0] == JOB_USERNAME:
        return (
            "The password is not a token of this registry. The CI_JOB_TOKEN of a GitLab server is valid only there: "
            "its jobs need a deploy token, or an identity token (Help > GitLab CI/CD)."
        )
    return "The password is not a token of this registry, or the token was deleted."


def _inactive(token: DeployToken) -> tuple[str, str]:
    another = "A Maintainer can create a new one under Settings > Repository."
    if token.revoked_at is not None:
        return "Token revoked", f"The deploy token {token.username} was revoked. {another}"
    if token.expires_at is not None and token.is_expired(utcnow()):
        return "Token expired", f"The deploy token {token.username} expired on {token.expires_at.date()}. {another}"
    return "Credential misplaced", "Send the deploy token as the password of Basic authentication."


def _unused(job: Job) -> tuple[str, str]:
    if not job.is_running(utcnow()):
        return "Job ended", "The CI job of this token has ended, and its token with it. Use the token of a running job."
    return "User name wrong", f"Send the CI job token as the password, with the user name {JOB_USERNAME}."


def _spent(token: ExchangedToken) -> tuple[str, str]:
    if token.revoked_at is not None:
        return "Token revoked", "The token of the CI job was revoked. Exchange a new identity token."
    if not token.is_active(utcnow()):
        return "Token expired", "The token of the CI job has expired. Exchange a new identity token."
    if not identities.accepts_issuer(token.issuer):
        return (
            "Issuer not accepted",
            f"The CI job has an identity token of {token.issuer}, an issuer that administrators do not list.",
        )
    if sent.basic()[0] == JOB_USERNAME:
        return "User name wrong", "Send the token of the CI job as the password, with the user name __token__."
    if isinstance(token, ReadingToken):
        return "Credential misplaced", "Tokens of trusted readers can only install. Send another token."
    return "Credential misplaced", "Tokens of trusted publishers can only publish. Send another token to read."
