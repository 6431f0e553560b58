from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

import pytest

from registry.database import db, utcnow
from registry.domain.access import SHELL
from registry.domain.accounts import jobs
from registry.errors import BadRequest, Forbidden, InvalidRecord
from registry.models import Job, JobStatus, Project, Role, User
from tests import factories
from tests.domain.accounts.issuing import NOW, key


def start(project: Project, user: User, **fields: Any) -> tuple[Job, str]:
    given = {"name": "publish", "ref": "main", "lifetime": timedelta(hours=1), "key": key(), "by": SHELL, "now": NOW}
    return jobs.start_job(project, user, **given | fields)


def test_a_jobs_token_is_found_while_the_job_runs(project: Project, developer: User) -> None:
    job, secret = start(project, developer)

    assert re.fullmatch(r"glcbt-[A-Za-z0-9_-]{43}", secret)
    assert jobs.find_running_job(secret, key(), NOW) is job
    assert (job.user, job.project, job.status) == (developer, project, JobStatus.RUNNING)
    assert jobs.find_running_job(secret, key(), NOW + timedelta(minutes=59)) is job
    assert jobs.find_running_job(secret, key(), NOW + timedelta(hours=1)) is None
    assert jobs.find_running_job(secret[:-1], key(), NOW) is None


@pytest.mark.parametrize("status", [JobStatus.SUCCESS, JobStatus.FAILED, JobStatus.CANCELED])
def test_the_token_of_a_finished_job_is_refused_at_once(project: Project, developer: User, status: JobStatus) -> None:
    job, secret = start(project, developer)

    jobs.finish_job(job, status, by=factories.signed_in(developer), now=NOW + timedelta(minutes=1))

    assert jobs.find_running_job(secret, key(), NOW + timedelta(minutes=1)) is None
    assert (job.status, job.finished_at) == (status, NOW + timedelta(minutes=1))


def test_a_job_ends_once(project: Project, developer: User) -> None:
    job, _ = start(project, developer)
    by = factories.signed_in(developer)

    with pytest.raises(BadRequest):
        jobs.finish_job(job, JobStatus.RUNNING, by=by, now=NOW)
    jobs.finish_job(job, JobStatus.SUCCESS, by=by, now=NOW)
    with pytest.raises(BadRequest) as refusal:
        jobs.finish_job(job, JobStatus.FAILED, by=by, now=NOW)

    assert refusal.value.reason == "the job has ended already, as success"
    assert job.status is JobStatus.SUCCESS


def test_a_job_is_ended_by_itself_its_user_and_maintainers(project: Project, developer: User, maintainer: User) -> None:
    job_id = start(project, developer)[0].id
    other = factories.by_job(project, developer)
    colleague = factories.member(project, Role.DEVELOPER)

    for refused in (other, factories.signed_in(colleague)):
        with pytest.raises(Forbidden):
            jobs.finish_job(jobs.job(project, job_id), JobStatus.SUCCESS, by=refused, now=NOW)
    assert jobs.job(project, job_id).status is JobStatus.RUNNING
    for allowed in (factories.signed_in(developer), factories.signed_in(maintainer), SHELL):
        jobs.finish_job(start(project, developer)[0], JobStatus.SUCCESS, by=allowed, now=NOW)
    assert other.job is not None
    jobs.finish_job(other.job, JobStatus.SUCCESS, by=other, now=NOW)
    assert other.job.status is JobStatus.SUCCESS


@pytest.mark.parametrize("field", ["name", "ref"])
@pytest.mark.parametrize("value", ["", " ", "x" * 256, "a\x00b"])
def test_a_job_has_a_name_and_a_ref(project: Project, developer: User, field: str, value: str) -> None:
    with pytest.raises(InvalidRecord) as refusal:
        start(project, developer, **{field: value})

    assert refusal.value.errors == {field: ["must have 1 to 255 characters"]}


@pytest.mark.parametrize("seconds", [-1, 0, 30 * 86400 + 1])
def test_a_job_lasts_between_a_second_and_thirty_days(project: Project, developer: User, seconds: int) -> None:
    with pytest.raises(BadRequest):
        start(project, developer, lifetime=timedelta(seconds=seconds))

    for good in (1, 30 * 86400):
        assert start(project, developer, lifetime=timedelta(seconds=good))[0].expires_at == NOW + timedelta(
            seconds=good
        )


def test_running_jobs_are_those_whose_token_is_alive(project: Project, owner: User) -> None:
    running, _ = factories.job(project, owner)
    finished, _ = factories.job(project, owner)
    factories.job(factories.project(), owner)
    jobs.finish_job(finished, JobStatus.SUCCESS, by=SHELL, now=utcnow())

    def found(now: datetime) -> list[Job]:
        return list(db.session.scalars(jobs.running_jobs(project, now)))

    assert found(utcnow()) == [running]
    assert found(utcnow() + timedelta(hours=2)) == []
