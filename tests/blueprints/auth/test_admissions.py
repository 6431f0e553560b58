"""Admissions: kept for further pages and files, but never after a change that affects them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import pytest

from registry import create_app
from registry.blueprints.auth import admissions
from registry.database import db, utcnow
from registry.domain import access, namespaces
from registry.domain.access import ANONYMOUS, Principal, PrincipalKind
from registry.domain.accounts import access_tokens, deploy_tokens, jobs, users
from registry.domain.accounts.users import StateChange
from registry.models import DeployToken, Job, JobStatus, ReadingToken, RegistryAccess, Role, Visibility
from tests import factories
from tests.builders import build_wheel

NAMES = ("alpha", "beta", "gamma")


@pytest.fixture
def shelf(project, owner, twine):
    """A project with a package of each name."""
    for name in NAMES:
        assert twine.upload(project, build_wheel(name=name), factories.access_token(owner)).status_code == 201
    return project


@pytest.fixture
def reporter(shelf):
    return factories.member(shelf, Role.REPORTER, "rita")


def callers(project, reporter):
    """A secret of each kind that can read the project, with a function that revokes it."""
    token, secret = factories.access_token(reporter), factories.deploy_token(project)
    job, job_secret = factories.job(project, reporter)
    key = factories.token_key()
    found = access_tokens.find_access_token(token, key)
    deploy = deploy_tokens.find_deploy_token(secret, key, utcnow())
    return {
        "access token": (
            token,
            lambda: access_tokens.revoke_access_token(found, by=access.SHELL, now=utcnow()),
        ),
        "deploy token": (
            secret,
            lambda: deploy_tokens.revoke_deploy_token(deploy, project, by=access.SHELL, now=utcnow()),
        ),
        "job": (
            ("gitlab-ci-token", job_secret),
            lambda: jobs.finish_job(job, JobStatus.SUCCESS, by=access.SHELL, now=utcnow()),
        ),
    }


def test_a_further_page_costs_one_statement(pip, shelf, reporter, statements):
    for credentials, _withdraw in callers(shelf, reporter).values():
        for name in NAMES[:2]:  # the first time, the use of a token is noted
            pip.simple_page(shelf, name, credentials)
        statements.clear()

        assert pip.simple_page(shelf, NAMES[2], credentials).status_code == 200

        assert len(statements) == 1, statements


def test_a_kept_admission_logs_the_same_caller(pip, shelf, reporter, caplog):
    token = factories.access_token(reporter)
    caplog.set_level(logging.INFO, "registry.requests")

    for name in NAMES:
        pip.simple_page(shelf, name, token)

    assert [record.principal for record in caplog.records if record.name == "registry.requests"] == ["rita"] * 3


def test_a_kept_admission_announces_the_same_dependence_on_the_cookie(pip, twine, owner):
    project = factories.project(visibility=Visibility.PUBLIC)
    for name in NAMES:
        twine.upload(project, build_wheel(name=name), factories.deploy_token(project))

    for credentials, is_expected in ((None, True), (factories.deploy_token(project), False)):
        varying = [pip.simple_page(project, name, credentials).headers["Vary"] for name in NAMES]

        assert ["Cookie" in value for value in varying] == [is_expected] * 3


@pytest.mark.parametrize("kind", ["access token", "deploy token", "job"])
def test_revoked_credentials_read_no_further_page(pip, shelf, reporter, kind):
    credentials, withdraw = callers(shelf, reporter)[kind]
    for name in NAMES[:2]:
        assert pip.simple_page(shelf, name, credentials).status_code == 200

    withdraw()

    assert pip.simple_page(shelf, NAMES[2], credentials).status_code in (401, 403)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (lambda project, user: namespaces.remove_member(project, user, by=access.SHELL), 404),
        (lambda project, user: namespaces.change_member(project, user, Role.GUEST, by=access.SHELL), 403),
        (lambda _project, user: users.change_state(user, StateChange.BLOCK, by=access.SHELL), 403),
        (
            lambda project, _user: namespaces.change(
                project, namespaces.ProjectChanges(registry_access=RegistryAccess.DISABLED), by=access.SHELL
            ),
            403,
        ),
        (lambda project, _user: namespaces.delete_namespace(project, by=access.SHELL), 404),
    ],
    ids=["member removed", "role lowered", "user blocked", "registry disabled", "project deleted"],
)
def test_a_change_by_another_process_closes_further_pages(app, pip, shelf, reporter, change, status):
    token, project_id = factories.access_token(reporter), shelf.id
    for name in NAMES[:2]:
        assert pip.simple_page(project_id, name, token).status_code == 200
    other = create_app({name: app.config[name] for name in ("INSTANCE_PATH", "DATABASE_URL")})

    with other.app_context():
        project = namespaces.find(str(project_id), type(shelf))
        change(project, users.by_reference("rita"))
        db.session.remove()
        db.engine.dispose()

    assert pip.simple_page(project_id, NAMES[2], token).status_code == status


@pytest.mark.parametrize("kind", ["access token", "deploy token", "job"])
def test_withdrawn_credentials_publish_no_further_file(twine, shelf, kind):
    credentials, withdraw = callers(shelf, factories.member(shelf, Role.DEVELOPER))[kind]
    for version in ("2.0", "3.0"):
        assert twine.upload(shelf, build_wheel(version=version), credentials).status_code == 201

    withdraw()

    assert twine.upload(shelf, build_wheel(version="4.0"), credentials).status_code in (401, 403)


def test_an_admission_ends_with_the_credentials(pip, shelf, owner, monkeypatch):
    ends_at = utcnow() + timedelta(seconds=20)
    _, job_secret = factories.job(shelf, owner, lifetime=timedelta(seconds=20))
    deploy_token = factories.deploy_token(shelf, expires_at=ends_at)
    for credentials in (deploy_token, ("gitlab-ci-token", job_secret)):
        for name in NAMES[:2]:
            assert pip.simple_page(shelf, name, credentials).status_code == 200
    for module in ("auth.permits", "auth.credentials", "pypi.admitted"):
        monkeypatch.setattr(f"registry.blueprints.{module}.utcnow", lambda: ends_at + timedelta(seconds=1))

    for credentials in (deploy_token, ("gitlab-ci-token", job_secret)):
        assert pip.simple_page(shelf, NAMES[2], credentials).status_code == 401


def test_an_admission_is_for_one_caller_one_namespace_and_one_permission(pip, twine, shelf, reporter, group, outsider):
    token = factories.access_token(reporter)
    for name in NAMES[:2]:
        assert pip.simple_page(shelf, name, token).status_code == 200

    assert pip.simple_page(shelf, NAMES[2], factories.access_token(outsider)).status_code == 404
    assert pip.simple_page(shelf, NAMES[2]).status_code == 401
    assert pip.simple_page(group, NAMES[2], token).status_code == 403
    assert twine.upload(shelf, build_wheel(name="delta"), token).status_code == 403


def test_only_so_many_are_kept(app, pip, shelf, reporter, monkeypatch):
    monkeypatch.setattr(admissions, "LIMIT", 3)

    for _ in range(5):
        pip.simple_page(shelf, NAMES[0], factories.access_token(reporter))

    assert len(app.extensions["admissions"]._kept[1]) <= 3


@pytest.mark.parametrize(
    "caller",
    [
        lambda soon: Principal(PrincipalKind.JOB, job=Job(expires_at=soon)),
        lambda soon: Principal(PrincipalKind.DEPLOY_TOKEN, deploy_token=DeployToken(expires_at=soon)),
        lambda soon: Principal(PrincipalKind.TRUSTED_READER, reading_token=ReadingToken(expires_at=soon)),
    ],
    ids=["job", "deploy token", "trusted reader"],
)
def test_an_admission_ends_with_the_credentials_of_its_caller(caller: Callable[[datetime], Principal]) -> None:
    now = datetime(2026, 11, 29, 12, tzinfo=UTC)
    soon = now + timedelta(seconds=5)

    assert admissions.valid_until(caller(soon), now) == soon
    assert admissions.valid_until(caller(now + timedelta(days=1)), now) == now + admissions.LONGEST


def test_an_admission_ends_at_midnight_as_memberships_do() -> None:
    now = datetime(2026, 11, 30, 0, 59, 50, tzinfo=timezone(timedelta(hours=1)))

    assert admissions.valid_until(ANONYMOUS, now) == datetime(2026, 11, 30, tzinfo=UTC)
