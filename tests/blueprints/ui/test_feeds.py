"""Atom feeds against RFC 4287, feed tokens, and badges."""

from __future__ import annotations

import logging
import re
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from registry.domain import namespaces
from registry.domain.access import SHELL
from registry.domain.accounts import feed_tokens, users
from registry.domain.namespaces import ProjectChanges
from registry.models import Group, PackageFile, Project, Role, User, Visibility
from tests import factories
from tests.builders import build_wheel

ATOM = "{http://www.w3.org/2005/Atom}"
MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
FEEDS = ("/open/library/-/packages.atom", "/open/-/packages.atom", "/open/library/-/packages/names/demo.atom")
BADGE = "/open/library/-/packages/names/demo/badge.svg"


def publish(project: Project, version: str, days: int, **fields: str) -> PackageFile:
    return factories.published(project, build_wheel("Demo", version), now=MOMENT + timedelta(days=days), **fields)


@pytest.fixture
def open_project(app: object) -> Project:
    group = factories.group("open", visibility=Visibility.PUBLIC)
    project = factories.project("library", parent=group, visibility=Visibility.PUBLIC)
    publish(project, "2.0", 1, summary="<b>Fast</b> & \x0bsafe")
    publish(project, "1.0", 2)
    publish(project, "3.0rc1", 3)
    return project


# RFC 4287, sections 4.1.1, 4.1.2, and 3.2: the elements of each, of those that feeds of the registry have.
ALLOWED = {
    "feed": {"id", "title", "updated", "link", "author", "entry"},
    "entry": {"id", "title", "updated", "published", "link", "author", "summary"},
    "author": {"name"},
}
TAGS = re.compile(r"tag:localhost,\d{4}-\d\d-\d\d:[a-z0-9/-]+")  # section 4.2.6, with RFC 4151
MOMENTS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")  # section 3.3: RFC 3339, in capitals


def valid(response: TestResponse) -> ElementTree.Element:
    """The feed, which has what RFC 4287 requires of one, and no more of it than allowed."""
    assert response.status_code == 200
    assert response.content_type == "application/atom+xml; charset=utf-8"
    feed = ElementTree.fromstring(response.data)
    entries = feed.findall(f"{ATOM}entry")
    assert feed.tag == f"{ATOM}feed"
    for element in feed.iter():
        inside = {child.tag for child in element}
        assert inside <= {ATOM + name for name in ALLOWED.get(element.tag.removeprefix(ATOM), ())}, element.tag
    for element in (feed, *entries):
        for name in ("id", "title", "updated"):  # sections 4.1.1 and 4.1.2
            assert len(element.findall(ATOM + name)) == 1, name
            assert element.findtext(ATOM + name), name
        assert TAGS.fullmatch(str(element.findtext(f"{ATOM}id")))
        for name in ("updated", "published"):  # section 3.3
            for moment in element.findall(ATOM + name):
                assert MOMENTS.fullmatch(str(moment.text))
        links = [link.attrib for link in element.findall(f"{ATOM}link")]
        assert sum(link["rel"] == "alternate" for link in links) == 1
        assert all(link["href"].startswith("http://localhost/") for link in links)
        assert all(author.findtext(f"{ATOM}name") for author in element.findall(f"{ATOM}author"))
        assert len(element.findall(f"{ATOM}author")) == 1
        assert len(element.findall(f"{ATOM}summary")) <= 1
    assert [link.get("rel") for link in feed.findall(f"{ATOM}link")].count("self") == 1
    ids = [element.findtext(f"{ATOM}id") for element in (feed, *entries)]
    assert len(set(ids)) == len(ids)
    return feed


def titles(response: TestResponse) -> list[str | None]:
    return [entry.findtext(f"{ATOM}title") for entry in valid(response).findall(f"{ATOM}entry")]


