"""The page of two-factor authentication, and signing in with a code."""

from __future__ import annotations

import re
from datetime import timedelta

import pyotp
import pytest

from registry.database import db, transaction, utcnow
from registry.domain import audit, instance
from registry.domain.access import SHELL
from registry.domain.accounts import passkeys, passwords, second_factors, users
from registry.domain.accounts.users import StateChange
from registry.domain.instance import InstanceChanges
from registry.models import User
from tests import factories
from tests.clients import Browser, Page
from tests.fakes.authenticator import Authenticator

PASSWORD = "correct horse battery"
PAGE = "/-/profile/two_factor_auth"
SIGN_IN, SECOND = "/users/sign_in", "/users/two_factor"
PROFILE = "/-/user_settings/profile"


@pytest.fixture
def user(app):
    return factories.user("olivia", password=PASSWORD)


def shown_key(page: Page) -> str:
    field = next(field for field in page.tree.iter("input") if field.get("id") == "totp-key")
    return (field.get("value") or "").replace(" ", "")


def shown_codes(page: Page) -> list[str]:
    return re.findall(r"\b[0-9a-f]{16}\b", page.text)


def set_up(browser: Browser, *, code: str | None = None, password: str = PASSWORD) -> tuple[str, Page]:
    """The key of the app, and the page after submitting a code of it."""
    page = browser.get(PAGE)
    key = shown_key(page)
    sent = page.fields(PAGE) | {"app-code": code or pyotp.TOTP(key).now(), "app-current_password": password}
    return key, browser.open(PAGE, method="POST", data=sent)


def later_code(key: str) -> str:
    """A code that is accepted after the one that was just used."""
    return pyotp.TOTP(key).at(utcnow() + timedelta(seconds=30))


def enter_password(app) -> Browser:
    browser = Browser(app)
    answer = browser.submit(SIGN_IN, {"login": "olivia", "password": PASSWORD, "next": PROFILE})
    assert answer.location == f"{SECOND}?next=/-/user_settings/profile"
    return browser


def test_the_app_is_set_up_with_password_and_code_and_then_asked_for(app, browser_of, user):
    browser, other = browser_of(user), browser_of(user)

    key, page = set_up(browser)

    assert len(shown_codes(page)) == 10
    assert other.get(PROFILE).status_code == 303, "other sessions have ended"
    assert not shown_codes(browser.get(PAGE)), "codes are shown once"
    entering = enter_password(app)
    assert entering.get(PROFILE).status_code == 303, "not signed in yet"
    assert entering.submit(SECOND, {"code": "000000"}).flashes == ["Invalid code. Each code is accepted only once."]
    answer = entering.submit(f"{SECOND}?next={PROFILE}", {"code": later_code(key)}, action=SECOND)
    assert (answer.status_code, answer.location) == (303, PROFILE)
    assert entering.get(PROFILE).status_code == 200
    actions = [event.action for event in db.session.scalars(audit.events())]
    assert actions[:2] == ["user_signed_in", "second_factor_added"]


@pytest.mark.parametrize(
    ("sent", "errors"),
    [
        ({"code": "000000"}, {"app-code": "This code is wrong. Enter the code that the app shows now."}),
        ({"password": "wrong"}, {"app-current_password": "This is not your current password."}),
    ],
    ids=["wrong code", "wrong password"],
)  # fmt: skip
def test_a_refused_form_keeps_its_key_and_changes_nothing(browser_of, user, sent, errors):
    key, page = set_up(browser_of(user), **sent)

    assert (page.status_code, page.errors, shown_key(page)) == (422, errors, key)
    factories.reload(user)
    assert not user.has_second_factor


def test_the_key_of_another_session_is_not_set_up(browser_of, user):
    other = browser_of(user).get(PAGE)
    browser = browser_of(user)
    sent = {"app-sealed": other.fields(PAGE)["app-sealed"], "app-code": pyotp.TOTP(shown_key(other)).now()}

    answer = browser.submit(PAGE, sent | {"app-current_password": PASSWORD})

    assert answer.status_code == 303
    factories.reload(user)
    assert not user.has_second_factor


