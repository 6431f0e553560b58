"""Profile, password, language and colours of the signed-in user."""

from __future__ import annotations

import pytest

from registry.database import db
from registry.domain import audit, namespaces
from registry.domain.access import SHELL
from registry.domain.accounts import users
from registry.models import ColorScheme, Role
from tests import factories

PASSWORD = "correct horse battery"
PROFILE = "/-/user_settings/profile"
PASSWORDS = "/-/user_settings/password/edit"
PREFERENCES = "/-/user_settings/preferences"
CONFIRMED = {"current_password": PASSWORD}


@pytest.fixture
def user(app):
    return factories.user("paula", password=PASSWORD)


@pytest.mark.parametrize("path", [PROFILE, PASSWORDS, PREFERENCES])
def test_account_pages_require_signing_in(browser, app, path):
    assert browser.get(path).location == f"/users/sign_in?next={path}"


@pytest.mark.parametrize("path", [PASSWORDS, "/-/profile/two_factor_auth"])
def test_a_user_without_a_password_is_not_asked_for_it(browser_of, app, path):
    page = browser_of(factories.user()).get(path)

    assert "You have no password" in page.text
    assert 'type="password"' not in page.text


def test_a_profile_is_changed(browser_of, user):
    browser = browser_of(user)

    answer = browser.submit(
        PROFILE, {"name": "Paula P", "email": "p@example.org", "bio": "Packages.", "current_password": PASSWORD}
    )

    factories.reload(user)
    assert (answer.status_code, answer.location) == (303, PROFILE)
    assert (user.name, user.email, user.bio) == ("Paula P", "p@example.org", "Packages.")


def test_a_new_username_moves_the_personal_projects(browser_of, user):
    factories.project("scratch", parent=users.personal_namespace(user))
    browser = browser_of(user)

    browser.submit(PROFILE, {"username": "pola"})

    assert browser.get("/pola/scratch").status_code == 200
    assert browser.get("/paula/scratch").location == "/pola/scratch"


@pytest.mark.parametrize(
    ("sent", "errors"),
    [
        ({"username": "olivia"}, {"username": "This username is already taken."}),
        ({"email": "olivia@example.com", **CONFIRMED}, {"email": "This email address is already taken."}),
        ({"email": "none", **CONFIRMED}, {"email": "This is not valid."}),
        ({"email": "p@example.org"}, {"current_password": "This field is required."}),
        (
            {"email": "p@example.org", "current_password": "guess"},
            {"current_password": "This is not your current password."},
        ),
        ({"bio": "x" * 256}, {"bio": "Use at most 255 characters."}),
        ({"username": "a b"}, {"username": "Use letters, digits"}),
        ({"name": " "}, {"name": "This field is required."}),
    ],
    ids=[
        "name taken",
        "address taken",
        "no address",
        "address without the password",
        "address with a wrong password",
        "long bio",
        "no path",
        "no name",
    ],
)
def test_errors_are_shown_and_values_are_kept(browser_of, user, owner, sent, errors):
    answer = browser_of(user).submit(PROFILE, sent)

    assert answer.status_code == 422
    assert {field: answer.errors[field][: len(text)] for field, text in errors.items()} == errors
    assert answer.flashes == []
    kept = {name: value for name, value in sent.items() if name != "current_password"}
    assert answer.fields(PROFILE) | kept == answer.fields(PROFILE)
    assert answer.fields(PROFILE)["current_password"] == ""


def test_a_long_form_is_read_only_in_a_session(browser, browser_of, user):
    sent = {"bio": "x" * 70_000}

    assert browser.post(PROFILE, sent).status_code == 413
    assert browser_of(user).submit(PROFILE, sent).errors == {"bio": "Use at most 255 characters."}


def test_a_character_that_no_database_accepts_does_no_harm(browser_of, user):
    assert browser_of(user).submit(PROFILE, {"bio": "a\x00b"}).status_code == 303


def test_users_cannot_make_themselves_administrators(browser_of, user):
    browser_of(user).submit(PROFILE, {"is_admin": "y", "state": "blocked"})

    factories.reload(user)
    assert not user.is_admin
    assert user.is_active


def test_a_new_password_needs_the_old_one_and_ends_other_sessions(browser_of, user):
    here, elsewhere = browser_of(user), browser_of(user)

    here.submit(PASSWORDS, {"current_password": PASSWORD, "password": "another one", "repeated": "another one"})

    factories.reload(user)
    assert users.verify_password("paula", "another one") == user
    assert here.get(PROFILE).status_code == 200
    assert elsewhere.get(PROFILE).status_code == 303


