"""CI jobs, registered by external CI systems to publish and install with their tokens.

``GET /job`` is GitLab's; the other routes are extensions, because the registry does not run pipelines.
"""

from __future__ import annotations

from datetime import timedelta

from flask import Blueprint, Response, jsonify

from registry.blueprints.api import parameters, representations
from registry.blueprints.api.parameters import integer, one_of, optional, required, text
from registry.blueprints.auth.credentials import current_principal, token_key
from registry.blueprints.auth.permits import Gate
from registry.database import utcnow
from registry.domain.access import Permission
from registry.domain.accounts import jobs
from registry.errors import NotFound, Unauthenticated
from registry.models import JobStatus, Project

JOBS = "/projects/<project:project>/jobs"
DEFAULT_LIFETIME_SECONDS = 3600

_NEW = {"name": optional(text), "ref": optional(text), "expires_in": optional(integer)}
_ENDS = {str(status): status for status in (JobStatus.SUCCESS, JobStatus.FAILED, JobStatus.CANCELED)}
_END = {"status": required(one_of(_ENDS))}


def routes(gate: Gate, job_gate: Gate) -> Blueprint:
    """Create the routes.

    :param job_gate: for requests that accept job tokens.
    """
    blueprint = Blueprint("jobs", __name__)

    @blueprint.post(JOBS)
    @gate(Permission.CREATE_JOB)
    def start_job(project: Project) -> tuple[Response, int]:
        """Start a job, and return it with its token, which acts for the caller until the job finishes."""
        sent = parameters.read(_NEW)
        user = current_principal().user
        if user is None:
            raise Unauthenticated
        job, secret = jobs.start_job(
            project,
            user,
            name=sent.get("name", "job"),
            ref=sent.get("ref", "main"),
            lifetime=timedelta(seconds=sent.get("expires_in", DEFAULT_LIFETIME_SECONDS)),
            key=token_key(),
            by=current_principal(),
            now=utcnow(),
        )
        return jsonify(representations.job(job, secret)), 201

    @blueprint.post(f"{JOBS}/<id:job_id>/finish")
    @job_gate(Permission.FINISH_JOB)
    def finish_job(project: Project, job_id: int) -> Response:
        """Finish a job; its token expires immediately."""
        job = jobs.job(project, job_id)
        jobs.finish_job(job, parameters.read(_END)["status"], by=current_principal(), now=utcnow())
        return jsonify(representations.job(job))

    @blueprint.get("/job")
    @job_gate(Permission.READ_JOB)
    def show_own_job() -> Response:
        """Return the job of the token."""
        job = current_principal().job
        if job is None:
            raise NotFound("Job")
        return jsonify(representations.job(job))

    return blueprint
