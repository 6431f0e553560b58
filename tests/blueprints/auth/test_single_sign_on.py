"""Sign-in with the account of an identity provider, a real one on the loopback address."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import pyotp
import pytest
from flask import Flask
from sqlalchemy import select

from registry.database import db, utcnow
from registry.domain import audit, instance, namespaces
from registry.domain.access import SHELL
from registry.domain.accounts import passwords, second_factors, users
from registry.domain.accounts.users import StateChange
from registry.domain.instance import InstanceChanges
from registry.domain.single_sign_on import identities, provider_roles
from registry.domain.single_sign_on.persons import Person
from registry.domain.single_sign_on.provider import Provider
from registry.errors import Forbidden, InvalidRecord
from registry.models import AuditEvent, Group, Membership, Role, User, UserIdentity, UserSession
from tests import factories
from tests.clients import Browser, Page
from tests.fakes.identity_provider import IdentityProvider, asked, provider_running

BEGIN = "/users/auth/openid_connect"
CALLBACK = f"{BEGIN}/callback"
SIGN_IN = "/users/sign_in"
IDENTITY = "/-/user_settings/identity"
PASSWORD = "correct horse battery"
HANAKO = {
    "preferred_username": "hanako.yamada@example.com", "name": "山田 花子", "email": "hanako@example.com",
    "email_verified": True,
}  # fmt: skip


@pytest.fixture(scope="module")
def _provider() -> Iterator[IdentityProvider]:
    with provider_running() as provider:
        yield provider


def _configured(app: Flask, issuer: str) -> Provider:
    return Provider(issuer, "registry", "s3cret", scopes="openid profile email", groups_claim="groups")


@pytest.fixture
def provider(app: Flask, _provider: IdentityProvider, monkeypatch: pytest.MonkeyPatch) -> IdentityProvider:
    """The provider that the registry is configured with; it knows Hanako, and no user is linked to her account."""
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setitem(app.extensions, "identity_provider", _configured(app, _provider.url))
    monkeypatch.setitem(app.config, "OIDC_ISSUER", _provider.url)
    monkeypatch.setitem(app.config, "OIDC_LABEL", "Acme")
    _provider.set_claims("hanako", **HANAKO)
    return _provider


def left_for(page: Page) -> str:
    """Where a page that leaves the registry leads to."""
    assert page.status_code == 200, page.text
    (link,) = [anchor.get("href") for anchor in page.tree.iter("a") if anchor.get("rel") == "noreferrer"]
    assert link is not None
    assert f"0; url={link}" in [meta.get("content") for meta in page.tree.iter("meta")]
    return link


def begun(browser: Browser, after: str = "") -> str:
    return left_for(browser.submit(f"{SIGN_IN}?next={after}", action=BEGIN))


def path_of(location: str) -> str:
    assert location.startswith("http://localhost/")
    return location.removeprefix("http://localhost")


def signed_in(browser: Browser, provider: IdentityProvider, subject: str = "hanako", after: str = "") -> Page:
    return browser.get(path_of(provider.sign_in(begun(browser, after), subject)))


def events(action: str) -> list[AuditEvent]:
    return list(db.session.scalars(audit.events(action)))


def found(username: str) -> User:
    return users.find_username(username)


def test_a_person_signs_in_and_becomes_a_user(browser, provider):
    url = begun(browser, after="/help")
    sent = asked(url)
    answer = browser.get(path_of(provider.sign_in(url, "hanako")))

    assert (answer.status_code, answer.location) == (303, "/help")
    assert sent["redirect_uri"] == f"http://localhost{CALLBACK}"
    assert (sent["response_type"], sent["scope"]) == ("code", "openid profile email")
    assert (sent["code_challenge_method"], len(sent["code_challenge"])) == ("S256", 43)
    assert len(sent["state"]) == len(sent["nonce"]) == 43
    user = found("hanako.yamada")
    assert (user.name, user.email, user.password_hash) == ("山田 花子", "hanako@example.com", None)
    assert user.confirmed_at is not None
    assert "@hanako.yamada" in browser.get("/").text
    assert [event.details["method"] for event in events("user_signed_in")] == ["openid_connect"]
    (linked,) = events("user_identity_linked")
    assert (linked.author, linked.details) == ("OpenID Connect", {"issuer": provider.url, "subject": "hanako"})


def test_the_same_person_is_the_same_user_with_current_name_and_address(app, browser, provider):
    signed_in(browser, provider)
    provider.set_claims("hanako", **HANAKO | {"name": "Hanako Sato", "email": "sato@example.com"})

    signed_in(Browser(app), provider)

    user = found("hanako.yamada")
    assert (user.name, user.email) == ("Hanako Sato", "sato@example.com")
    assert db.session.scalars(select(User.username)).all() == ["hanako.yamada"]


@pytest.mark.parametrize("verified", [True, False], ids=["verified", "not verified"])
def test_no_name_or_address_leads_to_another_user(app, browser, provider, verified):
    other = factories.user("hanako.yamada")
    provider.set_claims("hanako", **HANAKO | {"email": other.email.upper(), "email_verified": verified})

    signed_in(browser, provider)

    user = found("hanako.yamada2")
    assert user.email.endswith("@without-email.invalid")
    assert user.confirmed_at is None
    assert [identity.user_id for identity in db.session.scalars(select(UserIdentity))] == [user.id]


def test_an_address_that_is_not_verified_is_not_confirmed_and_replaces_no_confirmed_one(app, browser, provider):
    provider.set_claims("hanako", **HANAKO | {"email_verified": "true"})
    signed_in(browser, provider)
    user = found("hanako.yamada")
    assert (user.email, user.confirmed_at) == ("hanako@example.com", None)
    users.confirm_email(user, by=SHELL)
    provider.set_claims("hanako", **HANAKO | {"email": "other@example.com", "email_verified": False})

    signed_in(Browser(app), provider)

    db.session.refresh(user)
    assert user.email == "hanako@example.com"
    assert user.confirmed_at is not None


@pytest.mark.parametrize(
    ("claims", "username", "name"),
    [
        ({}, "person", "person"),
        ({"preferred_username": "../../admin"}, "person", "person"),
        ({"preferred_username": "root", "name": "R\x00"}, "person", "person"),
        ({"preferred_username": ["x"], "email": "Jörg.Müller@example.com"}, "jorg.muller", "jorg.muller"),
        ({"nickname": "Ann", "given_name": "Ann", "family_name": "Lee"}, "ann", "Ann Lee"),
    ],
)
def test_a_user_name_is_made_of_what_there_is(browser, provider, claims, username, name):
    provider.set_claims("somebody", **claims)

    signed_in(browser, provider, "somebody")

    assert found(username).name == name


def test_users_are_only_linked_if_the_setting_says_so(app, browser, provider, monkeypatch):
    monkeypatch.setitem(app.config, "OIDC_CREATE_USERS", False)

    answer = signed_in(browser, provider)

    assert answer.status_code == 403
    assert "No user is linked to this account" in answer.text
    assert db.session.scalars(select(User)).all() == []


def test_a_blocked_user_stays_blocked_and_unchanged(app, browser, provider):
    signed_in(browser, provider)
    user = found("hanako.yamada")
    users.change_state(user, StateChange.BLOCK, by=SHELL)
    provider.set_claims("hanako", **HANAKO | {"name": "Another name"})

    answer = signed_in(Browser(app), provider)

    assert answer.status_code == 403
    assert "Your account has been blocked" in answer.text
    db.session.refresh(user)
    assert user.name == "山田 花子"


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "?code=x",
        "?code=x&state=unknown",
        "?error=access_denied&state=unknown",
    ],
)
def test_an_answer_that_this_browser_has_not_asked_for_is_refused(app, browser, provider, answer):
    other = Browser(app)
    begun(other)

    page = browser.get(CALLBACK + answer)

    assert page.status_code == 400
    assert "Start again" in page.text
    assert CALLBACK not in page.html, "the sign-in page does not lead back to it"
    assert db.session.scalars(select(User)).all() == []


def test_an_answer_counts_once(browser, provider):
    answer = path_of(provider.sign_in(begun(browser), "hanako"))
    browser.get(answer)

    again = browser.get(answer)

    assert again.status_code == 400
    assert "@hanako.yamada" in browser.get("/").text, "the session goes on"


def test_a_copy_of_the_cookie_cannot_complete_the_sign_in_again(app, browser, provider):
    answer = path_of(provider.sign_in(begun(browser), "hanako"))
    name, copy = app.config["SESSION_COOKIE_NAME"], Browser(app)
    copy.client.set_cookie(name, browser.client.get_cookie(name).value)
    browser.get(answer)

    again = copy.get(answer)

    assert again.status_code == 400
    assert "already completed" in again.text, "the provider is not asked"


def test_an_answer_comes_within_ten_minutes(browser, provider, monkeypatch):
    answer = path_of(provider.sign_in(begun(browser), "hanako"))
    monkeypatch.setattr(
        "registry.blueprints.auth.single_sign_on.utcnow", lambda: utcnow() + timedelta(minutes=10, seconds=1)
    )

    assert browser.get(answer).status_code == 400


def test_a_person_can_deny(browser, provider, caplog):
    page = browser.get(path_of(provider.deny(begun(browser))) + "&state=lost")
    assert page.status_code == 400, "the provider has to return the state"

    state = asked(begun(browser))["state"]
    caplog.set_level("INFO", "registry")
    page = browser.get(f"{CALLBACK}?error=access_denied&error_description=<b>&state={state}")

    assert page.status_code == 403
    assert "(access_denied)" in page.text
    assert "did not sign you in: access_denied" in caplog.text


@pytest.mark.parametrize("parameters", ["", "&code=wrong", "&code=x&iss=https://other.example"])
def test_an_answer_without_a_valid_code_is_refused(browser, provider, caplog, parameters):
    state = asked(begun(browser))["state"]

    page = browser.get(f"{CALLBACK}?state={state}{parameters}")

    assert page.status_code == 400
    assert "is not valid" in page.text
    assert "A sign-in at the identity provider was refused: " in caplog.text
    assert db.session.scalars(select(User)).all() == []


def test_the_code_of_another_sign_in_is_refused(app, browser, provider):
    """Its nonce is another one (the fake provider does not check PKCE)."""
    stolen = asked(provider.sign_in(begun(Browser(app)), "hanako"))["code"]
    state = asked(begun(browser))["state"]

    assert browser.get(f"{CALLBACK}?state={state}&code={stolen}").status_code == 400


def test_refused_codes_are_throttled_and_other_refusals_delay_no_one(app, browser, provider, monkeypatch):
    monkeypatch.setattr("registry.domain.accounts.sign_in.FREE_FAILED_EXCHANGES_BY_ADDRESS", 1)

    def answered(parameters: str) -> int:
        return browser.get(f"{CALLBACK}?state={asked(begun(browser))['state']}{parameters}").status_code

    assert [answered("&error=access_denied") for _ in range(2)] == [403, 403]
    with monkeypatch.context() as without_users:
        without_users.setitem(app.config, "OIDC_CREATE_USERS", False)
        assert [signed_in(browser, provider).status_code for _ in range(2)] == [403, 403]
    assert [answered("&code=invented") for _ in range(2)] == [400, 429]


def test_users_leave_the_provider_too(browser, provider):
    signed_in(browser, provider)
    stored = db.session.scalar(select(UserSession.id_token))

    url = left_for(browser.post("/users/sign_out"))

    assert url.startswith(f"{provider.url}/oauth2/end_session?")
    assert asked(url)["post_logout_redirect_uri"] == f"http://localhost{SIGN_IN}"
    hint = asked(url)["id_token_hint"]
    assert hint.count(".") == 2
    assert not set(hint.split(".")) & set(stored.split(".")), "only the browser can decrypt it"
    assert "Sign in" in browser.get("/explore").text


def test_users_leave_the_provider_too_after_they_have_changed_their_password(browser, provider, olivia, link):
    link(olivia)
    signed_in(browser, provider)
    new = {"current_password": PASSWORD, "password": "another long one", "repeated": "another long one"}
    assert browser.submit("/-/user_settings/password/edit", new).status_code == 303

    assert asked(left_for(browser.post("/users/sign_out")))["id_token_hint"].count(".") == 2


@pytest.fixture
def olivia(app: Flask) -> User:
    return factories.user("olivia", password=PASSWORD)


@pytest.fixture
def link(browser_of: Callable[[User], Browser], provider: IdentityProvider) -> Callable[..., Page]:
    """Links the account of a person to a user, from the account page on."""

    def link(user: User, subject: str = "hanako") -> Page:
        browser = browser_of(user)
        leaving = browser.submit(IDENTITY, {"current_password": PASSWORD})
        return browser.get(path_of(provider.sign_in(left_for(leaving), subject)))

    return link


def test_a_user_links_the_account_and_signs_in_with_it(browser, provider, olivia, link):
    answer = link(olivia)

    assert (answer.status_code, answer.location) == (303, IDENTITY)
    passwords.set_password(olivia, PASSWORD, must_change=True, by=SHELL)
    signed_in(browser, provider)
    assert "@olivia" in browser.get("/").text, "the password that has to be changed was not asked for"
    page = browser.submit(IDENTITY, {"current_password": PASSWORD}, action=f"{IDENTITY}/unlink")
    assert (page.status_code, page.location) == (303, IDENTITY)
    assert db.session.scalars(select(UserIdentity)).all() == []
    assert [event.author for event in events("user_identity_unlinked")] == ["olivia"]


@pytest.mark.parametrize("way", ["unlinked", "replaced"])
def test_sessions_of_an_account_end_when_it_is_unlinked_or_replaced(
    app, browser, browser_of, provider, olivia, link, way
):
    link(olivia)
    signed_in(browser, provider)
    own = browser_of(olivia)

    if way == "replaced":
        leaving = own.post(IDENTITY, {"current_password": PASSWORD})
        assert own.get(path_of(provider.sign_in(left_for(leaving), "taro"))).status_code == 303
    else:
        own.submit(IDENTITY, {"current_password": PASSWORD}, action=f"{IDENTITY}/unlink")

    assert browser.get(IDENTITY).status_code == 303, "to the page to sign in"
    assert own.get(IDENTITY).status_code == 200


def test_a_session_by_the_provider_needs_no_second_factor_here(app, browser, provider, olivia, link):
    link(olivia)
    instance.change_instance(InstanceChanges(require_two_factor_authentication=True), by=SHELL)

    signed_in(browser, provider)
    assert browser.get("/").status_code == 200, "none has to be set up"
    secret, now = second_factors.new_totp_secret(), utcnow()
    second_factors.add_app(olivia, secret, pyotp.TOTP(secret).at(now), key=app.config["TOKEN_KEY"], by=SHELL, now=now)
    again = Browser(app)
    signed_in(again, provider)
    assert again.get("/").status_code == 200, "none is asked for"


def test_an_account_is_linked_to_one_user(app, olivia, link):
    link(olivia)
    other = factories.user("other", password=PASSWORD)

    assert link(other).status_code == 409
    assert [identity.user_id for identity in db.session.scalars(select(UserIdentity))] == [olivia.id]


def test_linking_needs_the_password_and_the_same_user(app, browser_of, provider, olivia):
    browser = browser_of(olivia)
    assert browser.submit(IDENTITY, {"current_password": "wrong"}).status_code == 422
    answer = provider.sign_in(left_for(browser.submit(IDENTITY, {"current_password": PASSWORD})), "hanako")
    browser.sign_in(factories.user("other"))

    assert browser.get(path_of(answer)).status_code == 400
    assert db.session.scalars(select(UserIdentity)).all() == []


def test_a_user_without_a_password_cannot_unlink(browser, provider):
    signed_in(browser, provider)

    assert "You have no password" in browser.get(IDENTITY).text
    assert browser.post(f"{IDENTITY}/unlink", {"current_password": "x"}).status_code == 422


def test_a_user_without_a_password_reads_why_no_account_can_be_linked(browser, provider):
    browser.sign_in(factories.user("hanako"))

    page = browser.get(IDENTITY).text

    assert "needed to link an account" in page
    assert "cannot be unlinked" not in page


def test_a_provider_that_is_away_leaves_everything_else_working(app, browser, olivia, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setitem(app.extensions, "identity_provider", _configured(app, "http://127.0.0.1:9"))

    page = browser.submit(SIGN_IN, action=BEGIN)

    assert page.status_code == 503
    assert "does not respond" in page.text
    assert page.headers["Retry-After"] == "5"
    assert browser.submit(SIGN_IN, {"login": "olivia", "password": PASSWORD}).status_code == 303


def test_without_a_provider_there_is_no_such_sign_in(browser, olivia):
    assert "Sign in with" not in browser.get(SIGN_IN).text
    assert browser.post(BEGIN).status_code == 404
    assert browser.get(CALLBACK).status_code == 404
    assert browser.sign_in(olivia).get(IDENTITY).status_code == 404


@pytest.fixture
def platform(app: Flask, admin: User) -> Group:
    return factories.group("platform", owner=admin)


def role_of(username: str, group: Group) -> Role | None:
    role = select(Membership.role).where(Membership.user_id == found(username).id, Membership.namespace_id == group.id)
    return db.session.scalar(role)


def test_groups_of_the_provider_give_and_take_roles(app, browser, provider, platform, rest, admin):
    for group, role in (("eng", Role.DEVELOPER), ("leads", Role.MAINTAINER)):
        provider_roles.add(group, platform, role, by=SHELL)
    provider.set_claims("hanako", **HANAKO, groups=["eng", "leads", "other"])
    signed_in(browser, provider)
    assert role_of("hanako.yamada", platform) is Role.MAINTAINER

    provider.set_claims("hanako", **HANAKO, groups="eng")
    signed_in(Browser(app), provider)
    assert role_of("hanako.yamada", platform) is Role.DEVELOPER

    provider.set_claims("hanako", **HANAKO)
    signed_in(Browser(app), provider)
    assert role_of("hanako.yamada", platform) is None
    by_provider = [event for event in db.session.scalars(select(AuditEvent).order_by(AuditEvent.id))
                   if event.author == "OpenID Connect" and event.action.startswith("member_")]  # fmt: skip
    assert [event.action for event in by_provider] == ["member_added", "member_changed", "member_removed"]
    assert by_provider[1].details == {"role": {"before": "Maintainer", "after": "Developer"}}


def test_a_membership_by_a_group_is_marked_and_cannot_be_changed_here(
    browser, browser_of, provider, platform, admin, rest
):
    provider_roles.add("eng", platform, Role.DEVELOPER, by=SHELL)
    provider.set_claims("hanako", **HANAKO, groups=["eng"])
    signed_in(browser, provider)
    user, members = found("hanako.yamada"), "/groups/platform/-/group_members"
    page = browser_of(admin).get(members)

    assert "Group of the identity provider: eng" in page.text
    assert f"{members}/{user.id}" not in page.html
    assert browser_of(admin).post(f"{members}/{user.id}/remove").status_code == 403
    of_group, token = f"/groups/{platform.id}/members", factories.access_token(admin)
    marks = {member["username"]: member["from_provider"] for member in rest.get(of_group, token).json}
    assert marks == {"root": False, user.username: True}
    assert rest.put(f"{of_group}/{user.id}", token, {"access_level": 50}).status_code == 403
    with pytest.raises(Forbidden, match="identity provider"):
        namespaces.change_member(platform, user, Role.OWNER, by=SHELL)


@pytest.mark.parametrize("expires_on", [None, utcnow().date() + timedelta(days=30)], ids=["permanent", "expiring"])
def test_a_membership_that_was_added_here_stays_if_it_is_enough(app, browser, provider, platform, expires_on):
    provider_roles.add("eng", platform, Role.DEVELOPER, by=SHELL)
    signed_in(browser, provider)
    namespaces.add_member(platform, found("hanako.yamada"), Role.MAINTAINER, expires_on=expires_on, by=SHELL)
    for groups in (["eng"], []):
        provider.set_claims("hanako", **HANAKO, groups=groups)
        signed_in(Browser(app), provider)

    assert role_of("hanako.yamada", platform) is Role.MAINTAINER


def test_the_last_owner_by_a_group_keeps_the_role_with_a_mark_until_there_is_another(
    app, browser_of, provider, platform, admin
):
    def sign_in_with(*groups: str) -> str:
        provider.set_claims("hanako", **HANAKO, groups=list(groups))
        signed_in(Browser(app), provider)
        return browser_of(admin).get("/groups/platform/-/group_members").text

    for group, role in (("leads", Role.OWNER), ("eng", Role.DEVELOPER)):
        provider_roles.add(group, platform, role, by=SHELL)
    assert "Group of the identity provider: leads" in sign_in_with("leads")
    namespaces.remove_member(platform, admin, by=SHELL)

    for groups in (["eng"], []):
        assert "Kept as the last Owner" in sign_in_with(*groups)
        assert role_of("hanako.yamada", platform) is Role.OWNER
    again = sign_in_with("leads")
    assert "Group of the identity provider: leads" in again
    assert "Kept as the last Owner" not in again
    assert "Kept as the last Owner" in sign_in_with()

    namespaces.add_member(platform, admin, Role.OWNER, by=SHELL)
    sign_in_with("eng")
    assert role_of("hanako.yamada", platform) is Role.DEVELOPER
    sign_in_with()
    assert role_of("hanako.yamada", platform) is None


def test_a_role_by_a_group_lasts_no_longer_than_the_group(app, browser, provider, platform, olivia, link):
    provider_roles.add("eng", platform, Role.OWNER, by=SHELL)
    provider.set_claims("taro", **HANAKO, groups=["eng"])
    link(olivia, "taro")
    signed_in(browser, provider, "taro")
    assert role_of("olivia", platform) is Role.OWNER

    subgroup, by = factories.group("tools", parent=platform), factories.signed_in(olivia)
    with pytest.raises(InvalidRecord, match="comes from a group"):
        namespaces.add_member(subgroup, olivia, Role.REPORTER, by=by)
    with pytest.raises(Forbidden):
        namespaces.transfer(subgroup, None, by=by)
    browser.submit(IDENTITY, {"current_password": PASSWORD}, action=f"{IDENTITY}/unlink")
    assert role_of("olivia", platform) is None

    link(olivia, "taro")
    signed_in(Browser(app), provider, "taro")
    identities.link(olivia, Person(provider.url, "hanako"), by=SHELL)
    assert role_of("olivia", platform) is None, "it ends with the link to another account"


def test_the_creator_of_a_subgroup_owns_it_while_the_group_of_the_provider_gives_the_role_above(
    app, browser, browser_of, provider, platform, admin
):
    def sign_in_with(*groups: str) -> None:
        provider.set_claims("hanako", **HANAKO, groups=list(groups))
        signed_in(Browser(app), provider)

    provider_roles.add("leads", platform, Role.MAINTAINER, by=SHELL)
    sign_in_with("leads")
    by = factories.signed_in(found("hanako.yamada"))
    tools, given, more = [
        namespaces.create_group(name=path, path=path, parent=platform, by=by) for path in ("tools", "given", "more")
    ]
    provider_roles.add("eng", tools, Role.DEVELOPER, by=SHELL)
    namespaces.change_member(given, by.user, Role.OWNER, by=factories.signed_in(admin))
    with pytest.raises(InvalidRecord, match="comes from a group"):
        namespaces.change_member(tools, by.user, Role.OWNER, by=by)

    sign_in_with("leads", "eng")
    assert role_of("hanako.yamada", tools) is Role.OWNER
    members = browser_of(admin).get("/groups/platform/tools/-/group_members").text
    assert "the role above lasts, which comes from the identity provider" in members

    sign_in_with("eng")
    assert role_of("hanako.yamada", tools) is Role.DEVELOPER
    assert role_of("hanako.yamada", more) is None
    assert role_of("hanako.yamada", given) is Role.OWNER, "which an Owner has given since"


def test_an_admin_group_makes_administrators_but_always_leaves_one(app, browser, provider, monkeypatch):
    monkeypatch.setitem(app.config, "OIDC_ADMIN_GROUP", "admins")
    provider.set_claims("hanako", **HANAKO, groups=["admins"])
    signed_in(browser, provider)
    assert found("hanako.yamada").is_admin

    provider.set_claims("hanako", **HANAKO, groups=[])
    signed_in(Browser(app), provider)
    db.session.expire_all()
    assert found("hanako.yamada").is_admin, "there is no other"
    factories.user("root", is_admin=True)
    signed_in(Browser(app), provider)
    db.session.expire_all()
    assert not found("hanako.yamada").is_admin


def test_nobody_signs_in_with_groups_that_the_provider_does_not_list(browser, provider, platform):
    provider.set_claims("hanako", **HANAKO, _claim_names={"groups": "src1"})
    provider_roles.add("eng", platform, Role.DEVELOPER, by=SHELL)

    page = signed_in(browser, provider)

    assert page.status_code == 403
    assert "too many groups" in page.text


def test_administrators_edit_the_table_of_groups(browser, browser_of, provider, platform, admin):
    table = "/admin/provider_roles"
    administrator = browser_of(admin)
    entry = {"provider_group": "eng", "group": "platform", "role": "20"}

    assert "no group with this path" in administrator.submit(table, entry | {"group": "missing"}).text
    assert administrator.submit(table, entry).status_code == 303
    assert administrator.submit(table, entry).status_code == 422
    provider.set_claims("hanako", **HANAKO, groups=["eng"])
    signed_in(browser, provider)
    (added,) = provider_roles.provider_roles()
    assert role_of("hanako.yamada", platform) is Role.REPORTER
    assert administrator.post(f"{table}/{added.id}/delete").status_code == 303

    assert role_of("hanako.yamada", platform) is None
    assert browser.get(table).status_code == 403


def test_passwords_can_be_switched_off_except_after_a_reset_in_the_shell(app, browser, provider, admin, monkeypatch):
    monkeypatch.setitem(app.config, "PASSWORD_SIGN_IN", False)
    passwords.set_password(admin, PASSWORD, by=SHELL)
    factories.user("olivia", password=PASSWORD)
    sent = {"login": "root", "password": PASSWORD}
    page = browser.get(SIGN_IN)
    assert 'name="password"' not in page.html
    assert "Sign in with Acme" in page.text
    refused = [browser.submit(f"{SIGN_IN}?password", sent | changes, action=SIGN_IN) for changes in (
        {}, {"login": "olivia"}, {"login": "unknown"},
    )]  # fmt: skip
    assert {(answer.status_code, "Invalid login or password." in answer.text) for answer in refused} == {(422, True)}
    assert "turned off. Sign in with Acme." in refused[0].text

    runner = app.test_cli_runner()
    other = runner.invoke(args=["users", "reset-password", "olivia", "--password-stdin"], input=f"{PASSWORD}\n")
    assert "except for administrators" in other.output
    answer = browser.submit(f"{SIGN_IN}?password", sent | {"login": "olivia"}, action=SIGN_IN)
    assert answer.status_code == 422
    monkeypatch.setitem(app.config, "PASSWORD_SIGN_IN", True)  # in the shell, which lacks the variable
    reset = runner.invoke(args=["users", "reset-password", "root", "--password-stdin"], input=f"{PASSWORD}\n")
    monkeypatch.setitem(app.config, "PASSWORD_SIGN_IN", False)
    assert "accepted for an hour, at /users/sign_in?password" in reset.output
    assert 'name="password"' in browser.get(f"{SIGN_IN}?password").html
    assert browser.submit(f"{SIGN_IN}?password", sent, action=SIGN_IN).status_code == 303
    assert not passwords.is_accepted_again(users.by_login("root"), utcnow() + timedelta(hours=1))
