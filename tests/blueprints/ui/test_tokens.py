"""Personal access tokens and deploy tokens: made, shown once, rotated, revoked."""

from __future__ import annotations

import base64
from datetime import timedelta

import pytest
from sqlalchemy import select

from registry.database import db, utcnow
from registry.domain import instance
from registry.domain.access import SHELL
from registry.domain.accounts import access_tokens, deploy_tokens
from registry.models import AccessToken, DeployToken, Role
from tests import factories
from tests.builders import build_wheel

TOKENS = "/-/user_settings/personal_access_tokens"
REPOSITORY = "/acme/tools/-/settings/repository"
GROUP_REPOSITORY = "/groups/acme/-/settings/repository"
CREATE = "/acme/tools/-/deploy_tokens"
GROUP_CREATE = "/groups/acme/-/deploy_tokens"
HOSTILE = '"><img src=x onerror=alert(1)>'


def shown(page, field="issued-token"):
    """The secret that is shown once in a field to copy from."""
    return next((box.get("value") for box in page.tree.iter("input") if box.get("id") == field), None)


def section(page, heading):
    """The rows of the table below a heading, as words."""
    found = []
    heard = False
    for element in page.tree.iter():
        if element.tag in ("h2", "h3"):
            heard = "".join(element.itertext()).startswith(heading)
        if heard and element.tag == "tr":
            found.append(" ".join("".join(element.itertext()).split()))
    return found[1:]


def own_token(user, name="laptop", **fields):
    """A token, and its secret."""
    return access_tokens.issue_access_token(
        user, name=name, scopes=["api"], key=factories.token_key(), by=SHELL, now=utcnow(), **fields
    )


def is_alive(rest, secret):
    return rest.get("/user", secret).status_code == 200


def project_token(project, name="servers"):
    return deploy_tokens.issue_deploy_token(
        project, name=name, scopes=["read_package_registry"], key=factories.token_key(), by=SHELL
    )


def test_a_token_is_created_shown_once_and_works(browser_of, rest, owner):
    browser = browser_of(owner)

    made = browser.submit(TOKENS, {"name": "laptop", "scopes": "api"})
    secret = shown(made)
    again = browser.get(TOKENS)

    assert made.status_code == 200
    assert secret.startswith("glpat-")
    assert "Make sure you save it. You won't be able to see it again." in made.text
    assert f"export REGISTRY_TOKEN='{secret}'" in made.text
    assert is_alive(rest, secret)
    assert secret not in again.html
    assert section(again, "Active")[0].startswith("laptop api")


def test_the_answer_with_a_secret_is_kept_nowhere(browser_of, owner):
    browser = browser_of(owner)

    made = browser.submit(TOKENS, {"name": "laptop", "scopes": "api"})

    secret = shown(made)
    encoded = base64.b64encode(secret.encode()).decode().rstrip("=")
    cookies = " ".join(made.headers.getlist("Set-Cookie"))
    assert made.headers["Cache-Control"] == "no-store"
    assert secret not in cookies
    assert encoded not in cookies


def test_a_token_is_valid_for_thirty_days_by_default(browser_of, owner):
    browser_of(owner).submit(TOKENS, {"name": "laptop", "scopes": "api"})

    assert found_token(owner).expires_on == (utcnow() + timedelta(days=30)).date()


def found_token(user):
    return db.session.scalars(select(AccessToken).where(AccessToken.user_id == user.id)).one()


def test_the_address_fills_in_the_form(browser_of, owner):
    page = browser_of(owner).get(f"{TOKENS}?name=pip+{HOSTILE}&scopes=read_api,read_user,sudo&description=why")

    fields = page.fields(TOKENS)
    checked = [box.get("value") for box in page.tree.iter("input") if box.get("checked") is not None]
    assert fields["name"] == f"pip {HOSTILE}"
    assert fields["description"] == "why"
    assert checked == ["read_api", "read_user"]


def test_an_empty_project_leads_to_a_token_and_back(browser_of, owner, project):
    foreign = factories.project("secret")
    browser = browser_of(owner)
    home = browser.get("/acme/tools")
    link = next(link for link in home.links if link.startswith(f"{TOKENS}?"))
    action = f"{TOKENS}?project=acme/tools"
    form = browser.get(link)

    made = browser.submit(link, action=action)

    assert form.fields(action)["name"] == "Publish to acme/tools"
    assert found_token(owner).scopes == ["api"]
    assert f"TWINE_PASSWORD={shown(made)}" in made.text
    assert f"/api/v4/projects/{project.id}/packages/pypi" in made.text
    assert "/acme/tools" in made.links
    assert not [
        link for link in browser.get(f"{TOKENS}?project={foreign.full_path}").links if foreign.full_path in link
    ]


