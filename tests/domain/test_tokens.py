from __future__ import annotations

import base64
import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select

from registry.database import Model, db, utcnow
from registry.domain import instance
from registry.domain.access import SHELL, DeployScope, Scope
from registry.domain.accounts import access_tokens, deploy_tokens, jobs, secrets
from registry.errors import BadRequest, Forbidden, InvalidRecord, PlainRefusal, RecordNotFound, Unauthenticated
from registry.models import AccessToken, AuditEvent, Group, Job, JobStatus, Project, Role, User
from tests import factories

NOW = datetime(2030, 5, 17, 15, 30, tzinfo=UTC)
TODAY = NOW.date()


def key() -> bytes:
    return factories.token_key()


def issue(user: User, **fields: Any) -> tuple[AccessToken, str]:
    given = {"name": "laptop", "scopes": ["api"], "key": key(), "by": SHELL, "now": NOW}
    return access_tokens.issue_access_token(user, **given | fields)


def found(secret: str) -> AccessToken:
    token = access_tokens.find_access_token(secret, key())
    assert token is not None
    db.session.refresh(token, ["revoked_at", "last_used_at"])
    return token


# Access tokens --------------------------------------------------------------------------------------------------


def test_a_token_is_found_by_its_secret_with_its_user(owner: User) -> None:
    token, secret = issue(owner, description="work", scopes=["read_api", "api", "read_api"])

    assert found(secret) is token
    assert token.user is owner
    assert (token.name, token.description, token.scopes) == ("laptop", "work", ["read_api", "api"])
    assert (token.created_at, token.last_used_at, token.revoked_at) == (NOW, None, None)


def test_a_secret_is_prefixed_long_and_never_the_same(owner: User) -> None:
    secrets = {issue(owner)[1] for _ in range(5)}

    assert len(secrets) == 5
    for secret in secrets:
        assert re.fullmatch(r"glpat-[A-Za-z0-9_-]{43}", secret), "32 bytes of chance"


@pytest.mark.parametrize("prefix", ["", "acme-pat-"])
def test_the_prefix_is_the_instances_to_choose(owner: User, prefix: str) -> None:
    instance.change_instance({"personal_access_token_prefix": prefix}, by=SHELL)

    token, secret = issue(owner)

    assert secret.startswith(prefix)
    assert len(secret) == len(prefix) + 43
    assert found(secret) is token


@pytest.mark.parametrize(
    "change",
    [
        lambda secret: secret[:-1],
        lambda secret: secret + "x",
        lambda secret: secret.lower(),
        lambda secret: secret.removeprefix("glpat-"),
        lambda secret: " " + secret,
        lambda _: "",
        lambda _: "\x00",
        lambda _: "ü\udcff",
        lambda _: "x" * 1_000_000,
    ],
    ids=["cut", "longer", "other case", "without prefix", "blank", "empty", "NUL", "not UTF-8", "huge"],
)
def test_anything_but_the_secret_finds_nothing(owner: User, change: Any) -> None:
    secret = issue(owner)[1]

    assert access_tokens.find_access_token(change(secret), key()) is None


def test_a_secret_is_worth_nothing_under_another_key(owner: User) -> None:
    assert access_tokens.find_access_token(issue(owner)[1], b"another key") is None


def test_only_digests_are_kept(app: Flask, project: Project, owner: User) -> None:
    secrets = [
        issue(owner)[1],
        access_tokens.rotate_access_token(issue(owner)[0], key=key(), by=SHELL, now=NOW)[1],
        factories.deploy_token(project),
        factories.job(project, owner)[1],
    ]

    kept = "\n".join(str(row) for table in Model.metadata.sorted_tables for row in db.session.execute(select(table)))
    instance: Path = app.config["INSTANCE_PATH"]
    stored = b"".join(path.read_bytes() for path in instance.rglob("*") if path.is_file())

    for secret in secrets:
        random_part = secret.rpartition("-")[2] if "-" not in secret[6:] else secret[6:]
        for form in (random_part, base64.b64encode(secret.encode()).decode().rstrip("=")):
            assert form not in kept
            assert form.encode() not in stored
    assert found(secrets[0]).digest in kept


