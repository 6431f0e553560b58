"""Finding and reading a package, and the tasks around it, in both languages, with and without scripts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import requests
from playwright.sync_api import BrowserContext, Page, expect

from tests.acceptance.servers import OWNER, Namespace, RunningServer
from tests.browser.windows import DARK, LIGHT, Desk
from tests.builders import build_wheel

USERNAME, PASSWORD = "harbormaster", "a long enough one"
WAYS = [
    pytest.param((look, scripts), id=f"{look} {'with' if scripts else 'without'} scripts", marks=marks)
    for look, scripts, marks in (
        (LIGHT, True, ()), (DARK, False, pytest.mark.slow), (DARK, True, pytest.mark.slow),
        (LIGHT, False, pytest.mark.slow)
    )
]  # fmt: skip


@dataclass(frozen=True)
class Reader:
    """An owner of a project, in front of a browser with or without scripts."""

    page: Page
    project: Namespace
    scripts: bool

    def open(self, path: str) -> None:
        self.page.goto(f"/{self.project.full_path}{path}")

    def choose(self, name: str, value: str) -> None:
        """Choose from a list, whose form scripts submit at once."""
        box = self.page.locator(f"main select[name={name}]")
        box.select_option(value)
        if not self.scripts:
            box.locator("xpath=ancestor::form").get_by_role("button").click()

    def expect_names(self, *names: str) -> None:
        expect(self.page.locator(".row-title a")).to_have_text(list(names))


@pytest.fixture(scope="module")
def group(server: RunningServer) -> Namespace:
    """A group with an owner."""
    made = server.group()
    owner = {"username": USERNAME, "name": "Harbor", "email": f"{USERNAME}@example.com", "password": PASSWORD}
    owner_id = server.as_root("POST", "/users", owner)["id"]
    server.as_root("POST", f"{made.rest_path}/members", {"user_id": owner_id, "access_level": OWNER})
    return made


@pytest.fixture(scope="module")
def project(server: RunningServer, group: Namespace) -> Namespace:
    """Three names, one of them yanked, and one with two versions."""
    made = server.project(group=group)
    made.publish(
        build_wheel("harbor-charts", "1.0"),
        build_wheel("harbor-charts", "1.1", requires_dist=["numpy>=2"]),
        build_wheel("Anchor", "1.0"),
        build_wheel("buoys", "1.0"),
    )
    buoys = next(found for found in made.packages() if found["name"] == "buoys")
    server.as_root("PUT", f"{made.rest_path}/packages/{buoys['id']}/yank", {"reason": "Adrift"})
    return made


@pytest.fixture(scope="module", params=WAYS)
def signed_in(request: pytest.FixtureRequest, desk: Desk, project: Namespace) -> Iterator[tuple[BrowserContext, bool]]:
    """Windows of the owner, and whether they run scripts."""
    look, scripts = request.param
    context = desk.context("anonymous", look, java_script_enabled=scripts)
    page = context.new_page()
    page.goto("/users/sign_in")
    page.locator("#login").fill(USERNAME)
    page.locator("#password").fill(PASSWORD)
    page.locator("#password").press("Enter")
    page.wait_for_url(re.compile("/$"))
    page.close()
    yield context, scripts
    context.close()


@pytest.fixture
def reader(signed_in: tuple[BrowserContext, bool], project: Namespace) -> Iterator[Reader]:
    context, scripts = signed_in
    with context.new_page() as page:
        yield Reader(page, project, scripts)


def test_a_package_is_found_in_the_list_and_read(reader: Reader) -> None:
    page = reader.page
    reader.open("/-/packages")
    reader.choose("sort", "asc")
    expect(page).to_have_url(re.compile("sort=asc"))
    reader.choose("order_by", "name")
    reader.expect_names("Anchor", "buoys", "harbor-charts")
    reader.choose("state", "yanked")
    reader.expect_names("buoys")
    reader.choose("state", "")
    page.locator("main [name=search]").fill("CHART")
    page.keyboard.press("Enter")
    reader.expect_names("harbor-charts")

    page.locator(".row-title a").click()
    version = page.locator("main select[name=version]")
    expect(version).to_have_value("1.1")
    show_uv(reader)
    reader.choose("version", "1.0")
    expect(page.locator(".version-line a")).to_contain_text("1.1")
    expect(version).to_have_value("1.0")
    expect(page.locator("pre", has_text="uv pip install")).to_be_visible(visible=reader.scripts)

    page.locator("main .tabs a[href$='#files']").click()
    page.locator(".files a[href$='/contents']").click()
    page.get_by_role("main").get_by_role("link", name="METADATA").click()
    expect(page.locator("main pre")).to_contain_text("Name: harbor-charts")

    reader.open("/-/packages/names/harbor-charts")
    page.locator("main .tabs a[href$='tab=activity']").click()
    expect(page.locator("main tbody tr")).not_to_have_count(0)
    page.locator("main .tabs a[href$='tab=versions']").click()
    page.locator("main a[href*='/compare']").click()
    expect(page.locator(".compared", has_text="numpy")).to_contain_text(">=2")


def show_uv(reader: Reader) -> None:
    """Change from pip to uv."""
    line = reader.page.locator("pre", has_text="uv pip install")
    expect(line).to_be_hidden()
    if reader.scripts:
        reader.page.locator(".choice-tabs").get_by_role("button", name="uv", exact=True).click()
    else:
        reader.page.locator("[data-choice=uv] > summary").click()
    expect(line).to_be_visible()


def test_an_empty_project_leads_to_a_token_and_back(reader: Reader, server: RunningServer, group: Namespace) -> None:
    page = reader.page
    empty = server.project(group=group)
    page.goto(f"/{empty.full_path}")

    page.locator("main a[href*='personal_access_tokens']").click()
    expect(page.locator("input[name=scopes][value=api]")).to_be_checked()
    page.locator("main form[action*='personal_access_tokens?project='] button[type=submit]").click()
    token = page.locator("#issued-token").input_value()
    next_line = page.locator(".issued pre").inner_text()
    page.locator(f".issued a[href='/{empty.full_path}']").click()

    expect(page.locator("main pre", has_text="twine upload")).to_be_visible()
    assert token in next_line
    assert f"--repository-url {empty.url}" in next_line


def test_one_of_several_versions_is_deleted_and_found_in_the_audit_events(reader: Reader) -> None:
    page, version = reader.page, "0.9"
    reader.project.publish(build_wheel("harbor-charts", version))
    reader.open(f"/-/packages/names/harbor-charts?version={version}")

    page.locator(".heading-actions .btn-outline-danger").click()
    expect(page.locator("main .question")).to_contain_text(version)
    expect(page.locator("#release_name")).to_have_count(0)
    page.locator("main .btn-danger").click()
    expect(page.get_by_role("main").get_by_role("status")).to_be_visible()
    expect(page.locator(".row-title a", has_text="harbor-charts")).to_be_visible()

    reader.open("/-/audit_events")
    reader.choose("action", "package_deleted")
    expect(page.locator("main tbody tr").first).to_contain_text(f"harbor-charts {version}")
    csv_path = page.locator("main .filters a", has_text="CSV").get_attribute("href")
    lines = page.request.get(str(csv_path)).text().splitlines()
    assert f"harbor-charts {version}" in lines[1]
    assert all("package_deleted" in line for line in lines[1:])


def test_a_feed_reader_has_the_feed_until_the_token_is_replaced(reader: Reader) -> None:
    page = reader.page
    reader.open("/-/packages/names/buoys")
    feed = page.locator("head link[type='application/atom+xml']").evaluate("link => link.href")
    badge = page.request.get(f"/{reader.project.full_path}/-/packages/names/buoys/badge.svg")
    answers = [requests.get(address, timeout=30) for address in (feed, feed.partition("?")[0])]

    page.goto("/-/user_settings/personal_access_tokens")
    shown = page.locator("#feed-token").input_value()
    page.locator("summary").last.click()
    page.locator("form[action$='/reset_feed_token'] button[type=submit]").click()
    expect(page.get_by_role("main").get_by_role("status")).to_be_visible()

    assert shown in feed
    assert [answer.status_code for answer in answers] == [200, 404]
    assert "buoys 1.0" in answers[0].text
    assert (badge.status, "1.0" in badge.text()) == (200, True)
    assert page.locator("#feed-token").input_value() != shown
    assert requests.get(feed, timeout=30).status_code == 404