def test_the_old_address_leads_to_the_new_one_with_all_it_asks_for(browser_of, owner):
    answer = browser_of(owner).get("/-/profile/personal_access_tokens?name=pip&scopes=api&_external=1")

    assert (answer.status_code, answer.location) == (301, f"{TOKENS}?name=pip&scopes=api&_external=1")


def test_only_administrators_are_offered_to_act_as_others(browser_of, owner, admin):
    assert 'value="sudo"' not in browser_of(owner).get(TOKENS).html
    assert 'value="sudo"' in browser_of(admin).get(TOKENS).html


@pytest.mark.parametrize(
    ("sent", "errors"),
    [
        ({"name": "", "scopes": "api"}, {"name": "This field is required."}),
        ({"name": " ", "scopes": "api"}, {"name": "This field is required."}),
        ({"name": "x" * 256, "scopes": "api"}, {"name": "Use at most 255 characters."}),
        ({"name": "laptop"}, {"scopes": "Select at least one scope."}),
        ({"name": "laptop", "scopes": "sudo"}, {"scopes": "Choose one of the available options."}),
        (
            {"name": "laptop", "scopes": "api", "expires_on": "someday"},
            {"expires_on": "Enter a date, such as 2030-12-31."},
        ),
    ],
    ids=["no name", "blank name", "long name", "no scope", "a scope not offered", "no date"],
)
def test_a_refused_form_shows_why_and_keeps_its_values(browser_of, owner, sent, errors):
    page = browser_of(owner).submit(TOKENS, sent)

    assert (page.status_code, page.errors) == (422, errors)
    assert page.fields(TOKENS)["name"] == sent["name"]
    assert shown(page) is None
    assert db.session.scalar(select(AccessToken)) is None


def test_a_token_cannot_outlive_the_limit_of_the_instance(browser_of, owner):
    instance.change_instance(instance.InstanceChanges(max_personal_access_token_lifetime=10), by=SHELL)
    too_late = (utcnow() + timedelta(days=11)).date()
    browser = browser_of(owner)

    page = browser.submit(TOKENS, {"name": "laptop", "scopes": "api", "expires_on": too_late.isoformat()})
    made = browser.submit(TOKENS, {"name": "laptop", "scopes": "api"})

    assert page.errors == {"expires_on": f"Choose a date before {too_late}."}
    assert made.status_code == 200
    assert found_token(owner).expires_on == (utcnow() + timedelta(days=10)).date()


def test_where_the_instance_requires_no_expiry_a_token_can_be_unlimited(browser_of, owner):
    instance.change_instance(instance.InstanceChanges(require_personal_access_token_expiry=False), by=SHELL)

    browser_of(owner).submit(TOKENS, {"name": "laptop", "scopes": "api", "expires_on": ""})

    assert found_token(owner).expires_on is None
    assert "Never" in section(browser_of(owner).get(TOKENS), "Active")[0]


def test_a_token_is_revoked_after_a_confirmation(browser_of, rest, owner):
    token, secret = own_token(owner)
    browser = browser_of(owner)

    page = browser.get(TOKENS)
    answer = browser.submit(TOKENS, action=f"{TOKENS}/{token.id}/revoke")
    after = browser.get(answer.location)

    assert "Are you sure you want to revoke laptop?" in page.text
    assert after.flashes == ["Revoked personal access token laptop."]
    assert section(after, "Active") == []
    assert section(after, "Inactive")[0].startswith("laptop api")
    assert not is_alive(rest, secret)


def test_a_token_is_rotated_and_the_new_one_shown_once(browser_of, rest, owner):
    token, secret = own_token(owner, expires_on=(utcnow() + timedelta(days=60)).date())
    browser = browser_of(owner)

    page = browser.submit(TOKENS, action=f"{TOKENS}/{token.id}/rotate")
    fresh = shown(page)

    assert fresh not in (None, secret)
    assert (is_alive(rest, secret), is_alive(rest, fresh)) == (False, True)
    assert fresh not in browser.get(TOKENS).html
    found = access_tokens.find_access_token(fresh, factories.token_key())
    assert (found.name, found.expires_on) == ("laptop", (utcnow() + timedelta(days=60)).date())


