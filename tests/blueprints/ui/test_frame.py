"""What all pages have in common: valid HTML in both languages, headers, forms with tokens, error pages, navigation."""

from __future__ import annotations

import re

import pytest
from sqlalchemy.exc import OperationalError

from registry.config import ROOT
from registry.domain import namespaces
from registry.domain.access import SHELL
from registry.domain.accounts import users
from registry.models import ColorScheme, Project, RegistryAccess, Role, Visibility
from tests import factories
from tests.builders import build_wheel

HOSTILE = "<script>alert(1)</script>\"'&{{7*7}}"


@pytest.fixture
def world(owner, group, project):
    """Groups, projects, packages and members whose texts try to break out."""
    namespaces.change(group, namespaces.NamespaceChanges(description=HOSTILE, name=HOSTILE), by=SHELL)
    namespaces.change(project, namespaces.NamespaceChanges(description=HOSTILE, name=HOSTILE), by=SHELL)
    users.change_user(owner, users.UserChanges(name=HOSTILE, bio=HOSTILE), by=SHELL)
    factories.group("inner", parent=group, description=HOSTILE)
    factories.project("legacy", parent=group)
    factories.project("scratch", parent=users.personal_namespace(owner))
    factories.member(project, Role.DEVELOPER, "dora")
    for version in ("1.0", "2.0"):
        factories.published(project, build_wheel("demo", version))
    return owner


PAGES = [
    "/", "/dashboard/groups", "/explore", "/explore/groups", "/search?q=ac", "/search?q=%3Cb%3E", "/acme",
    "/acme?tab=groups", "/acme?search=nothing", "/acme/inner", "/acme/tools", "/acme/legacy", "/olivia", "/groups/new",
    "/projects/new", "/groups/acme/-/edit", "/acme/tools/edit", "/groups/acme/-/delete", "/acme/tools/-/delete",
    "/acme/tools/-/project_members", "/groups/acme/-/group_members", "/acme/tools/-/usage_quotas",
    "/groups/acme/-/usage_quotas", "/acme/legacy/-/usage_quotas", "/-/user_settings/profile",
    "/-/user_settings/password/edit", "/-/user_settings/preferences",
]  # fmt: skip


@pytest.mark.parametrize("language", ["en", "ja"])
def test_every_page_is_valid_html_with_a_heading_and_a_title(browser_of, world, language):
    for path, page in opened(browser_of(world), language):
        assert page.status_code == 200, path
        assert page.tree.get("lang") == language, path
        assert len(list(page.tree.iter("h1"))) == 1, path
        assert not page.title.startswith(" · "), path


def test_no_page_runs_text_of_its_users(browser_of, world):
    for path, page in opened(browser_of(world)):
        scripts = [script.get("src", "").partition("?")[0] for script in page.tree.iter("script")]
        attributes = {name for element in page.tree.iter() for name in element.attrib}

        assert scripts == ["/static/app.js"], path
        assert not {name for name in attributes if name == "style" or name.startswith("on")}, path
        assert HOSTILE.replace("7*7", "49") not in page.text, path


def test_every_field_has_a_label_and_every_id_is_unique(browser_of, world):
    for path, page in opened(browser_of(world)):
        ids = [element.get("id") for element in page.tree.iter() if element.get("id")]
        labelled = {label.get("for") for label in page.tree.iter("label")}
        unlabelled = [
            field.get("name")
            for tag in ("input", "select", "textarea")
            for field in page.tree.iter(tag)
            if field.get("type") not in ("hidden", "submit")
            and field.get("hidden") is None
            and field.get("id") not in labelled
            and field.get("aria-label") is None
        ]

        assert sorted(ids) == sorted(set(ids)), path
        assert unlabelled == [], path


def opened(browser, language="en"):
    """Each path and its page."""
    for path in PAGES:
        yield path, browser.get(path, headers={"Accept-Language": language})


@pytest.mark.parametrize("path", ["/explore", "/users/sign_in", "/static/none", "/acme", "/-/none"])
def test_nothing_but_our_own_files_runs_in_a_page(browser, app, path):
    headers = browser.get(path).headers

    assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"


def test_pages_of_a_signed_in_user_are_not_cached(browser_of, owner):
    assert browser_of(owner).get("/explore").headers["Cache-Control"] == "no-store"


def test_a_page_without_forms_sets_no_cookie(browser, app):
    assert "Set-Cookie" not in browser.get("/explore").headers


def test_static_files_are_kept_by_an_address_that_changes_with_their_content(browser, app):
    page = browser.get("/explore")
    address = next(link.get("href", "") for link in page.tree.iter("link") if "app.css" in link.get("href", ""))

    kept = browser.client.get(address, buffered=True)
    asked_plainly = browser.client.get("/static/app.css", buffered=True)

    assert "?v=" in address
    assert kept.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert "immutable" not in asked_plainly.headers.get("Cache-Control", "")


def test_control_characters_do_not_break_a_page(browser, app):
    page = browser.get("/search?q=%00%0b%1b%C2%85%EF%BF%BE")

    assert page.tree is not None


def test_a_form_without_its_token_is_refused(browser_of, owner, group):
    browser = browser_of(owner)

    answer = browser.open("/groups/acme/-/edit", method="POST", data={"name": "Changed", "visibility": "0"})

    factories.reload(group)
    assert answer.status_code == 400
    assert "This form is no longer valid" in answer.text
    assert group.name == "Acme"


