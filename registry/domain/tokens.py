"""Tokens issued, identified, rotated, revoked: personal access tokens, deploy tokens, CI job tokens.

A secret is shown once, when it is issued; kept is only its HMAC-SHA-256 under the installation's key.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256

from sqlalchemy import and_, bindparam, not_, or_, select, update
from sqlalchemy.orm import joinedload
from sqlalchemy.orm.attributes import set_committed_value

from registry.database import contains, db, lock, transaction
from registry.domain import access, audit
from registry.domain.access import DeployScope, Principal, Scope
from registry.domain.paging import Listing
from registry.errors import (
    BadRequest,
    Forbidden,
    InvalidRecord,
    NotFound,
    PlainRefusal,
    RecordNotFound,
    Unauthenticated,
)
from registry.models import (
    AccessToken,
    DeployToken,
    InstanceSettings,
    Job,
    JobStatus,
    Namespace,
    Project,
    Role,
    User,
)

DEPLOY_TOKEN_PREFIX = "gldt-"
JOB_TOKEN_PREFIX = "glcbt-"
LAST_USED_PRECISION = timedelta(minutes=10)
LONGEST_JOB = timedelta(days=30)
_DEPLOY_USERNAME = re.compile(r"[A-Za-z0-9_+.-]{1,255}", re.ASCII)


def digest(secret: str, key: bytes) -> str:
    """What is stored of a secret: its HMAC under the installation's key, in hex."""
    return hmac.new(key, secret.encode("utf-8", "surrogatepass"), sha256).hexdigest()


# Personal access tokens -----------------------------------------------------------------------------------------


def issue_access_token(
    user: User,
    *,
    name: str,
    scopes: Iterable[str],
    key: bytes,
    by: audit.Author,
    now: datetime,
    expires_on: date | None = None,
    description: str = "",
    secret: str | None = None,
) -> tuple[AccessToken, str]:
    """A new token and its secret.

    :param expires_on: dead from 00:00 UTC of that day; default: as far ahead as the instance allows.
    :param secret: given only for the first administrator's token; otherwise generated.
    :raises InvalidRecord: name, scopes, description or expiry break a rule.
    """
    settings = InstanceSettings.current()
    scopes = list(dict.fromkeys(scopes))
    _refuse_invalid_access_token(name, scopes, description)
    token = AccessToken(
        user_id=user.id, user=user, name=name, description=description, scopes=scopes, created_at=now,
        expires_on=_checked_expiry(expires_on, settings, now),
    )  # fmt: skip
    secret = secret or settings.personal_access_token_prefix + secrets.token_urlsafe(32)
    token.digest = digest(secret, key)
    with transaction() as session:
        session.add(token)
        session.flush()
        token.family_id = token.id
        audit.record(by, "access_token_issued", f"{user.username}: {name}", token_id=token.id, scopes=scopes)
    return token, secret


@dataclass(frozen=True)
class Wanted:
    """What a list of access tokens is narrowed to, and its order; ``None`` leaves a quality open."""

    user_id: int | None = None
    is_active: bool | None = None
    is_revoked: bool | None = None
    search: str = ""
    created_after: datetime | None = None
    created_before: datetime | None = None
    last_used_after: datetime | None = None
    last_used_before: datetime | None = None
    expires_after: date | None = None
    expires_before: date | None = None
    order_by: str = "id"
    descending: bool = False


def access_tokens(wanted: Wanted, *, by: Principal, now: datetime) -> Listing:
    """An administrator's view of all tokens, or one's own.

    :raises Unauthenticated: somebody else's are asked for (GitLab, personal access tokens API).
    """
    if not by.is_admin and wanted.user_id not in (None, by.user_id):
        raise Unauthenticated
    listing = select(AccessToken)
    user_id = wanted.user_id if by.is_admin else by.user_id
    if user_id is not None:
        listing = listing.where(AccessToken.user_id == user_id)
    if wanted.is_active is not None:
        today = now.astimezone(UTC).date()
        unexpired = or_(AccessToken.expires_on.is_(None), AccessToken.expires_on > today)
        is_active = and_(AccessToken.revoked_at.is_(None), unexpired)
        listing = listing.where(is_active if wanted.is_active else not_(is_active))
    if wanted.is_revoked is not None:
        is_revoked = AccessToken.revoked_at.is_not(None)
        listing = listing.where(is_revoked if wanted.is_revoked else not_(is_revoked))
    if wanted.search:
        listing = listing.where(contains(AccessToken.name, wanted.search))
    for column, earliest, latest in (
        (AccessToken.created_at, wanted.created_after, wanted.created_before),
        (AccessToken.last_used_at, wanted.last_used_after, wanted.last_used_before),
        (AccessToken.expires_on, wanted.expires_after, wanted.expires_before),
    ):
        if earliest is not None:
            listing = listing.where(column >= earliest)
        if latest is not None:
            listing = listing.where(column <= latest)
    keys = (getattr(AccessToken, wanted.order_by), AccessToken.id)
    return listing.order_by(*(key.desc() for key in keys) if wanted.descending else keys)