@pytest.mark.parametrize(
    ("fields", "errors"),
    [
        ({"name": ""}, {"name": ["can't be blank"]}),
        ({"name": "  "}, {"name": ["can't be blank"]}),
        ({"name": "x" * 256}, {"name": ["is too long (maximum is 255 characters)"]}),
        ({"description": "x" * 256}, {"description": ["is too long (maximum is 255 characters)"]}),
        ({"scopes": []}, {"scopes": ["can't be blank"]}),
        ({"scopes": ["api", "everything"]}, {"scopes": ["can only contain available scopes"]}),
        ({"scopes": ["API"]}, {"scopes": ["can only contain available scopes"]}),
        ({"scopes": ["read_package_registry"]}, {"scopes": ["can only contain available scopes"]}),
        ({"name": "", "scopes": []}, {"name": ["can't be blank"], "scopes": ["can't be blank"]}),
    ],
)
def test_a_token_that_breaks_a_rule_is_not_issued(
    owner: User, fields: dict[str, Any], errors: dict[str, list[str]]
) -> None:
    with pytest.raises(InvalidRecord) as refusal:
        issue(owner, **fields)

    assert refusal.value.errors == errors
    assert db.session.scalars(select(AccessToken)).all() == []


def test_every_known_scope_may_be_given(owner: User) -> None:
    assert issue(owner, scopes=list(Scope))[0].scopes == [scope.value for scope in Scope]


# Expiry ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "expired"),
    [
        (datetime(2030, 5, 19, 23, 59, 59, tzinfo=UTC), False),
        (datetime(2030, 5, 20, tzinfo=UTC), True),
        (datetime(2030, 5, 21, 12, tzinfo=UTC), True),
        (datetime.fromisoformat("2030-05-20T01:30:00+02:00"), False),
        (datetime.fromisoformat("2030-05-19T22:30:00-02:00"), True),
    ],
    ids=["the second before", "00:00 UTC of the day", "later", "the day elsewhere only", "the day before elsewhere"],
)
def test_a_token_dies_at_the_beginning_of_its_last_day_in_utc(owner: User, now: datetime, expired: bool) -> None:
    token = issue(owner, expires_on=date(2030, 5, 20))[0]

    assert token.is_expired(now) is expired
    assert token.is_active(now) is not expired


@pytest.mark.parametrize("day", [TODAY, TODAY - timedelta(days=400)], ids=["today", "past"])
def test_a_token_that_is_over_may_be_issued_and_is_dead_at_once(owner: User, day: date) -> None:
    token = issue(owner, expires_on=day)[0]

    assert token.expires_on == day
    assert token.is_expired(NOW)


@pytest.mark.parametrize(
    ("required", "lifetime", "asked", "given"),
    [
        (True, 365, None, TODAY + timedelta(days=365)),
        (True, 30, None, TODAY + timedelta(days=30)),
        (True, 365, TODAY + timedelta(days=365), TODAY + timedelta(days=365)),
        (True, 365, TODAY + timedelta(days=1), TODAY + timedelta(days=1)),
        (False, 365, None, None),
        (False, 365, date(2099, 1, 1), date(2099, 1, 1)),
    ],
    ids=["default", "shorter default", "just allowed", "soon", "not required", "not limited"],
)
def test_expiry_is_required_and_limited_by_the_instance(
    owner: User, required: bool, lifetime: int, asked: date | None, given: date | None
) -> None:
    instance.change_instance(
        {"require_personal_access_token_expiry": required, "max_personal_access_token_lifetime": lifetime}, by=SHELL
    )

    assert issue(owner, expires_on=asked)[0].expires_on == given


def test_a_token_is_not_issued_for_longer_than_the_instance_allows(owner: User) -> None:
    with pytest.raises(InvalidRecord) as refusal:
        issue(owner, expires_on=TODAY + timedelta(days=366))

    assert refusal.value.errors == {"expires_at": [f"must be before {TODAY + timedelta(days=366)}"]}