def test_secrets_of_one_form_are_none_of_the_other(browser_of, user):
    browser, added = browser_of(user), f"{PAGE}/passkeys"
    page = browser.get(PAGE)
    app, passkey = page.fields(PAGE)["app-sealed"], page.fields(added)["passkey-sealed"]
    entered = {"app-code": "000000", "app-current_password": PASSWORD, "passkey-current_password": PASSWORD}

    for action, sealed in ((PAGE, {"app-sealed": passkey}), (added, {"passkey-sealed": app, "passkey-name": "Laptop"})):
        assert browser.submit(PAGE, entered | sealed, action=action).location == PAGE


def test_recovery_codes_sign_in_and_are_replaced(app, browser_of, user):
    browser = browser_of(user)
    codes = shown_codes(set_up(browser)[1])
    assert enter_password(app).submit(SECOND, {"code": codes[0]}).location == "/"
    assert "9 recovery codes are left." in browser.get(PAGE).text

    wrong = browser.submit(PAGE, {"codes-current_password": "wrong"}, action=f"{PAGE}/codes")
    page = browser.submit(PAGE, {"codes-current_password": PASSWORD}, action=f"{PAGE}/codes")

    assert (wrong.status_code, len(shown_codes(page))) == (422, 10)
    assert enter_password(app).submit(SECOND, {"code": codes[1]}).status_code == 422
    assert enter_password(app).submit(SECOND, {"code": shown_codes(page)[0]}).status_code == 303


def test_disabling_takes_the_password(app, browser_of, user):
    browser = browser_of(user)
    set_up(browser)
    action = f"{PAGE}/disable"

    assert browser.submit(PAGE, {"disable-current_password": "wrong"}, action=action).status_code == 422
    assert browser.submit(PAGE, {"disable-current_password": PASSWORD}, action=action).location == PAGE

    answer = Browser(app).submit(SIGN_IN, {"login": "olivia", "password": PASSWORD})
    assert answer.location == "/"


@pytest.mark.parametrize("change", ["blocked", "new password", "reset"])
def test_a_begun_sign_in_ends_with_what_it_began_with(app, user, change):
    key = pyotp.random_base32()
    second_factors.add_app(user, key, pyotp.TOTP(key).now(), key=factories.token_key(), by=SHELL, now=utcnow())
    browser = enter_password(app)

    if change == "blocked":
        users.change_state(user, StateChange.BLOCK, by=SHELL)
    elif change == "new password":
        passwords.set_password(user, "another horse battery", by=SHELL)
    else:
        second_factors.disable(user, by=SHELL)

    assert browser.get(SECOND).location == SIGN_IN
    assert browser.get(PROFILE).status_code == 303


def test_a_copy_of_the_cookie_of_a_begun_sign_in_is_of_no_use_after_it(app, user):
    key = pyotp.random_base32()
    second_factors.add_app(user, key, pyotp.TOTP(key).now(), key=factories.token_key(), by=SHELL, now=utcnow())
    browser = enter_password(app)
    copy = Browser(app)
    copy.client.set_cookie("registry_session", browser.client.get_cookie("registry_session").value)

    assert browser.submit(SECOND, {"code": later_code(key)}).status_code == 303

    assert copy.get(SECOND).location == SIGN_IN


def test_without_a_begun_sign_in_there_is_no_second_step(browser):
    assert browser.get(f"{SECOND}?next=/help").location == f"{SIGN_IN}?next=/help"
    assert browser.post(SECOND, {"code": "000000"}).location == SIGN_IN


def test_access_tokens_and_basic_passwords_are_unchanged_by_a_second_factor(rest, user):
    token = factories.access_token(user)
    with transaction():
        user.second_factor_since = utcnow()

    assert rest.get("/user", token).json["two_factor_enabled"] is True
    assert (
        rest.get("/user", headers={"Authorization": "Basic b2xpdmlhOmNvcnJlY3QgaG9yc2UgYmF0dGVyeQ=="}).status_code
        == 401
    )


def require(**required: bool) -> None:
    instance.change_instance(InstanceChanges(**required), by=SHELL)