def access_token(token_id: int, *, by: Principal) -> AccessToken:
    """:raises Unauthenticated: not one of the caller's own, or none at all: which, is not the caller's to know.

    :raises NotFound: an administrator asks, and there is none.
    """
    token = db.session.get(AccessToken, token_id, options=[joinedload(AccessToken.user)])
    if by.is_admin and token is None:
        raise NotFound
    if token is None or not (by.is_admin or token.user_id == by.user_id):
        raise Unauthenticated
    return token


def own_access_token(user: User, token_id: int) -> AccessToken:
    """:raises RecordNotFound: the user has no such token."""
    token = db.session.get(AccessToken, token_id, options=[joinedload(AccessToken.user)])
    if token is None or token.user_id != user.id:
        raise RecordNotFound
    return token


def latest_expiry(now: datetime) -> date | None:
    """The last day that may be chosen for a new access token; ``None`` where the instance asks for none."""
    settings = InstanceSettings.current()
    if not settings.require_personal_access_token_expiry:
        return None
    return (now + timedelta(days=settings.max_personal_access_token_lifetime)).date()


# Made once: to make a statement takes as long as to run it, and most requests ask this.
_ACCESS_TOKEN = (
    select(AccessToken).options(joinedload(AccessToken.user)).where(AccessToken.digest == bindparam("digest"))
)


def find_access_token(secret: str, key: bytes) -> AccessToken | None:
    """The token with this secret and its user, whatever its state; ``None`` when no such token was ever issued."""
    found = digest(secret, key)
    token = db.session.scalar(_ACCESS_TOKEN, {"digest": found})
    return token if token is not None and hmac.compare_digest(token.digest, found) else None


def rotate_access_token(
    token: AccessToken, *, key: bytes, by: audit.Author, now: datetime, expires_on: date | None = None
) -> tuple[AccessToken, str]:
    """A new token in place of this one, which dies at once.

    Rotating a token that was rotated or revoked before revokes its whole family: somebody may hold a stolen one.

    :param expires_on: default one week ahead, or as far as the instance allows.
    :raises Unauthenticated: the token was revoked, or has expired.
    """
    with transaction():
        lock(token, "revoked_at", "expires_on")
        if token.is_active(now):
            token.revoked_at = now
            rotated, secret = issue_access_token(
                token.user, name=token.name, scopes=token.scopes, description=token.description, key=key, by=by,
                now=now, expires_on=expires_on or _week_ahead(now),
            )  # fmt: skip
            rotated.family_id = token.family_id
            return rotated, secret
        if token.revoked_at is not None:
            revoke_family(token, by=by, now=now)
    raise Unauthenticated


def revoke_family(token: AccessToken, *, by: audit.Author, now: datetime) -> None:
    """Revoke every token that came out of the same first one by rotation."""
    with transaction() as session:
        session.execute(
            update(AccessToken)
            .where(AccessToken.family_id == token.family_id, AccessToken.revoked_at.is_(None))
            .values(revoked_at=now)
        )
        audit.record(by, "access_token_family_revoked", f"{token.user.username}: {token.name}", token_id=token.id)


def revoke_access_token(token: AccessToken, *, by: audit.Author, now: datetime) -> None:
    """Dead from the next request on; revoking twice changes nothing."""
    with transaction():
        if token.revoked_at is None:
            token.revoked_at = now
            audit.record(by, "access_token_revoked", f"{token.user.username}: {token.name}", token_id=token.id)


def _week_ahead(now: datetime) -> date:
    return (now + timedelta(days=min(7, InstanceSettings.current().max_personal_access_token_lifetime))).date()


