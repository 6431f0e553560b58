"""Starting, finding, and finishing CI jobs, and their tokens."""

from __future__ import annotations

import hmac
import secrets
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import joinedload

from registry.database import db, lock, transaction
from registry.domain import access, audit
from registry.domain.access import Principal
from registry.domain.accounts.secrets import digest
from registry.domain.paging import Listing
from registry.errors import BadRequest, Code, Fault, Forbidden, InvalidRecord, NotFound
from registry.models import Job, JobStatus, Namespace, Project, Role, User

JOB_TOKEN_PREFIX = "glcbt-"
LONGEST_JOB = timedelta(days=30)


def start_job(
    project: Project, user: User, *, name: str, ref: str, lifetime: timedelta, key: bytes, by: audit.Author,
    now: datetime,
) -> tuple[Job, str]:  # fmt: skip
    """Start a job of a project, and return it with the secret of its token, which acts for the user while the job runs.

    Takes no lock: the database refuses a job of a project or user that was deleted.

    :raises InvalidRecord: the name or ref is empty or too long.
    :raises BadRequest: the lifetime is not between one second and 30 days.
    """
    errors = {
        field: [Fault(Code.INVALID_JOB_TEXT)]
        for field, value in (("name", name), ("ref", ref))
        if not value.strip() or len(value) > 255 or "\x00" in value
    }
    if errors:
        raise InvalidRecord(errors)
    if not timedelta(seconds=1) <= lifetime <= LONGEST_JOB:
        raise BadRequest(Code.JOB_LIFETIME_OUT_OF_RANGE, longest=int(LONGEST_JOB.total_seconds()))
    secret = JOB_TOKEN_PREFIX + secrets.token_urlsafe(32)
    job = Job(
        project_id=project.id, project=project, user_id=user.id, user=user, name=name, ref=ref,
        digest=digest(secret, key), created_at=now, expires_at=now + lifetime, status=JobStatus.RUNNING,
    )  # fmt: skip
    with transaction(changes_answers=False) as session:  # no client has used the token yet
        session.add(job)
        session.flush()
        audit.record(by, "job_started", name, project, job_id=job.id, ref=ref)
    return job, secret


def find_running_job(secret: str, key: bytes, now: datetime) -> Job | None:
    """Return the running job with this token, with its user."""
    job = find(secret, key)
    return job if job is not None and job.is_running(now) else None


def find(secret: str, key: bytes) -> Job | None:
    """Return the job with this token, with its user, even if it has ended."""
    if not secret.startswith(JOB_TOKEN_PREFIX):
        return None
    found = digest(secret, key)
    job = db.session.scalar(
        select(Job).options(joinedload(Job.user), joinedload(Job.project)).where(Job.digest == found)
    )
    return job if job is not None and hmac.compare_digest(job.digest, found) else None


def job(project: Project, job_id: int) -> Job:
    """Return a job of a project.

    :raises NotFound: the project has no job with this ID.
    """
    found = db.session.get(Job, job_id, options=[joinedload(Job.user), joinedload(Job.project)])
    if found is None or found.project_id != project.id:
        raise NotFound("Job")
    return found


def running_jobs(project: Project, now: datetime) -> Listing[Job]:
    """Return the running jobs of a project with their users, newest first."""
    return (
        select(Job)
        .options(joinedload(Job.user))
        .where(Job.project_id == project.id, Job.status == JobStatus.RUNNING, Job.expires_at > now)
        .order_by(Job.id.desc())
    )


def finish_job(job: Job, status: JobStatus, *, by: Principal, now: datetime) -> None:
    """Finish a job, whose row is locked; its token expires immediately.

    :raises Forbidden: the caller is not the job itself, its user, or a Maintainer of its project.
    :raises BadRequest: the job has already finished, or the status is ``running``.
    """
    with transaction() as session:
        lock(job, "status", "finished_at")
        if not _may_finish(by, job):
            raise Forbidden
        if status is JobStatus.RUNNING:
            raise BadRequest(Code.NO_END_OF_A_JOB)
        if job.status is not JobStatus.RUNNING:
            raise BadRequest(Code.JOB_ENDED, status=job.status)
        job.status, job.finished_at = status, now
        audit.record(
            by, "job_finished", job.name, session.get_one(Namespace, job.project_id), job_id=job.id, status=status
        )


def _may_finish(by: Principal, job: Job) -> bool:
    if by.job is not None:
        return by.job.id == job.id
    return by.user_id == job.user_id or access.role_in(by, job.project) >= Role.MAINTAINER