def test_the_hour_a_day_starts_is_midnight_in_utc() -> None:
    assert deploy_tokens.starts_at(date(2030, 5, 20)) == datetime(2030, 5, 20, tzinfo=UTC)


# Rotation and revocation ----------------------------------------------------------------------------------------


def test_rotation_replaces_a_token_by_one_like_it(owner: User) -> None:
    old, old_secret = issue(owner, name="ci", description="for ci", scopes=["read_api", "self_rotate"])

    new, secret = access_tokens.rotate_access_token(old, key=key(), by=SHELL, now=NOW)

    assert secret != old_secret
    assert found(old_secret).revoked_at == NOW
    assert not found(old_secret).is_active(NOW)
    assert (new.name, new.description, new.scopes, new.user_id) == (
        "ci",
        "for ci",
        ["read_api", "self_rotate"],
        owner.id,
    )
    assert new.expires_on == TODAY + timedelta(days=7)
    assert new.family_id == old.family_id == old.id


def test_rotation_takes_an_expiry_within_the_instances_limit(owner: User) -> None:
    old, secret = issue(owner)

    with pytest.raises(InvalidRecord):
        access_tokens.rotate_access_token(old, key=key(), by=SHELL, now=NOW, expires_on=TODAY + timedelta(days=366))
    assert found(secret).is_active(NOW), "a refused rotation leaves the token as it was"

    new, _ = access_tokens.rotate_access_token(old, key=key(), by=SHELL, now=NOW, expires_on=TODAY + timedelta(days=90))
    assert new.expires_on == TODAY + timedelta(days=90)


def test_rotation_gives_less_than_a_week_where_the_instance_allows_less(owner: User) -> None:
    old, _ = issue(owner)
    instance.change_instance({"max_personal_access_token_lifetime": 3}, by=SHELL)

    new, _ = access_tokens.rotate_access_token(old, key=key(), by=SHELL, now=NOW)

    assert new.expires_on == TODAY + timedelta(days=3)


def test_rotating_a_rotated_token_revokes_its_whole_family(owner: User) -> None:
    first, _ = issue(owner)
    second, _ = access_tokens.rotate_access_token(first, key=key(), by=SHELL, now=NOW)
    third, third_secret = access_tokens.rotate_access_token(second, key=key(), by=SHELL, now=NOW)
    bystander_secret = issue(owner)[1]
    later = NOW + timedelta(hours=1)

    with pytest.raises(Unauthenticated):
        access_tokens.rotate_access_token(first, key=key(), by=SHELL, now=later)

    assert found(third_secret).revoked_at == later
    assert found(bystander_secret).is_active(later)
    with pytest.raises(Unauthenticated):
        access_tokens.rotate_access_token(third, key=key(), by=SHELL, now=later)
    events = select(AuditEvent).where(AuditEvent.action == "access_token_family_revoked").order_by(AuditEvent.id)
    assert [event.details for event in db.session.scalars(events)] == [{"token_id": first.id}, {"token_id": third.id}]


def test_rotating_an_expired_token_is_refused_and_harms_no_other(owner: User) -> None:
    old, _ = issue(owner, expires_on=TODAY + timedelta(days=1))
    relative, secret = issue(owner)
    relative.family_id = old.family_id
    db.session.commit()

    with pytest.raises(Unauthenticated):
        access_tokens.rotate_access_token(old, key=key(), by=SHELL, now=NOW + timedelta(days=1))

    assert found(secret).is_active(NOW + timedelta(days=1))


def test_a_revoked_token_is_still_found_and_says_so(owner: User) -> None:
    token, secret = issue(owner)

    access_tokens.revoke_access_token(token, by=SHELL, now=NOW)
    access_tokens.revoke_access_token(token, by=SHELL, now=NOW + timedelta(days=1))

    assert found(secret).revoked_at == NOW
    assert not token.is_active(NOW)
    actions = db.session.scalars(select(AuditEvent.action).where(AuditEvent.action == "access_token_revoked")).all()
    assert len(actions) == 1


