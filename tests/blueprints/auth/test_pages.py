"""Signing in and out."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import func, select

from registry.blueprints.auth.local_addresses import local_address
from registry.database import db, utcnow
from registry.domain import audit
from registry.domain.access import SHELL
from registry.domain.accounts import sessions, users
from registry.domain.accounts.users import StateChange
from registry.models import AuditEvent, SignInMethod, User, UserSession
from tests import factories
from tests.clients import Browser

PASSWORD = "correct horse battery"
SIGN_IN = "/users/sign_in"


@pytest.fixture
def user(app):
    return factories.user("olivia", password=PASSWORD)


def events(action: str) -> list[AuditEvent]:
    return list(db.session.scalars(audit.events(action)))


def credentials(login: str = "olivia", password: str = PASSWORD, **fields: str) -> dict[str, str]:
    return {"login": login, "password": password, **fields}


@pytest.mark.parametrize("login", ["olivia", "OLIVIA", "olivia@example.com", " olivia "])
def test_a_user_signs_in_by_name_or_address(browser, user, login):
    answer = browser.submit(SIGN_IN, credentials(login))

    assert (answer.status_code, answer.location) == (303, "/")
    assert "@olivia" in browser.get("/").text


@pytest.mark.parametrize(
    "sent",
    [credentials(password="wrong"), credentials("nobody"), credentials("olivia\x00"), credentials(password="x" * 129)],
    ids=["wrong password", "unknown user", "NUL in the name", "password longer than any"],
)
def test_wrong_credentials_are_refused_without_details(browser, user, sent):
    answer = browser.submit(SIGN_IN, sent)

    assert answer.status_code == 422
    assert answer.flashes == ["Invalid login or password."]
    assert answer.fields(SIGN_IN)["login"] == sent["login"].replace("\x00", "�")
    assert answer.fields(SIGN_IN)["password"] == ""


def test_missing_values_are_reported_beside_the_fields(browser, user):
    answer = browser.submit(SIGN_IN)

    assert answer.errors == {"login": "Enter your username or email.", "password": "Enter your password."}


def test_the_page_has_exactly_one_password_field(browser, app):
    page = browser.get(SIGN_IN)

    assert [field.get("type") for field in page.tree.iter("input")].count("password") == 1


@pytest.mark.parametrize("change", [StateChange.BLOCK, StateChange.DEACTIVATE])
def test_a_user_who_is_not_active_cannot_sign_in(browser, user, change):
    users.change_state(user, change, by=SHELL)

    assert browser.submit(SIGN_IN, credentials()).status_code == 422


def test_a_session_ends_when_its_user_is_blocked(browser_of, user):
    browser = browser_of(user)

    users.change_state(user, StateChange.BLOCK, by=SHELL)

    assert browser.get("/-/user_settings/profile").location.startswith(SIGN_IN)


def test_signing_in_starts_a_new_session(browser, user):
    with browser.client.session_transaction() as session:
        session["left_by"] = "an earlier visitor"

    browser.submit(SIGN_IN, credentials())

    with browser.client.session_transaction() as session:
        assert "left_by" not in session
        assert session.permanent


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(browser, user):
    cookie = browser.submit(SIGN_IN, credentials()).headers["Set-Cookie"]

    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie


def test_the_time_of_signing_in_is_kept_with_the_one_before(browser, app, user):
    browser.submit(SIGN_IN, credentials())
    factories.reload(user)
    first = user.current_sign_in_at
    browser.client.delete_cookie("registry_session")
    browser.submit(SIGN_IN, credentials())

    factories.reload(user)

    assert first is not None
    assert user.last_sign_in_at == first
    assert user.current_sign_in_at > first


def test_signing_out_ends_the_session(browser_of, user):
    browser = browser_of(user)

    answer = browser.submit("/", action="/users/sign_out")

    assert answer.location == SIGN_IN
    assert browser.get("/-/user_settings/profile").location.startswith(SIGN_IN)


def test_signing_out_ends_the_session_for_every_copy_of_its_cookie(browser, app, user):
    project = factories.project("tools", parent=users.personal_namespace(user))
    index = f"/api/v4/projects/{project.id}/packages/pypi/simple"
    browser.submit(SIGN_IN, credentials())
    copy = Browser(app)
    copy.client.set_cookie("registry_session", browser.client.get_cookie("registry_session").value)
    assert copy.get("/-/user_settings/profile").status_code == 200
    assert [copy.get(index).status_code for _ in range(2)] == [200, 200], "the second from the cache"

    browser.submit("/", action="/users/sign_out")

    assert copy.get("/-/user_settings/profile").location.startswith(SIGN_IN)
    assert copy.get(index).status_code == 401
    assert copy.get("/api/v4/user").status_code == 401
    assert [event.author for event in events("user_signed_out")] == ["olivia"]


def test_an_unblocked_user_signs_in_again(browser_of, user):
    browser = browser_of(user)

    users.change_state(user, StateChange.BLOCK, by=SHELL)
    users.change_state(user, StateChange.UNBLOCK, by=SHELL)

    assert browser.get("/-/user_settings/profile").location.startswith(SIGN_IN)


def test_only_a_blocked_user_with_the_right_password_learns_of_the_block(browser, user):
    users.change_state(user, StateChange.BLOCK, by=SHELL)

    wrong = browser.submit(SIGN_IN, {"login": user.username, "password": "not the password"})
    right = browser.submit(SIGN_IN, {"login": user.username, "password": PASSWORD})

    assert (wrong.status_code, right.status_code) == (422, 422)
    assert "Invalid login or password." in wrong.text
    assert "Your account is blocked or deactivated. Contact an administrator." in right.text
    assert browser.get("/-/user_settings/profile").location.startswith(SIGN_IN)


def test_a_session_ends_a_week_after_the_sign_in(user):
    now = utcnow()
    secret = sessions.start(user, SignInMethod.PASSWORD, key=factories.token_key(), now=now - sessions.LIFETIME)

    assert sessions.find(secret, key=factories.token_key(), now=now) is None
    sessions.start(user, SignInMethod.PASSWORD, key=factories.token_key(), now=now)
    assert db.session.scalar(select(func.count()).select_from(UserSession)) == 1, "the old one is removed"


def test_a_user_has_a_bounded_number_of_sessions(user, monkeypatch):
    monkeypatch.setattr(sessions, "LIMIT", 3)
    now, key = utcnow(), factories.token_key()

    secrets = [
        sessions.start(user, SignInMethod.PASSWORD, key=key, now=now + timedelta(seconds=number)) for number in range(5)
    ]

    found = [sessions.find(secret, key=key, now=now) for secret in secrets]
    assert [session and session.user for session in found] == [None, None, user, user, user]


def test_signing_out_needs_a_form_not_a_link(browser_of, user):
    browser = browser_of(user)

    assert browser.get("/users/sign_out").status_code == 405
    assert browser.open("/users/sign_out", method="POST").status_code == 400
    assert browser.get("/-/user_settings/profile").status_code == 200


def test_a_signed_in_user_is_redirected_from_the_sign_in_page(browser_of, user):
    assert browser_of(user).get(SIGN_IN + "?next=/explore").location == "/explore"


def test_signing_in_leads_to_the_page_that_was_requested(browser, user):
    wanted = browser.get("/-/user_settings/preferences?a=1")
    answer = browser.submit(wanted.location, credentials(), action=SIGN_IN)

    assert answer.location == "/-/user_settings/preferences?a=1"


def test_below_a_sub_path_the_requested_page_is_below_it_too(browser, user):
    wanted = browser.get("/-/user_settings/preferences", base_url="http://localhost/registry")

    assert wanted.location == "/registry/users/sign_in?next=/registry/-/user_settings/preferences"


@pytest.mark.parametrize(
    "address",
    [
        "//evil.example", "https://evil.example", "/\\evil.example", "\\\\evil.example", "/\t/evil.example",
        "/\n/evil.example", "javascript:alert(1)", "evil.example", "///evil.example", "/a\\b", "", " /explore", None,
    ],
)  # fmt: skip
def test_another_site_is_nowhere_to_go_on_to(app, address):
    with app.test_request_context():
        assert local_address(address) == "/"


@pytest.mark.parametrize("address", ["/explore", "/a/b?c=d#e", "/search?search=%2F%2Fevil", "/グループ"])
def test_an_address_of_the_registry_is(app, address):
    with app.test_request_context():
        assert local_address(address) == address


def test_a_forged_next_is_not_followed(browser, user):
    answer = browser.submit(SIGN_IN + "?next=//evil.example", credentials(), action=SIGN_IN)

    assert answer.location == "/"


def test_after_five_failures_even_the_right_password_has_to_wait(browser, user):
    for _ in range(5):
        browser.submit(SIGN_IN, credentials(password="wrong"))

    answer = browser.submit(SIGN_IN, credentials())

    assert answer.status_code == 429
    assert 1 <= int(answer.headers["Retry-After"]) <= 16
    assert "Too many attempts" in answer.text


def test_other_users_are_not_delayed_by_failures_for_one_name(browser, user):
    factories.user("paul", password=PASSWORD)
    for _ in range(6):
        browser.submit(SIGN_IN, credentials(password="wrong"))

    assert browser.submit(SIGN_IN, credentials("paul")).status_code == 303


@pytest.fixture
def newcomer(app):
    return factories.user("nina", password=PASSWORD, must_change_password=True)


@pytest.mark.parametrize("path", ["/", "/explore", "/nina", "/-/user_settings/profile", "/groups/new"])
def test_with_a_generated_password_every_page_leads_to_a_new_one(browser_of, newcomer, path):
    answer = browser_of(newcomer).get(path)

    assert (answer.status_code, answer.location) == (303, "/-/user_settings/password/edit")


def test_a_user_who_has_changed_the_initial_password_can_use_the_registry(browser, newcomer):
    browser.submit(SIGN_IN, credentials("nina"))
    changed = browser.submit(
        "/-/user_settings/password/edit",
        {"current_password": PASSWORD, "password": "a new password", "repeated": "a new password"},
    )

    assert (changed.status_code, changed.location) == (303, "/")
    assert browser.get("/").status_code == 200


def test_the_generated_password_does_not_count_as_a_new_one(browser_of, newcomer):
    answer = browser_of(newcomer).submit(
        "/-/user_settings/password/edit",
        {"current_password": PASSWORD, "password": PASSWORD, "repeated": PASSWORD},
    )

    assert answer.errors == {"password": "Choose a password that differs from the current one."}


def test_signing_out_is_possible_before_that(browser_of, newcomer: User):
    answer = browser_of(newcomer).submit("/-/user_settings/password/edit", action="/users/sign_out")

    assert answer.location == SIGN_IN