def _refuse_invalid_access_token(name: str, scopes: list[str], description: str) -> None:
    errors: dict[str, list[str]] = {}
    if not name.strip():
        errors["name"] = ["can't be blank"]
    elif len(name) > 255 or "\x00" in name:
        errors["name"] = ["is too long (maximum is 255 characters)"]
    if len(description) > 255 or "\x00" in description:
        errors["description"] = ["is too long (maximum is 255 characters)"]
    if not scopes:
        errors["scopes"] = ["can't be blank"]
    elif set(scopes) - set(Scope):
        errors["scopes"] = ["can only contain available scopes"]
    if errors:
        raise InvalidRecord(errors)


def _checked_expiry(expires_on: date | None, settings: InstanceSettings, now: datetime) -> date | None:
    latest = (now + timedelta(days=settings.max_personal_access_token_lifetime)).date()
    if expires_on is None:
        return latest if settings.require_personal_access_token_expiry else None
    if expires_on > latest and settings.require_personal_access_token_expiry:
        raise InvalidRecord({"expires_at": [f"must be before {latest + timedelta(days=1)}"]})
    return expires_on


# Deploy tokens --------------------------------------------------------------------------------------------------


def issue_deploy_token(
    namespace: Namespace,
    *,
    name: str,
    scopes: Iterable[str],
    key: bytes,
    by: audit.Author,
    username: str | None = None,
    expires_at: datetime | None = None,
) -> tuple[DeployToken, str]:
    """A new token of a project, or of a group and everything below it, and its secret.

    :raises PlainRefusal: no scope.
    :raises InvalidRecord: name, scopes or user name break a rule.
    """
    scopes = list(dict.fromkeys(scopes))
    if not scopes:
        raise PlainRefusal("Scopes can't be blank")
    errors: dict[str, list[str]] = {}
    if not name.strip():
        errors["name"] = ["can't be blank"]
    elif len(name) > 255 or "\x00" in name:
        errors["name"] = ["is too long (maximum is 255 characters)"]
    if set(scopes) - set(DeployScope):
        errors["scopes"] = ["can only contain available scopes"]
    if username and not _DEPLOY_USERNAME.fullmatch(username):
        errors["username"] = ["can contain only letters, digits, '_', '-', '+', and '.'"]
    if errors:
        raise InvalidRecord(errors)
    secret = DEPLOY_TOKEN_PREFIX + secrets.token_urlsafe(32)
    token = DeployToken(
        namespace_id=namespace.id, name=name, username=username or "", scopes=scopes, expires_at=expires_at,
        digest=digest(secret, key), creator_id=by.user_id,
    )  # fmt: skip
    with transaction() as session:
        session.add(token)
        session.flush()
        token.username = token.username or f"gitlab+deploy-token-{token.id}"
        audit.record(by, "deploy_token_created", name, namespace, token_id=token.id, scopes=scopes)
    return token, secret


def deploy_tokens(namespace: Namespace | None, *, is_active: bool, now: datetime) -> Listing:
    """The deploy tokens of a namespace, or of the whole instance.

    :param is_active: only those that are neither revoked nor expired.
    """
    listing = select(DeployToken).order_by(DeployToken.id)
    if namespace is not None:
        listing = listing.where(DeployToken.namespace_id == namespace.id)
    if is_active:
        unexpired = or_(DeployToken.expires_at.is_(None), DeployToken.expires_at > now)
        listing = listing.where(DeployToken.revoked.is_(False), unexpired)
    return listing


def deploy_token(namespace: Namespace, token_id: int) -> DeployToken:
    """:raises RecordNotFound: this namespace has no such token."""
    token = db.session.get(DeployToken, token_id)
    if token is None or token.namespace_id != namespace.id:
        raise RecordNotFound
    return token


def find_deploy_token(secret: str, key: bytes, now: datetime) -> DeployToken | None:
    """The active token with this secret; a revoked or expired one is as good as none."""
    if not secret.startswith(DEPLOY_TOKEN_PREFIX):
        return None
    found = digest(secret, key)
    token = db.session.scalar(select(DeployToken).where(DeployToken.digest == found))
    return token if token is not None and hmac.compare_digest(token.digest, found) and token.is_active(now) else None


def revoke_deploy_token(token: DeployToken, namespace: Namespace, *, by: audit.Author) -> None:
    """The row stays and shows as revoked."""
    with transaction():
        token.revoked = True
        audit.record(by, "deploy_token_revoked", token.name, namespace, token_id=token.id)


def destroy_deploy_token(token: DeployToken, namespace: Namespace, *, by: audit.Author) -> None:
    with transaction() as session:
        audit.record(by, "deploy_token_destroyed", token.name, namespace, token_id=token.id)
        session.delete(token)