def test_rotating_a_revoked_token_revokes_nothing_else(browser_of, rest, owner):
    token, _ = own_token(owner)
    browser = browser_of(owner)
    fresh = shown(browser.submit(TOKENS, action=f"{TOKENS}/{token.id}/rotate"))

    answer = browser.post(f"{TOKENS}/{token.id}/rotate")

    assert answer.location == TOKENS
    assert browser.get(TOKENS).flashes == ["Only an active token can be rotated."]
    assert is_alive(rest, fresh)


@pytest.mark.parametrize("verb", ["revoke", "rotate"])
@pytest.mark.parametrize("who", ["outsider", "admin"])
def test_tokens_of_others_are_not_found_here(browser_of, request, rest, owner, verb, who):
    token, secret = own_token(owner)
    other = request.getfixturevalue(who)

    answer = browser_of(other).post(f"{TOKENS}/{token.id}/{verb}")

    assert answer.status_code == 404
    assert is_alive(rest, secret)
    assert "laptop" not in browser_of(other).get(TOKENS).text


def test_anonymous_visitors_have_no_tokens(browser):
    assert browser.get(TOKENS).location == f"/users/sign_in?next={TOKENS}"
    assert browser.post(TOKENS, {"name": "x", "scopes": "api"}).status_code == 303


def test_a_form_without_the_token_of_the_session_makes_and_revokes_nothing(browser_of, rest, owner, project):
    token, secret = own_token(owner)
    deploy_token, _ = project_token(project)
    browser = browser_of(owner)

    for path in (
        TOKENS, f"{TOKENS}/{token.id}/revoke", f"{TOKENS}/{token.id}/rotate", CREATE, GROUP_CREATE,
        f"{CREATE}/{deploy_token.id}/revoke",
    ):  # fmt: skip
        answer = browser.open(path, method="POST", data={"name": "x", "scopes": ["api", "read_package_registry"]})
        assert answer.status_code == 400

    factories.reload(deploy_token)
    assert is_alive(rest, secret)
    assert deploy_token.revoked_at is None
    assert found_token(owner) is not None


def test_names_of_tokens_are_shown_as_text(browser_of, owner, project):
    own_token(owner, name=HOSTILE, description=HOSTILE)
    project_token(project, name=HOSTILE)
    browser = browser_of(owner)

    for path in (TOKENS, REPOSITORY):
        page = browser.get(path)
        assert page.text.count(HOSTILE) >= 2
        assert len(list(page.tree.iter("img"))) == 1


def test_more_tokens_cost_no_more_statements(browser_of, owner, project, statements):
    browser = browser_of(owner)
    own_token(owner)
    project_token(project)

    def cost(path):
        before = len(statements)
        assert browser.get(path).status_code == 200
        return len(statements) - before

    few = [cost(TOKENS), cost(REPOSITORY)]
    for number in range(25):
        own_token(owner, name=f"token {number}")
        project_token(project, name=f"token {number}")

    assert [cost(TOKENS), cost(REPOSITORY)] == few
    assert len(section(browser.get(TOKENS), "Active")) == 20


@pytest.mark.parametrize(("page", "create"), [(REPOSITORY, CREATE), (GROUP_REPOSITORY, GROUP_CREATE)])
def test_a_deploy_token_is_created_shown_once_and_works(browser_of, pip, owner, group, project, page, create):
    factories.published(project, build_wheel("demo"))
    browser = browser_of(owner)

    made = browser.submit(page, {"name": "servers", "scopes": "read_package_registry"}, action=create)
    secret, username = shown(made), shown(made, "issued-username")
    again = browser.get(page)

    assert made.status_code == 200
    assert made.headers["Cache-Control"] == "no-store"
    assert secret.startswith("gldt-")
    assert username.startswith("gitlab+deploy-token-")
    assert "Make sure you save it. You won't be able to see it again." in made.text
    assert pip.index(project, (username, secret)).status_code == 200
    kind, namespace = ("groups", group) if page == GROUP_REPOSITORY else ("projects", project)
    index = f"{username}:{secret}@localhost/api/v4/{kind}/{namespace.id}{'/-' * (kind == 'groups')}/packages/pypi"
    assert f"pip install demo --index-url http://{index}/simple" in made.text
    assert "twine" not in made.text, "which takes another scope"
    assert secret not in again.html
    assert section(again, "Active")[0].startswith(f"servers {username}")