def test_the_life_of_a_token_is_on_record_without_its_secret(owner: User) -> None:
    token, _ = issue(owner, by=factories.signed_in(owner))
    access_tokens.revoke_access_token(token, by=factories.signed_in(owner), now=NOW)

    events = db.session.scalars(select(AuditEvent).where(AuditEvent.author == "olivia").order_by(AuditEvent.id)).all()
    assert [(event.action, event.target, event.details["token_id"]) for event in events] == [
        ("access_token_issued", "olivia: laptop", token.id),
        ("access_token_revoked", "olivia: laptop", token.id),
    ]


# Last use -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["access token", "deploy token"])
def test_last_use_is_noted_once_in_ten_minutes(project: Project, owner: User, kind: str, statements: list[str]) -> None:
    if kind == "access token":
        token: Any = issue(owner)[0]
    else:
        token = deploy_tokens.find_deploy_token(factories.deploy_token(project), key(), utcnow())

    def used(minutes: float) -> tuple[datetime, int]:
        before = len(statements)
        secrets.note_use(token, NOW + timedelta(minutes=minutes))
        written = sum(statement.startswith("UPDATE") for statement in statements[before:])
        db.session.refresh(token)
        return token.last_used_at, written

    assert used(0) == (NOW, 1)
    assert used(9.9) == (NOW, 0)
    assert used(10.1) == (NOW + timedelta(minutes=10.1), 1)


def test_two_requests_at_once_note_one_use(owner: User) -> None:
    token, _ = issue(owner)
    secrets.note_use(token, NOW)
    stale = AccessToken(id=token.id, last_used_at=None)

    secrets.note_use(stale, NOW + timedelta(minutes=1))

    db.session.refresh(token)
    assert token.last_used_at == NOW


# Deploy tokens --------------------------------------------------------------------------------------------------


def issue_deploy(project: Project | Group, **fields: Any) -> Any:
    given = {"name": "servers", "scopes": ["read_package_registry"], "key": key(), "by": SHELL}
    return deploy_tokens.issue_deploy_token(project, **given | fields)


def test_a_deploy_token_is_found_by_its_secret(project: Project, owner: User) -> None:
    token, secret = issue_deploy(project, by=factories.signed_in(owner))

    assert re.fullmatch(r"gldt-[A-Za-z0-9_-]{43}", secret)
    assert deploy_tokens.find_deploy_token(secret, key(), NOW) is token
    assert (token.namespace_id, token.creator_id, token.expires_at) == (project.id, owner.id, None)
    assert deploy_tokens.find_deploy_token(secret[:-1], key(), NOW) is None
    assert deploy_tokens.find_deploy_token(secret.removeprefix("gldt-"), key(), NOW) is None


def test_a_deploy_token_has_gitlabs_user_name_or_its_own(project: Project) -> None:
    default, _ = issue_deploy(project)
    empty, _ = issue_deploy(project, username="")
    own, _ = issue_deploy(project, username="A_b-c+d.9")

    assert default.username == f"gitlab+deploy-token-{default.id}"
    assert empty.username == f"gitlab+deploy-token-{empty.id}"
    assert own.username == "A_b-c+d.9"


@pytest.mark.parametrize("username", ["a b", "a:b", "ä", "a\n", "x" * 256, "a/b"])
def test_a_deploy_token_has_no_other_user_name(project: Project, username: str) -> None:
    with pytest.raises(InvalidRecord) as refusal:
        issue_deploy(project, username=username)

    assert refusal.value.errors == {"username": ["can contain only letters, digits, '_', '-', '+', and '.'"]}


def test_a_deploy_token_has_a_scope(project: Project) -> None:
    with pytest.raises(PlainRefusal) as refusal:
        issue_deploy(project, scopes=[])

    assert refusal.value.body() == {"message": "Scopes can't be blank"}
    assert issue_deploy(project, scopes=list(DeployScope))[0].scopes == [scope.value for scope in DeployScope]