def test_where_it_is_required_a_user_sets_it_up_before_anything_else(app, browser_of, rest, user):
    project = factories.project("tools", parent=users.personal_namespace(user))
    index = f"/api/v4/projects/{project.id}/packages/pypi/simple/"
    browser, token = browser_of(user), factories.access_token(user)
    assert browser.get(index).status_code == 200
    require(require_two_factor_authentication=True)

    for path in ("/", PROFILE, "/olivia/tools", "/-/user_settings/personal_access_tokens"):
        assert browser.get(path).location == PAGE
    assert [browser.get(path).status_code for path in (index, "/api/v4/user", "/olivia/tools/-/packages.atom")] == [
        401, 401, 404,
    ]  # fmt: skip
    assert browser.get("/help/authentication").status_code == 200
    assert rest.get("/user", token).status_code == 200, "tokens keep working"
    assert "requires two-factor authentication" in browser.get(PAGE).text

    assert len(shown_codes(set_up(browser)[1])) == 10

    assert browser.get(PROFILE).status_code == 200
    assert browser.get(index).status_code == 200


@pytest.mark.parametrize(("is_admin", "is_led"), [(False, False), (True, True)], ids=["user", "administrator"])
def test_it_can_be_required_of_administrators_only(browser_of, is_admin, is_led):
    browser = browser_of(factories.user("paula", is_admin=is_admin))
    require(require_admin_two_factor_authentication=True)

    assert (browser.get(PROFILE).location == PAGE) is is_led


def test_a_new_password_is_chosen_before_the_second_factor_is_set_up(browser_of):
    browser = browser_of(factories.user("paula", password=PASSWORD, must_change_password=True))
    require(require_two_factor_authentication=True)

    assert browser.get("/").location == "/-/user_settings/password/edit"
    assert browser.get("/-/user_settings/password/edit").status_code == 200


def test_an_administrator_resets_the_second_factor_of_a_user(app, browser_of, admin, user):
    browser = browser_of(user)
    set_up(browser)
    action = "/admin/users/olivia/disable_two_factor"

    answer = browser_of(admin).submit("/admin/users/olivia", action=action)

    assert answer.location == "/admin/users/olivia"
    assert browser.get(PROFILE).status_code == 303, "the sessions of the user have ended"
    assert Browser(app).submit(SIGN_IN, {"login": "olivia", "password": PASSWORD}).location == "/"
    event = db.session.scalars(audit.events("second_factor_disabled")).one()
    assert (event.author, event.target) == (admin.username, "olivia")


def test_the_api_resets_the_second_factor_of_users_but_not_of_administrators(rest, admin, user):
    enabled = factories.user("paula", is_admin=True)
    with transaction():
        user.second_factor_since = enabled.second_factor_since = utcnow()

    def reset(of: User, by: User = admin) -> int:
        return rest.patch(f"/users/{of.id}/disable_two_factor", factories.access_token(by)).status_code

    assert reset(user, by=user) == 403
    assert [reset(user), reset(user), reset(enabled)] == [204, 400, 403]


def options(page: Page, kind: str) -> str:
    return next(form.get("data-options") or "" for form in page.tree.iter("form") if form.get("data-passkey") == kind)


def test_a_passkey_is_added_used_and_removed_with_the_password(app, browser_of, user):
    browser, authenticator = browser_of(user), Authenticator()
    page, action = browser.get(PAGE), f"{PAGE}/passkeys"
    sent = page.fields(action) | {
        "passkey-name": "Laptop", "passkey-credential": authenticator.create(options(page, "create")),
    }  # fmt: skip

    wrong = browser.open(action, method="POST", data=sent | {"passkey-current_password": "wrong"})
    added = browser.open(action, method="POST", data=sent | {"passkey-current_password": PASSWORD})

    assert (wrong.status_code, wrong.errors) == (
        422,
        {"passkey-current_password": "This is not your current password."},
    )
    assert len(shown_codes(added)) == 10
    entering, second = enter_password(app), f"{SECOND}/passkey"
    step = entering.get(SECOND)
    other = Authenticator().use(options(step, "get"))
    assert entering.submit(SECOND, {"credential": other}, action=second).flashes == ["The passkey was not accepted."]
    answer = authenticator.use(options(step, "get"))
    assert entering.submit(SECOND, {"credential": answer}, action=second).location == "/"
    again = enter_password(app)
    assert again.submit(SECOND, {"credential": answer}, action=second).status_code == 422, "of another sign-in"
    number = passkeys.passkeys_of(user)[0].id
    removal = {f"removal-{number}-current_password": PASSWORD}
    assert browser.submit(PAGE, removal, action=f"{PAGE}/passkeys/{number}/remove").location == PAGE
    assert "Laptop" not in browser.get(PAGE).text
    assert browser.post(f"{PAGE}/passkeys/{2**63}/remove").status_code == 404