@pytest.mark.parametrize("address", FEEDS)
def test_a_feed_has_the_latest_versions_newest_first(client: FlaskClient, open_project: Project, address: str) -> None:
    response = client.get(address)

    feed = valid(response)
    assert titles(response) == ["Demo 3.0rc1", "Demo 1.0", "Demo 2.0"]
    assert feed.findtext(f"{ATOM}updated") == "2026-01-05T03:04:05Z"
    assert feed.findall(f"{ATOM}entry")[2].findtext(f"{ATOM}summary") == "<b>Fast</b> & \ufffdsafe"
    again = client.get(address, headers={"If-None-Match": response.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    assert response.headers["Cache-Control"] == "private, no-cache"


def test_what_was_read_is_known_again_after_the_project_was_moved(client: FlaskClient, open_project: Project) -> None:
    def ids(*addresses: str) -> list[str | None]:
        return [element.text for path in addresses for element in valid(client.get(path)).iter(f"{ATOM}id")]

    before = ids(*FEEDS)
    group = open_project.parent
    assert isinstance(group, Group)
    namespaces.change(open_project, ProjectChanges(path="moved"), by=SHELL)
    namespaces.transfer(group, factories.group("other", visibility=Visibility.PUBLIC), by=SHELL)

    moved = (path.replace("/open", "/other/open").replace("library", "moved") for path in FEEDS)
    assert ids(*moved) == before


def test_an_empty_feed_is_valid(client: FlaskClient, owner: User, project: Project) -> None:
    token = feed_tokens.feed_token(owner, factories.token_key())

    assert titles(client.get(f"/acme/tools/-/packages.atom?feed_token={token}")) == []


def test_a_group_feed_has_what_the_reader_can_read(client: FlaskClient, open_project: Project) -> None:
    reader = factories.user()
    group = open_project.parent
    assert isinstance(group, Group)
    secret = factories.project("secret", parent=group)
    factories.published(secret, build_wheel("hidden"))
    namespaces.add_member(secret, reader, Role.DEVELOPER, by=SHELL)
    token = feed_tokens.feed_token(reader, factories.token_key())

    assert "hidden 1.0" in titles(client.get(f"/open/-/packages.atom?feed_token={token}"))
    assert "hidden 1.0" not in titles(client.get("/open/-/packages.atom"))


def test_a_feed_token_opens_feeds_only_until_it_is_replaced(
    client: FlaskClient, demo: PackageFile, owner: User, outsider: User, caplog: pytest.LogCaptureFixture
) -> None:
    def status(path: str, user: User = owner) -> int:
        token = feed_tokens.feed_token(user, factories.token_key())
        return client.get(f"{path}?feed_token={token}").status_code

    caplog.set_level(logging.DEBUG)
    feeds = ("/acme/tools/-/packages.atom", "/acme/-/packages.atom", "/acme/tools/-/packages/names/demo.atom")
    assert [status(path) for path in feeds] == [200, 200, 200]
    assert [status(path, outsider) for path in feeds] == [404, 404, 404]
    assert status("/acme/tools/-/packages") == 303
    assert status("/acme/tools/-/packages/names/demo/badge.svg") == 404
    assert status("/api/v4/user") == 401
    assert status("/api/v4/projects/acme%2Ftools/packages/pypi/simple/demo/") == 401

    former = feed_tokens.feed_token(owner, factories.token_key())
    feed_tokens.reset(owner, by=SHELL)
    assert client.get(f"{feeds[0]}?feed_token={former}").status_code == 404
    assert status(feeds[0]) == 200
    users.change_state(owner, users.StateChange.BLOCK, by=SHELL)
    assert status(feeds[0]) == 404
    assert former not in caplog.text


@pytest.mark.parametrize("token", ["", "x", "glft-", f"glft-{'0' * 40}-1", f"glft-{'0' * 40}-999999999", "\x00", "é"])
def test_a_wrong_token_is_refused_even_where_none_is_needed(
    client: FlaskClient, open_project: Project, token: str
) -> None:
    assert client.get(FEEDS[0], query_string={"feed_token": token}).status_code == 404


@pytest.mark.parametrize(
    "path",
    ["/acme/tools/-/packages.atom", "/acme/-/packages.atom", "/acme/tools/-/packages/names/demo.atom",
     "/acme/tools/-/packages/names/demo/badge.svg"],
)  # fmt: skip
def test_what_is_hidden_looks_like_what_does_not_exist(client: FlaskClient, demo: PackageFile, path: str) -> None:
    hidden = client.get(path)
    missing = client.get(path.replace("acme", "nowhere"))

    assert (hidden.status_code, hidden.data) == (missing.status_code, missing.data) == (404, b"")
    assert {*hidden.headers.keys()} == {*missing.headers.keys()}


def test_a_badge_has_the_latest_version(client: FlaskClient, open_project: Project) -> None:
    response = client.get(BADGE)

    picture = ElementTree.fromstring(response.data)
    assert response.content_type.startswith("image/svg+xml")
    assert [text.text for text in picture.iter("{http://www.w3.org/2000/svg}text")] == ["Demo", "v2.0"]
    assert client.get(BADGE, headers={"If-None-Match": response.headers["ETag"]}).status_code == 304
    assert client.get(BADGE.replace("demo", "other")).status_code == 404
    assert client.get(FEEDS[2].replace("demo", "other")).status_code == 404


def test_pages_link_to_their_feeds(browser, browser_of, owner: User, demo: PackageFile, open_project: Project) -> None:
    def linked(page) -> list[str]:
        return [link.get("href") for link in page.tree.iter("link") if link.get("rel") == "alternate"]

    token = feed_tokens.feed_token(owner, factories.token_key())
    assert linked(browser.get("/open/library/-/packages")) == linked(browser.get("/open/library")) == [FEEDS[0]]
    assert linked(browser.get("/open/library/-/packages/names/demo")) == [FEEDS[2]]
    for path in ("/acme", "/groups/acme/-/packages"):
        assert linked(browser_of(owner).get(path)) == [f"/acme/-/packages.atom?feed_token={token}"]


def test_the_token_is_shown_and_replaced_in_the_settings(browser_of, owner: User) -> None:
    browser = browser_of(owner)

    def shown() -> list[str]:
        page = browser.get("/-/user_settings/personal_access_tokens")
        return [field.get("value") for field in page.tree.iter("input") if field.get("id") == "feed-token"]

    former = feed_tokens.feed_token(owner, factories.token_key())
    assert shown() == [former]

    browser.post("/-/user_settings/personal_access_tokens/reset_feed_token", {})

    factories.reload(owner)
    assert shown() == [feed_tokens.feed_token(owner, factories.token_key())] != [former]
