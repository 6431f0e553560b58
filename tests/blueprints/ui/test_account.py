"""Profile, password, language and colours of the signed-in user."""

from __future__ import annotations

import pytest

from registry.domain.accounts import users
from registry.models import ColorScheme
from tests import factories

PASSWORD = "correct horse battery"
PROFILE = "/-/user_settings/profile"
PASSWORDS = "/-/user_settings/password/edit"
PREFERENCES = "/-/user_settings/preferences"


@pytest.fixture
def user(app):
    return factories.user("paula", password=PASSWORD)


@pytest.mark.parametrize("path", [PROFILE, PASSWORDS, PREFERENCES])
def test_account_pages_require_signing_in(browser, app, path):
    assert browser.get(path).location == f"/users/sign_in?next={path}"


def test_a_profile_is_changed(browser_of, user):
    browser = browser_of(user)

    answer = browser.submit(PROFILE, {"name": "Paula P", "email": "p@example.org", "bio": "Packages."})

    factories.reload(user)
    assert (answer.status_code, answer.location) == (303, PROFILE)
    assert (user.name, user.email, user.bio) == ("Paula P", "p@example.org", "Packages.")


def test_a_new_username_moves_the_personal_projects(browser_of, user):
    factories.project("scratch", parent=users.personal_namespace(user))
    browser = browser_of(user)

    browser.submit(PROFILE, {"username": "pola"})

    assert browser.get("/pola/scratch").status_code == 200
    assert browser.get("/paula/scratch").status_code == 404


@pytest.mark.parametrize(
    ("sent", "errors", "flashes"),
    [
        ({"username": "olivia"}, {}, ["This username is already taken."]),
        ({"email": "olivia@example.com"}, {}, ["This email address is already taken."]),
        ({"email": "none"}, {"email": "This is not valid."}, []),
        ({"username": "a b"}, {"username": "Use letters, digits"}, []),
        ({"name": " "}, {"name": "This field is required."}, []),
    ],
    ids=["name taken", "address taken", "no address", "no path", "no name"],
)
def test_errors_are_shown_and_values_are_kept(browser_of, user, owner, sent, errors, flashes):
    answer = browser_of(user).submit(PROFILE, sent)

    assert answer.status_code == 422
    assert {field: answer.errors[field][: len(text)] for field, text in errors.items()} == errors
    assert answer.flashes == flashes
    assert answer.fields(PROFILE) | sent == answer.fields(PROFILE)


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
    ("sent", "field", "sentence"),
    [
        (("wrong", "another one", "another one"), "current_password", "This is not your current password."),
        ((PASSWORD, "short", "short"), "password", "Use at least 8 characters."),
        ((PASSWORD, "x" * 129, "x" * 129), "password", "Use at most 128 characters."),
        ((PASSWORD, "another one", "another two"), "repeated", "The two passwords differ."),
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


@pytest.mark.parametrize("sent", [{"language": "xx"}, {"color_scheme": "pink"}], ids=str)
def test_only_offered_choices_are_accepted(browser_of, user, sent):
    assert browser_of(user).submit(PREFERENCES, sent).status_code == 422
