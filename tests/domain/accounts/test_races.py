"""Users, tokens, jobs and sign-ins in two transactions at the same time (PostgreSQL)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyotp
import pytest
from flask import Flask
from sqlalchemy import select

from registry.database import db, transaction, utcnow
from registry.domain import namespaces
from registry.domain.access import SHELL
from registry.domain.accounts import access_tokens, first_run, jobs, second_factors, sessions, users
from registry.domain.accounts.sign_in import sign_in, sign_in_by_proxy
from registry.domain.accounts.users import StateChange, UserChanges
from registry.models import (
    AccessToken,
    AuditEvent,
    Group,
    Job,
    JobStatus,
    Project,
    Role,
    SignInFailures,
    SignInMethod,
    User,
    UserNamespace,
    UserSession,
)
from tests import factories
from tests.domain.accounts.issuing import NOW, issue, key
from tests.races import Act, race

pytestmark = pytest.mark.postgresql


def events(action: str) -> list[AuditEvent]:
    return list(db.session.scalars(select(AuditEvent).where(AuditEvent.action == action)))


def user(user_id: int) -> User:
    """The user, as the session of the thread has it."""
    return db.session.get_one(User, user_id)


def demote(user_id: int) -> Act:
    return lambda: users.change_user(user(user_id), UserChanges(is_admin=False), by=SHELL)


def block(user_id: int) -> Act:
    return lambda: users.change_state(user(user_id), StateChange.BLOCK, by=SHELL)


def delete(user_id: int) -> Act:
    return lambda: users.delete_user(user(user_id), by=SHELL)


@pytest.mark.parametrize("second", [demote, block, delete])
@pytest.mark.parametrize("first", [demote, block, delete])
def test_of_two_administrators_who_leave_at_the_same_time_one_stays(
    app: Flask, admin: User, first: Callable[[int], Act], second: Callable[[int], Act]
) -> None:
    other = factories.user(is_admin=True)

    assert race(app, first(admin.id), second(other.id)) == ("done", "Forbidden")


@pytest.mark.parametrize("leave", [demote, block, delete])
def test_a_user_who_becomes_the_only_administrator_meanwhile_stays_one(
    app: Flask, admin: User, outsider: User, leave: Callable[[int], Act]
) -> None:
    admin_id, heir_id = admin.id, outsider.id

    def hand_over() -> None:
        with transaction():
            users.change_user(user(heir_id), UserChanges(is_admin=True), by=SHELL)
            users.change_user(user(admin_id), UserChanges(is_admin=False), by=SHELL)

    def look_and_leave() -> None:
        known = user(heir_id)
        leave(heir_id)()
        assert known

    assert race(app, hand_over, look_and_leave) == ("done", "Forbidden")


def test_a_user_is_not_deleted_who_becomes_the_only_owner_of_a_group_meanwhile(
    app: Flask, group: Group, owner: User
) -> None:
    group_id, owner_id, other_id = group.id, owner.id, factories.member(group, Role.OWNER).id

    def leave() -> None:
        namespaces.remove_member(db.session.get_one(Group, group_id), user(owner_id), by=SHELL)

    assert race(app, leave, delete(other_id)) == ("done", "Conflict")


def test_a_member_is_not_deleted_who_becomes_the_only_owner_of_a_group_meanwhile(
    app: Flask, group: Group, owner: User
) -> None:
    group_id, owner_id, heir_id = group.id, owner.id, factories.member(group, Role.DEVELOPER).id

    def hand_over() -> None:
        with transaction():
            namespaces.change_member(db.session.get_one(Group, group_id), user(heir_id), Role.OWNER, by=SHELL)
            namespaces.remove_member(db.session.get_one(Group, group_id), user(owner_id), by=SHELL)

    def look_and_delete() -> None:
        known = db.session.scalars(namespaces.memberships_of(user(heir_id))).all()
        delete(heir_id)()
        assert known

    assert race(app, hand_over, look_and_delete) == ("done", "Conflict")


def test_a_user_gets_no_name_that_a_group_takes_at_the_same_time(app: Flask) -> None:
    outcomes = race(app, lambda: factories.group("wanted"), lambda: factories.user("wanted"))

    assert outcomes == ("done", "AlreadyTaken")


def test_a_group_gets_no_path_that_a_user_takes_at_the_same_time(app: Flask, owner: User) -> None:
    owner_id = owner.id

    outcomes = race(
        app,
        lambda: users.change_user(user(owner_id), UserChanges(username="wanted"), by=SHELL),
        lambda: factories.group("wanted"),
    )

    assert outcomes == ("done", "InvalidGroup")


def test_a_project_of_a_user_who_is_renamed_meanwhile_gets_the_new_path(app: Flask, owner: User) -> None:
    owner_id = owner.id

    def create() -> None:
        factories.project("tools", parent=users.personal_namespace(user(owner_id)))

    race(app, lambda: users.change_user(user(owner_id), UserChanges(username="olive"), by=SHELL), create)

    assert db.session.scalars(select(Project.full_path)).all() == ["olive/tools"]


def test_no_project_is_created_for_a_user_who_is_deleted_meanwhile(app: Flask, owner: User) -> None:
    space_id = users.personal_namespace(owner).id

    def create() -> None:
        factories.project("tools", parent=db.session.get_one(UserNamespace, space_id))

    assert race(app, delete(owner.id), create) == ("done", "NotFound")


def test_of_two_first_starts_one_creates_the_administrator(app: Flask, tmp_path: Path) -> None:
    key, made = factories.token_key(), []

    def start() -> None:
        made.append(
            first_run.create_administrator(password=None, token=None, key=key, instance_path=tmp_path, now=utcnow())
        )

    assert race(app, start, start) == ("done", "done")
    assert sorted(credentials is None for credentials in made) == [False, True]


def attempt(login: str, password: str = "wrong") -> None:
    sign_in(login, password, address="192.0.2.1", now=utcnow())


def failures() -> list[int]:
    return sorted(db.session.scalars(select(SignInFailures.count)))


def test_the_first_failed_sign_ins_at_the_same_time_count_each(app: Flask) -> None:
    assert race(app, lambda: attempt("olivia"), lambda: attempt("olivia")) == ("done", "done")
    assert failures() == [2, 2]


def test_further_failed_sign_ins_at_the_same_time_count_each(app: Flask) -> None:
    attempt("olivia")

    race(app, lambda: attempt("olivia"), lambda: attempt("olivia"))

    assert failures() == [3, 3]


def test_a_sign_in_takes_back_its_own_attempt_and_not_one_at_the_same_time(app: Flask) -> None:
    factories.user("olivia", password="correct horse")
    attempt("oscar")

    race(app, lambda: attempt("olivia", "correct horse"), lambda: attempt("oscar"), at_commit=2)

    assert failures() == [2, 2], "two of oscar, and both from the address"


def rotate(token_id: int) -> Act:
    return lambda: access_tokens.rotate_access_token(
        access_tokens.access_token(token_id, by=SHELL), key=key(), by=SHELL, now=NOW
    )


def revoke(token_id: int) -> Act:
    return lambda: access_tokens.revoke_access_token(access_tokens.access_token(token_id, by=SHELL), by=SHELL, now=NOW)


def revoke_family(token_id: int) -> Act:
    return lambda: access_tokens.revoke_family(access_tokens.access_token(token_id, by=SHELL), by=SHELL, now=NOW)


def active_tokens() -> list[int]:
    return list(db.session.scalars(select(AccessToken.id).where(AccessToken.revoked_at.is_(None))))


def test_a_token_that_is_rotated_twice_at_the_same_time_is_taken_for_stolen(app: Flask, owner: User) -> None:
    token_id = issue(owner)[0].id

    assert race(app, rotate(token_id), rotate(token_id)) == ("done", "Unauthenticated")
    assert active_tokens() == []


@pytest.mark.parametrize(("seen", "outcome"), [(rotate, "Unauthenticated"), (revoke_family, "done")])
def test_a_family_is_revoked_with_the_token_of_a_concurrent_rotation(
    app: Flask, owner: User, seen: Callable[[int], Act], outcome: str
) -> None:
    stolen_id = issue(owner)[0].id
    rotate(stolen_id)()
    [heir_id] = active_tokens()

    assert race(app, rotate(heir_id), seen(stolen_id)) == ("done", outcome)
    assert active_tokens() == []


def test_a_token_is_not_rotated_that_is_revoked_at_the_same_time(app: Flask, owner: User) -> None:
    token_id = issue(owner)[0].id

    assert race(app, revoke(token_id), rotate(token_id)) == ("done", "Unauthenticated")


def test_a_token_that_is_revoked_twice_at_the_same_time_is_revoked_once(app: Flask, owner: User) -> None:
    token_id = issue(owner)[0].id

    assert race(app, revoke(token_id), revoke(token_id)) == ("done", "done")
    assert len(events("access_token_revoked")) == 1


def test_a_user_is_deleted_when_a_token_of_theirs_has_been_rotated(app: Flask, owner: User) -> None:
    token_id = issue(owner)[0].id

    assert race(app, rotate(token_id), delete(owner.id), after="FROM access_tokens .* FOR UPDATE") == ("done", "done")


def test_no_session_by_the_password_alone_survives_a_second_factor_that_is_added_meanwhile(
    app: Flask, owner: User
) -> None:
    owner_id, secret = owner.id, second_factors.new_totp_secret()

    def add() -> None:
        code = pyotp.TOTP(secret).at(NOW)
        second_factors.add_app(user(owner_id), secret, code, key=key(), by=SHELL, now=NOW)

    def start() -> None:
        sessions.start_by_password(user(owner_id), key=key(), now=NOW)

    assert race(app, add, start) == ("done", "done")
    assert db.session.scalars(select(UserSession)).all() == []


@pytest.mark.parametrize("begins", [sessions.start_by_password, sessions.begin])
def test_a_user_signs_in_when_a_second_factor_is_added_and_an_earlier_sign_in_has_expired(
    app: Flask, owner: User, begins: Callable[..., object]
) -> None:
    owner_id, secret = owner.id, second_factors.new_totp_secret()
    sessions.begin(owner, key=key(), now=NOW - sessions.LIFETIME)
    sessions.start(owner, SignInMethod.PASSWORD, key=key(), now=NOW - sessions.LIFETIME)

    def add() -> None:
        code = pyotp.TOTP(secret).at(NOW)
        second_factors.add_app(user(owner_id), secret, code, key=key(), by=SHELL, now=NOW)

    def begin() -> None:
        begins(user(owner_id), key=key(), now=NOW)

    assert race(app, add, begin, after="FROM users .* FOR UPDATE") == ("done", "done")


def test_requests_without_a_cookie_of_a_user_of_a_proxy_begin_one_session(app: Flask, owner: User) -> None:
    name = owner.username

    def follow() -> None:
        sign_in_by_proxy(name, key=key(), address="192.0.2.1", now=NOW)

    assert race(app, follow, follow) == ("done", "done")
    assert len(db.session.scalars(select(UserSession)).all()) == len(events("user_signed_in")) == 1


def test_a_job_that_ends_twice_at_the_same_time_ends_once(app: Flask, project: Project, owner: User) -> None:
    project_id, job_id = project.id, factories.job(project, owner)[0].id

    def finish(status: JobStatus) -> Act:
        def act() -> None:
            job = jobs.job(db.session.get_one(Project, project_id), job_id)
            jobs.finish_job(job, status, by=SHELL, now=NOW)

        return act

    assert race(app, finish(JobStatus.SUCCESS), finish(JobStatus.FAILED)) == ("done", "BadRequest")
    assert db.session.scalars(select(Job.status)).all() == [JobStatus.SUCCESS]
    assert len(events("job_finished")) == 1
