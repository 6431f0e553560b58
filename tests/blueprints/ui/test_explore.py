"""Explore, the user's own groups and projects, search."""

from __future__ import annotations

import pytest

from registry.domain import namespaces
from registry.domain.access import SHELL
from registry.domain.accounts import users
from registry.models import Role, Visibility
from tests import factories


def rows(page):
    return [
        " ".join("".join(link.itertext()).split()) for title in page.by_class("row-title") for link in title.iter("a")
    ]


@pytest.fixture
def open_group(app):
    group = factories.group("open", visibility=Visibility.PUBLIC)
    factories.project("library", parent=group, visibility=Visibility.PUBLIC)
    factories.project("internal", parent=group, visibility=Visibility.INTERNAL)
    factories.project("secret", parent=group)
    return group


def test_a_visitor_starts_at_public_projects(browser, open_group):
    assert browser.get("/").location == "/explore"
    assert rows(browser.get("/explore")) == ["Open / Library"]
    assert rows(browser.get("/explore/groups")) == ["Open"]


def test_a_visitor_learns_that_there_can_be_private_projects(browser, project):
    page = browser.get("/explore")

    assert "No public projects" in page.text
    assert "Sign in to see the projects that you have access to." in page.text


def test_a_user_sees_internal_projects_too(browser_of, outsider, open_group):
    assert rows(browser_of(outsider).get("/explore")) == ["Open / Internal", "Open / Library"]


def test_the_start_page_of_a_user_lists_own_projects(browser_of, owner, project, open_group):
    browser = browser_of(owner)

    assert rows(browser.get("/")) == ["Acme / Tools"]
    assert rows(browser.get("/dashboard/groups")) == ["Acme"]


@pytest.mark.parametrize(("path", "link"), [("/", "/acme/tools"), ("/dashboard/groups", "/acme")])
def test_the_start_page_leads_on_where_the_user_is_no_member(browser_of, project, path, link):
    page = browser_of(factories.user(is_admin=True)).get(path)

    assert "You are not a member of any" in page.text
    assert "that you can see" in page.text
    assert link in page.links


def test_own_groups_require_signing_in(browser, app):
    assert browser.get("/dashboard/groups").location == "/users/sign_in?next=/dashboard/groups"


def test_a_row_shows_the_role_the_packages_and_the_contents(browser_of, developer, open_group):
    page = browser_of(developer).get("/")

    assert "Developer" in page.text
    assert "0 Packages" in page.text


def test_the_number_of_packages_is_shown_to_users_who_can_read_them(browser_of, guest, developer, project):
    for viewer, shown in ((guest, False), (developer, True)):
        assert ("0 Packages" in browser_of(viewer).get("/").text) is shown


def test_archived_projects_are_found_but_not_listed(browser_of, owner, project):
    namespaces.set_archived(project, True, by=SHELL)
    browser = browser_of(owner)

    assert rows(browser.get("/")) == []
    assert rows(browser.get("/?search=tools")) == ["Acme / Tools"]


def test_lists_come_in_pages_of_twenty_that_keep_the_search(browser, app):
    group = factories.group("many", visibility=Visibility.PUBLIC)
    for number in range(21):
        factories.project(f"lib-{number:02}", parent=group, visibility=Visibility.PUBLIC)

    first = browser.get("/explore?search=lib")
    second = browser.get("/explore?search=lib&page=2")
    beyond = browser.get("/explore?search=lib&page=500")

    assert len(rows(first)) == 20
    assert "/explore?search=lib&page=2" in first.links
    assert rows(second) == rows(beyond) == ["Many / Lib-20"]
    assert "Page 2 of 2" in beyond.text


@pytest.mark.parametrize("page", ["0", "-1", "x", "99999999999999999999", "2"])
def test_any_page_number_gets_a_page(browser, open_group, page):
    assert rows(browser.get(f"/explore?page={page}")) == rows(browser.get("/explore"))


@pytest.mark.parametrize("path", ["/explore", "/explore/groups", "/search?q=e", "/open"])
def test_the_number_of_statements_does_not_grow_with_the_list(browser_of, owner, open_group, statements, path):
    browser = browser_of(owner)
    browser.get(path)
    del statements[:]
    browser.get(path)
    few = len(statements)
    for number in range(15):
        factories.project(f"lib-{number}", parent=open_group, visibility=Visibility.PUBLIC)
        factories.group(f"lib-group-{number}", parent=open_group, visibility=Visibility.PUBLIC)
    del statements[:]

    browser.get(path)

    assert len(statements) == few


def test_search_finds_groups_and_projects_by_name_or_path(browser, open_group):
    assert rows(browser.get("/search?q=LIB")) == ["Open / Library"]
    assert rows(browser.get("/search?q=open")) == ["Open"]