# CI jobs --------------------------------------------------------------------------------------------------------


def start_job(
    project: Project, user: User, *, name: str, ref: str, lifetime: timedelta, key: bytes, by: audit.Author,
    now: datetime,
) -> tuple[Job, str]:  # fmt: skip
    """A running job of a project and the secret of its token, which acts for the user while the job runs.

    :raises InvalidRecord: name or ref is empty or too long.
    :raises BadRequest: the lifetime is not between a second and 30 days.
    """
    errors = {
        field: ["must have 1 to 255 characters"]
        for field, value in (("name", name), ("ref", ref))
        if not value.strip() or len(value) > 255 or "\x00" in value
    }
    if errors:
        raise InvalidRecord(errors)
    if not timedelta(seconds=1) <= lifetime <= LONGEST_JOB:
        raise BadRequest(f"expires_in must be between 1 and {int(LONGEST_JOB.total_seconds())} seconds")
    secret = JOB_TOKEN_PREFIX + secrets.token_urlsafe(32)
    job = Job(
        project_id=project.id, project=project, user_id=user.id, user=user, name=name, ref=ref,
        digest=digest(secret, key), created_at=now, expires_at=now + lifetime, status=JobStatus.RUNNING,
    )  # fmt: skip
    with transaction() as session:
        session.add(job)
        session.flush()
        audit.record(by, "job_started", name, project, job_id=job.id, ref=ref)
    return job, secret


def find_running_job(secret: str, key: bytes, now: datetime) -> Job | None:
    """The job with this token and its user, while it runs."""
    if not secret.startswith(JOB_TOKEN_PREFIX):
        return None
    found = digest(secret, key)
    job = db.session.scalar(
        select(Job).options(joinedload(Job.user), joinedload(Job.project)).where(Job.digest == found)
    )
    return job if job is not None and hmac.compare_digest(job.digest, found) and job.is_running(now) else None


def job(project: Project, job_id: int) -> Job:
    """:raises NotFound: this project has no such job."""
    found = db.session.get(Job, job_id, options=[joinedload(Job.user), joinedload(Job.project)])
    if found is None or found.project_id != project.id:
        raise NotFound("Job")
    return found


def running_jobs(project: Project, now: datetime) -> Listing:
    """The jobs of a project whose tokens are alive, with their users, the newest first."""
    return (
        select(Job)
        .options(joinedload(Job.user))
        .where(Job.project_id == project.id, Job.status == JobStatus.RUNNING, Job.expires_at > now)
        .order_by(Job.id.desc())
    )


def finish_job(job: Job, status: JobStatus, *, by: Principal, now: datetime) -> None:
    """End a job; its token is dead at once.

    :raises Forbidden: it is not the job itself that asks, nor its user, nor a Maintainer of its project.
    :raises BadRequest: it has ended already, or ``running`` is no end.
    """
    with transaction() as session:
        lock(job, "status", "finished_at")
        if not _may_finish(by, job):
            raise Forbidden
        if status is JobStatus.RUNNING:
            raise BadRequest("status must be success, failed or canceled")
        if job.status is not JobStatus.RUNNING:
            raise BadRequest(f"the job has ended already, as {job.status}")
        job.status, job.finished_at = status, now
        audit.record(
            by, "job_finished", job.name, session.get_one(Namespace, job.project_id), job_id=job.id, status=status
        )


def _may_finish(by: Principal, job: Job) -> bool:
    if by.job is not None:
        return by.job.id == job.id
    return by.user_id == job.user_id or access.role_in(by, job.project) >= Role.MAINTAINER


# Last use -------------------------------------------------------------------------------------------------------


def note_use(token: AccessToken | DeployToken, now: datetime) -> None:
    """Keep ``last_used_at`` to ten minutes: a hot token costs no write a request."""
    if token.last_used_at is not None and now - token.last_used_at < LAST_USED_PRECISION:
        return
    kind = type(token)
    with transaction(changes_answers=False) as session:
        session.execute(
            update(kind)
            .where(kind.id == token.id, or_(kind.last_used_at.is_(None), kind.last_used_at < now - LAST_USED_PRECISION))
            .values(last_used_at=now),
            execution_options={"synchronize_session": False},
        )
    set_committed_value(token, "last_used_at", now)


def starts_at(day: date) -> datetime:
    """00:00 UTC of a day, when what expires on it dies."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