def test_a_deploy_token_can_have_a_user_name_and_an_expiry_date(browser_of, owner, project):
    tomorrow = (utcnow() + timedelta(days=1)).date()
    sent = {"name": "ci", "username": "robot", "expires_on": tomorrow.isoformat(), "scopes": "write_package_registry"}

    made = browser_of(owner).submit(REPOSITORY, sent, action=CREATE)

    token = db.session.scalars(select(DeployToken)).one()
    assert shown(made, "issued-username") == "robot"
    assert "TWINE_USERNAME=robot" in made.text
    assert f"TWINE_PASSWORD={shown(made)}" in made.text
    assert token.expires_at == deploy_tokens.starts_at(tomorrow)


@pytest.mark.parametrize(
    ("sent", "errors"),
    [
        ({"name": "", "scopes": "read_package_registry"}, {"name": "This field is required."}),
        ({"name": "servers"}, {"scopes": "Select at least one scope."}),
        (
            {"name": "servers", "scopes": "read_package_registry", "username": "a b"},
            {"username": "Use only letters, digits, '_', '-', '+', and '.'."},
        ),
    ],
    ids=["no name", "no scope", "username"],
)
def test_a_refused_deploy_token_shows_why(browser_of, owner, project, sent, errors):
    page = browser_of(owner).submit(REPOSITORY, sent, action=CREATE)

    assert (page.status_code, page.errors) == (422, errors)
    assert page.fields(CREATE)["name"] == sent["name"]
    assert db.session.scalar(select(DeployToken)) is None


def test_a_deploy_token_is_revoked_after_a_confirmation(browser_of, pip, owner, project):
    token, secret = project_token(project)
    browser = browser_of(owner)
    path = f"{CREATE}/{token.id}/revoke"

    page = browser.get(REPOSITORY)
    answer = browser.submit(REPOSITORY, action=path)
    after = browser.get(REPOSITORY)

    assert "Are you sure you want to revoke servers?" in page.text
    assert answer.location == f"{REPOSITORY}#js-deploy-tokens"
    assert after.flashes == ["Deploy token servers was revoked."]
    assert "There are no active deploy tokens." in after.text
    assert pip.index(project, secret).status_code == 401


def test_a_deploy_token_of_elsewhere_is_not_found_here(browser_of, owner, project):
    token, _ = project_token(factories.project())

    assert browser_of(owner).post(f"{CREATE}/{token.id}/revoke").status_code == 404
    assert browser_of(owner).post(f"{GROUP_CREATE}/{token.id}/revoke").status_code == 404


@pytest.mark.parametrize(
    ("role", "read_status", "may_change_project", "may_change_group"),
    [
        (None, 404, False, False),
        (Role.DEVELOPER, 403, False, False),
        (Role.MAINTAINER, 200, True, False),
        (Role.OWNER, 200, True, True),
    ],
)
def test_deploy_tokens_are_the_maintainers_and_those_of_groups_the_owners(
    browser_of, group, project, role, read_status, may_change_project, may_change_group
):
    user = factories.user() if role is None else factories.member(group, role)
    browser = browser_of(user)
    sent = {"name": "x", "scopes": "read_package_registry"}

    for page, create, may_change, holder in (
        (REPOSITORY, CREATE, may_change_project, project),
        (GROUP_REPOSITORY, GROUP_CREATE, may_change_group, group),
    ):
        token, _ = project_token(holder)
        refused = 404 if role is None else 403
        shown_page = browser.get(page)
        assert shown_page.status_code == read_status
        assert ("Add token" in shown_page.text) is may_change
        assert browser.post(create, sent).status_code == (200 if may_change else refused)
        assert browser.post(f"{create}/{token.id}/revoke").status_code == (303 if may_change else refused)


def test_anonymous_visitors_are_asked_to_sign_in(browser, project):
    assert browser.get(REPOSITORY).location == f"/users/sign_in?next={REPOSITORY}"


@pytest.mark.parametrize("path", [TOKENS, REPOSITORY, GROUP_REPOSITORY])
@pytest.mark.parametrize("language", ["en", "ja"])
def test_every_page_is_whole_in_both_languages(browser_of, owner, group, project, path, language):
    token, _ = own_token(owner)
    access_tokens.revoke_access_token(token, by=SHELL, now=utcnow())
    own_token(owner)
    project_token(project)
    project_token(group)

    page = browser_of(owner).get(path, headers={"Accept-Language": language})

    assert page.status_code == 200
    assert page.tree.get("lang") == language
    assert ("トークン" in page.text) is (language == "ja")