def test_a_search_for_a_full_path_leads_to_its_page(browser_of, owner, project):
    assert browser_of(owner).get("/search?q=ACME/tools").location == "/acme/tools"


@pytest.mark.parametrize("path", ["acme/tools", "nowhere/at-all"])
def test_a_search_for_a_hidden_path_finds_nothing(browser, project, path):
    page = browser.get("/search", query_string={"q": path})

    assert page.status_code == 200
    assert rows(page) == []


@pytest.mark.parametrize("text", ["%", "_", "\\", "'", "\x00", "<b>", "a" * 3000, "/", "//", "日本語"])
def test_any_text_can_be_searched_for(browser, open_group, text):
    assert browser.get("/search", query_string={"q": text}).status_code == 200


def test_a_group_shows_projects_and_subgroups_that_the_viewer_can_see(browser, open_group):
    factories.group("visible", parent=open_group, visibility=Visibility.PUBLIC)
    factories.group("hidden", parent=open_group)

    assert rows(browser.get("/open")) == ["Library"]
    assert rows(browser.get("/open?tab=groups")) == ["Visible"]


def test_a_search_in_a_group_looks_at_everything_below(browser_of, owner, group):
    inner = factories.group("inner", parent=group)
    factories.project("deep-library", parent=inner)

    assert rows(browser_of(owner).get("/acme?search=deep")) == ["Acme / Inner / Deep-library"]


def test_a_user_page_shows_personal_projects_that_the_viewer_can_see(browser, browser_of, owner):
    space = users.personal_namespace(owner)
    factories.project("shown", parent=space, visibility=Visibility.PUBLIC)
    factories.project("private", parent=space)

    assert rows(browser.get("/olivia")) == ["Shown"]
    assert rows(browser_of(owner).get("/olivia")) == ["Private", "Shown"]


def test_a_private_profile_shows_the_name_only(browser, browser_of, outsider, owner):
    users.change_user(owner, users.UserChanges(private_profile=True, bio="Secrets."), by=SHELL)
    factories.project("shown", parent=users.personal_namespace(owner), visibility=Visibility.PUBLIC)

    assert "Secrets." in browser_of(owner).get("/olivia").text
    for page in (browser.get("/olivia"), browser_of(outsider).get("/olivia")):
        assert "Olivia" in page.text
        assert "Secrets." not in page.text
        assert rows(page) == []


@pytest.mark.parametrize("path", ["/ACME", "/Acme/Tools", "/ACME/TOOLS/-/project_members"])
def test_paths_are_found_without_case(browser_of, owner, project, path):
    assert browser_of(owner).get(path).status_code == 200


@pytest.mark.parametrize(
    "path", ["/acme", "/acme/tools", "/acme/tools/-/packages", "/groups/acme/-/packages", "/acme/tools/edit", "/search"]
)
def test_slashes_at_the_end_are_ignored(browser_of, owner, project, path):
    browser = browser_of(owner)

    pages = [browser.get(path + slashes) for slashes in ("", "/", "//")]

    assert [(page.status_code, page.title) for page in pages] == [(200, pages[0].title)] * 3


def test_the_long_address_of_a_group_leads_to_the_short_one(browser_of, owner, group):
    answer = browser_of(owner).get("/groups/acme")

    assert (answer.status_code, answer.location) == (301, "/acme")


def test_a_group_called_like_a_number_is_found_by_its_path(browser_of, owner):
    factories.group("2024", owner=owner)

    assert "2024" in browser_of(owner).get("/2024").title


@pytest.mark.parametrize(
    ("role", "words"),
    [
        (Role.GUEST, "You cannot see the packages of this project"),
        (Role.REPORTER, "There are no packages yet"),
        (Role.DEVELOPER, "Publish your first package"),
    ],
    ids=str,
)
def test_an_empty_project_shows_the_next_steps(browser_of, project, role, words):
    assert words in browser_of(factories.member(project, role)).get("/acme/tools").text


def test_the_address_to_publish_to_is_the_projects_own(browser_of, owner, project):
    page = browser_of(owner).get("/acme/tools")

    assert f"http://localhost/api/v4/projects/{project.id}/packages/pypi" in page.html


@pytest.mark.parametrize("may_create", [True, False])
def test_a_new_group_is_offered_to_users_who_can_create_one(browser_of, may_create):
    browser = browser_of(factories.user("ursa", can_create_group=may_create))

    for page in ("/explore/groups", "/dashboard/groups", "/"):
        assert ("/groups/new" in {link.get("href") for link in browser.get(page).tree.iter("a")}) is may_create
    assert browser.submit("/groups/new", {"name": "Ours"}).status_code == (303 if may_create else 403)