@pytest.mark.parametrize(
    ("page", "guess"),
    [
        (PASSWORDS, {"password": "another one", "repeated": "another one"}),
        (PROFILE, {"email": "p@example.org"}),
    ],
    ids=["new password", "new address"],
)
def test_a_stolen_session_guesses_no_more_passwords_than_the_sign_in_page(browser_of, user, page, guess):
    browser = browser_of(user)
    statuses = [browser.submit(page, {**guess, "current_password": f"guess {n}"}).status_code for n in range(6)]

    refused = browser.submit(page, {**guess, "current_password": PASSWORD})

    assert statuses == [422] * 5 + [429]
    assert refused.status_code == 429
    assert 0 < int(refused.headers["Retry-After"]) <= 16
    assert users.verify_password("paula@example.com", PASSWORD) == user


def test_an_address_that_a_user_sets_finds_nobody_until_an_administrator_confirms_it(browser_of, app, rest, user):
    group, admin = factories.group("acme"), factories.user("ada", is_admin=True)
    mallory = factories.member(group, Role.OWNER, "mallory", password=PASSWORD)
    browser_of(mallory).submit(PROFILE, {"email": "ceo@example.org", "current_password": PASSWORD})
    owner, token = browser_of(factories.member(group, Role.OWNER)), factories.access_token(user)

    def found() -> tuple[int, int, int]:
        added = owner.submit("/groups/acme/-/group_members", {"username": "ceo@example.org", "role": "10"})
        listed = rest.get("/users?search=ceo@example.org", token).json
        members = owner.get("/groups/acme/-/group_members?search=ceo@example.org")
        return added.status_code, len(listed), members.text.count("@mallory")

    before = found()
    assert "Not confirmed" in browser_of(mallory).get(PROFILE).text
    browser_of(admin).submit("/admin/users/mallory", action="/admin/users/mallory/confirm_email")
    namespaces.remove_member(group, mallory, by=SHELL)

    assert before == (422, 0, 0)
    assert found() == (303, 1, 1)
    assert "Not confirmed" not in browser_of(mallory).get(PROFILE).text
    assert db.session.scalars(audit.events("user_email_confirmed")).one().author == "ada"


@pytest.mark.parametrize(
    ("sent", "field", "sentence"),
    [
        (("wrong", "another one", "another one"), "current_password", "This is not your current password."),
        ((PASSWORD, "short", "short"), "password", "Use at least 8 characters."),
        ((PASSWORD, "x" * 129, "x" * 129), "password", "Use at most 128 characters."),
        ((PASSWORD, "another one", "another two"), "repeated", "The passwords don't match."),
        (("", "another one", "another one"), "current_password", "Enter your current password."),
    ],
    ids=["wrong present one", "short", "long", "differ", "none"],
)
def test_a_password_that_will_not_do_is_refused_beside_its_field(browser_of, user, sent, field, sentence):
    names = ("current_password", "password", "repeated")

    answer = browser_of(user).submit(PASSWORDS, dict(zip(names, sent, strict=True)))

    assert answer.status_code == 422
    assert answer.errors == {field: sentence}
    assert not [value for name, value in answer.fields(PASSWORDS).items() if name in names and value]
    assert users.verify_password("paula", PASSWORD) == user


def test_language_and_colours_are_chosen(browser_of, user):
    browser = browser_of(user)

    browser.submit(PREFERENCES, {"language": "ja", "color_scheme": "dark"})
    page = browser.get(PREFERENCES)

    factories.reload(user)
    assert (user.preferred_language, user.color_scheme) == ("ja", ColorScheme.DARK)
    assert page.flashes == ["ユーザー設定を保存しました。"]
    assert page.fields(PREFERENCES)["language"] == "ja"


def test_a_visitor_chooses_language_and_color_scheme(browser, app):
    browser.submit("/-/preferences", {"language": "ja", "color_scheme": "dark"})
    page = browser.get("/users/sign_in")

    assert (page.tree.get("lang"), page.tree.get("data-bs-theme")) == ("ja", "dark")
    assert browser.submit("/-/preferences", {"language": "xx", "color_scheme": "dark"}).status_code == 422


@pytest.mark.parametrize("sent", [{"language": "xx"}, {"color_scheme": "pink"}], ids=str)
def test_only_offered_choices_are_accepted(browser_of, user, sent):
    assert browser_of(user).submit(PREFERENCES, sent).status_code == 422