@pytest.mark.parametrize(
    ("fields", "errors"),
    [
        ({"name": " "}, {"name": ["can't be blank"]}),
        ({"name": "x" * 256}, {"name": ["is too long (maximum is 255 characters)"]}),
        ({"scopes": ["api"]}, {"scopes": ["can only contain available scopes"]}),
    ],
)
def test_a_deploy_token_that_breaks_a_rule_is_not_issued(
    project: Project, fields: dict[str, Any], errors: dict[str, list[str]]
) -> None:
    with pytest.raises(InvalidRecord) as refusal:
        issue_deploy(project, **fields)

    assert refusal.value.errors == errors


@pytest.mark.parametrize(
    ("minutes", "active"), [(-1, True), (0, False), (1, False)], ids=["before", "at the moment", "after"]
)
def test_a_deploy_token_lives_until_its_moment(project: Project, minutes: int, active: bool) -> None:
    midnight = deploy_tokens.starts_at(date(2030, 6, 1))
    token, secret = issue_deploy(project, expires_at=midnight)

    looked_up = deploy_tokens.find_deploy_token(secret, key(), midnight + timedelta(minutes=minutes))

    assert (looked_up is token) is active


def test_a_revoked_deploy_token_stays_in_the_list_but_opens_nothing(project: Project) -> None:
    token, secret = issue_deploy(project)

    deploy_tokens.revoke_deploy_token(token, project, by=SHELL)

    assert deploy_tokens.find_deploy_token(secret, key(), NOW) is None
    assert db.session.scalars(deploy_tokens.deploy_tokens(project, is_active=False, now=NOW)).all() == [token]
    assert db.session.scalars(deploy_tokens.deploy_tokens(project, is_active=True, now=NOW)).all() == []


def test_a_destroyed_deploy_token_is_gone(project: Project) -> None:
    token, secret = issue_deploy(project)

    deploy_tokens.destroy_deploy_token(token, project, by=SHELL)

    assert deploy_tokens.find_deploy_token(secret, key(), NOW) is None
    assert db.session.scalars(deploy_tokens.deploy_tokens(project, is_active=False, now=NOW)).all() == []


# CI jobs --------------------------------------------------------------------------------------------------------


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
def test_a_finished_jobs_token_is_dead_at_once(project: Project, developer: User, status: JobStatus) -> None:
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
def test_a_job_lives_between_a_second_and_thirty_days(project: Project, developer: User, seconds: int) -> None:
    with pytest.raises(BadRequest):
        start(project, developer, lifetime=timedelta(seconds=seconds))

    for good in (1, 30 * 86400):
        assert start(project, developer, lifetime=timedelta(seconds=good))[0].expires_at == NOW + timedelta(
            seconds=good
        )


# For pages ------------------------------------------------------------------------------------------------------


def test_ones_own_token_is_nobody_elses(owner: User, admin: User) -> None:
    token, _ = issue(owner)

    assert access_tokens.own_access_token(owner, token.id) is token
    for user, token_id in ((admin, token.id), (owner, token.id + 1)):
        with pytest.raises(RecordNotFound):
            access_tokens.own_access_token(user, token_id)


def test_the_latest_expiry_is_the_instances_to_say(app: Flask) -> None:
    instance.change_instance({"max_personal_access_token_lifetime": 10}, by=SHELL)
    asked_for = access_tokens.latest_expiry(NOW)
    instance.change_instance({"require_personal_access_token_expiry": False}, by=SHELL)

    assert asked_for == TODAY + timedelta(days=10)
    assert access_tokens.latest_expiry(NOW) is None


def test_running_jobs_are_those_whose_token_is_alive(project: Project, owner: User) -> None:
    running, _ = factories.job(project, owner)
    finished, _ = factories.job(project, owner)
    factories.job(factories.project(), owner)
    jobs.finish_job(finished, JobStatus.SUCCESS, by=SHELL, now=utcnow())

    def found(now: datetime) -> list[Job]:
        return list(db.session.scalars(jobs.running_jobs(project, now)))

    assert found(utcnow()) == [running]
    assert found(utcnow() + timedelta(hours=2)) == []