def test_the_form_token_of_another_session_is_refused(app, browser, browser_of, owner, group):
    foreign = browser.get("/users/sign_in").fields("/users/sign_in")["csrf_token"]

    answer = browser_of(owner).open(
        "/groups/acme/-/edit", method="POST", data={"csrf_token": foreign, "name": "Changed", "visibility": "0"}
    )

    assert answer.status_code == 400


def test_the_api_asks_for_no_token_of_a_form(rest, owner):
    assert rest.post("/groups", factories.access_token(owner), {"name": "New", "path": "new-one"}).status_code == 201


@pytest.mark.parametrize("path", ["/acme", "/acme/tools", "/nowhere", "/nowhere/at/all", "/acme/nowhere"])
def test_private_and_missing_pages_look_the_same_to_visitors(browser, project, path):
    answer = browser.get(path)

    assert (answer.status_code, answer.location) == (303, f"/users/sign_in?next={path}")


@pytest.mark.parametrize(
    "path", ["/acme", "/acme/tools", "/acme/tools/edit", "/groups/acme/-/edit", "/nowhere", "/groups/acme", "/-/none"]
)
def test_a_stranger_finds_nothing_where_something_is_hidden(browser_of, outsider, project, path):
    answer = browser_of(outsider).get(path)

    assert answer.status_code == 404
    assert "Page not found" in answer.text


def test_a_page_that_requires_a_higher_role_shows_it(browser_of, developer):
    answer = browser_of(developer).get("/acme/tools/edit")

    assert answer.status_code == 403
    assert "You cannot do this here" in answer.text


def test_an_address_of_the_api_answers_json_and_another_a_page(browser, app):
    assert browser.open("/api/v4/none", method="GET").headers["Content-Type"] == "application/json"
    assert browser.get("/static/none").headers["Content-Type"].startswith("text/html")


def test_a_wrong_method_gets_a_list_of_the_allowed_ones(browser, app):
    answer = browser.open("/explore", method="POST")

    assert answer.status_code == 405
    assert "GET" in answer.headers["Allow"]
    assert answer.tree is not None


def test_a_broken_page_is_a_page_that_asks_the_database_nothing(browser_of, owner, monkeypatch):
    browser = browser_of(owner)

    def fail(*_: object, **__: object) -> None:
        raise OperationalError("SELECT", {}, Exception("gone"))

    monkeypatch.setattr("registry.domain.namespaces.projects", fail)
    answer = browser.get("/explore")

    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "5"
    assert "The registry is temporarily unavailable" in answer.text


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("ja", "ja"),
        ("ja-JP,ja;q=0.9,en;q=0.8", "ja"),
        ("de,en;q=0.5", "en"),
        ("de", "en"),
        ("", "en"),
        ("en-GB,ja;q=0.5", "en"),
    ],
)
def test_the_language_is_the_one_the_browser_likes_best_of_those_there_are(browser, app, accepted, language):
    assert browser.get("/explore", headers={"Accept-Language": accepted}).tree.get("lang") == language


def test_the_language_a_user_chose_comes_first(browser_of, owner):
    users.change_preferences(owner, language="ja", color_scheme=ColorScheme.AUTO)

    page = browser_of(owner).get("/", headers={"Accept-Language": "en"})

    assert page.tree.get("lang") == "ja"
    assert "検索・移動…" in page.html


@pytest.mark.parametrize(("scheme", "shown"), [("auto", None), ("light", "light"), ("dark", "dark")])
def test_the_colour_scheme_is_the_users_or_the_systems(browser_of, owner, scheme, shown):
    users.change_preferences(owner, language="", color_scheme=ColorScheme(scheme))

    assert browser_of(owner).get("/").tree.get("data-bs-theme") == shown


def sidebar(page):
    navigation = next(element for element in page.tree.iter("nav") if element.get("id") == "sidebar")
    return ["".join(link.itertext()) for item in navigation.iter("li") for link in item.iter("a")]


@pytest.mark.parametrize(
    ("role", "entries"),
    [
        (Role.GUEST, ["Members"]),
        (Role.MAINTAINER, ["Members", "General", "Usage quotas"]),
    ],
    ids=str,
)
def test_the_sidebar_offers_what_the_role_allows(browser_of, project: Project, role, entries):
    page = browser_of(factories.member(project, role)).get("/acme/tools")

    assert [entry for entry in sidebar(page) if entry in ("Members", "General", "Usage quotas")] == entries


def test_the_current_page_is_marked(browser_of, owner, project):
    page = browser_of(owner).get("/acme/tools/-/project_members")

    marked = [element for element in page.tree.iter("a") if element.get("aria-current") == "page"]
    assert ["".join(element.itertext()) for element in marked] == ["Members"]


def test_a_visitor_sees_public_projects_and_no_forms_to_change_them(browser):
    group = factories.group("open", visibility=Visibility.PUBLIC)
    factories.project("lib", parent=group, visibility=Visibility.PUBLIC, registry_access=RegistryAccess.DISABLED)

    page = browser.get("/open/lib")

    assert page.status_code == 200
    assert "The package registry is disabled for this project" in page.text
    assert "An Owner can turn it on in the general settings." in page.text
    assert not [form for form in page.tree.iter("form") if form.get("method") == "post"]


def test_the_digits_of_counts_are_in_groups():
    templates = [path.read_text() for path in (ROOT / "templates").rglob("*.html")]

    counts = [
        count
        for text in templates
        for count in re.findall(r'<(?:span class="count"|td class="number"[^>]*)>(.*?)</', text)
    ]

    assert len(counts) > 20
    assert [count for count in counts if not re.search(r"\| (number|size)\b", count)] == []
