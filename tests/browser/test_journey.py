"""From signing in to a package that is published, found, installed, and deleted; with and without scripts."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Page, expect

from tests.acceptance.clients import Client, Installer
from tests.acceptance.servers import RunningServer
from tests.browser.windows import Desk, sign_in
from tests.builders import build_sdist, build_wheel
from tests.fakes.upstream import Upstream

PACKAGE = "journeybox"
SUMMARY = "Packed for a journey"
FILES = (build_wheel(PACKAGE, "1.0.0", summary=SUMMARY), build_sdist(PACKAGE, "1.0.0", summary=SUMMARY))
PUBLIC = build_wheel("publicmap", "3.0")  # held by the upstream alone


@pytest.fixture
def page(desk: Desk) -> Iterator[Page]:
    context = desk.context("anonymous")
    yield context.new_page()
    context.close()


@pytest.fixture
def page_without_scripts(desk: Desk) -> Iterator[Page]:
    context = desk.context("anonymous", java_script_enabled=False)
    yield context.new_page()
    context.close()


@pytest.fixture
def dist(home: Path) -> list[Path]:
    folder = home / "dist"
    folder.mkdir(parents=True)
    for file in FILES:
        (folder / file.filename).write_bytes(file.content)
    return sorted(folder.iterdir())


def test_a_package_from_sign_in_to_deletion(
    page: Page, server: RunningServer, upstream: Upstream, twine: Client, pip: Installer, dist: list[Path]
) -> None:
    name = "Journey with scripts"
    upstream.add(PUBLIC)

    sign_in(page, "root", server.root_password)
    token = add_token(page, name)
    group = create_group(page, name)
    create_subgroup(page, "Research")
    create_project(page, "Tools")

    twine.succeeds(
        "upload", "--repository-url", shown_upload_url(page), *dist, TWINE_USERNAME="__token__", TWINE_PASSWORD=token
    )
    find_package(page)
    read_a_member(page)
    install(page, pip, token)

    index_url = shown_index_url(page, token)
    pip.succeeds("install", "--index-url", index_url, "--no-deps", PUBLIC.name)
    switch_forwarding_off(page, group)
    assert answer_for(index_url, PUBLIC.name) == (404, "404 Package Not Found")
    assert "No matching distribution found" in pip.fails("download", "--index-url", index_url, PUBLIC.name)

    yank_package(page, f"{group}/research/tools")
    assert yanked(index_url) == {"Leaks <memory>"}
    unyank_package(page)
    assert yanked(index_url) == {False}

    delete_package(page, f"{group}/research/tools")
    revoke_token(page, name)
    assert answer_for(index_url, PACKAGE) == (401, "Token was revoked. You have to re-authorize from the user.")
    assert "401 Error, Credentials not correct" in pip.fails("download", "--index-url", index_url, PACKAGE)

    delete_project(page, f"{group}/research/tools")
    sign_out(page)


@pytest.mark.slow
def test_every_page_of_that_journey_works_without_scripts(page_without_scripts: Page, server: RunningServer) -> None:
    page, name = page_without_scripts, "Journey without scripts"

    sign_in(page, "root", server.root_password)
    token = add_token(page, name)
    group = create_group(page, name)
    create_subgroup(page, "Research")
    create_project(page, "Tools")

    upload(shown_upload_url(page), token)
    find_package(page)
    read_a_member(page)

    index_url = shown_index_url(page, token)
    switch_forwarding_off(page, group)
    assert answer_for(index_url, PUBLIC.name) == (404, "404 Package Not Found")

    yank_package(page, f"{group}/research/tools")
    assert yanked(index_url) == {"Leaks <memory>"}
    unyank_package(page)
    assert yanked(index_url) == {False}

    delete_package(page, f"{group}/research/tools")
    revoke_token(page, name)
    assert answer_for(index_url, PACKAGE) == (401, "Token was revoked. You have to re-authorize from the user.")

    delete_project(page, f"{group}/research/tools")
    sign_out(page)


def add_token(page: Page, name: str) -> str:
    """The secret, as the page shows it once."""
    page.goto("/-/user_settings/personal_access_tokens?scopes=api")
    page.get_by_label("Token name").fill(name)
    expect(page.get_by_role("checkbox", name="api", exact=True)).to_be_checked()
    page.get_by_role("button", name="Create token").click()
    expect(page.get_by_text("Make sure you save it")).to_be_visible()
    return page.locator("#issued-token").input_value()


def create_group(page: Page, name: str) -> str:
    """The path of the group, which follows from its name."""
    page.locator(".topbar summary", has_text="New").click()
    page.get_by_role("link", name="New group").click()
    page.get_by_label("Group name").fill(name)
    page.get_by_role("button", name="Create group").click()
    expect(page.get_by_role("main").get_by_role("status")).to_contain_text(f"Group {name} was created.")
    return page.url.rpartition("/")[2]


def create_subgroup(page: Page, name: str) -> None:
    page.get_by_role("link", name="New subgroup").click()
    page.get_by_label("Group name").fill(name)
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(name)


def create_project(page: Page, name: str) -> None:
    page.locator("main").get_by_role("link", name="New project").first.click()
    page.get_by_label("Project name").fill(name)
    page.get_by_role("button", name="Create project").click()
    expect(page.get_by_role("heading", name="Publish your first package")).to_be_visible()


def shown_upload_url(page: Page) -> str:
    """The address in the command that the empty project shows."""
    command = page.locator("pre", has_text="twine upload").inner_text()
    return command.split("--repository-url ")[1].split()[0]


def upload(url: str, token: str) -> None:
    for file in FILES:
        response = requests.post(
            url,
            data={"name": file.name, "version": file.version, "summary": SUMMARY},
            files={"content": (file.filename, file.content)},
            auth=("__token__", token),
            timeout=30,
        )
        assert response.status_code == 201, response.text


def find_package(page: Page) -> None:
    page.get_by_role("navigation").get_by_role("link", name="Package registry", exact=True).first.click()
    page.get_by_role("searchbox", name="Search by name").fill("journey")
    page.get_by_role("main").get_by_role("button", name="Search").click()
    expect(page.get_by_role("listitem").filter(has_text=PACKAGE)).to_have_count(1)
    page.get_by_role("link", name=PACKAGE, exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(PACKAGE)
    expect(page.get_by_role("main")).to_contain_text(SUMMARY)


def read_a_member(page: Page) -> None:
    """Read the metadata in the wheel, and return to the page of the package."""
    page.get_by_role("link", name=f"Contents {FILES[0].filename}").click()
    page.get_by_role("main").get_by_role("link", name="METADATA").click()
    expect(page.locator("pre")).to_contain_text(f"Summary: {SUMMARY}")
    page.get_by_role("navigation", name="Breadcrumb").get_by_role("link", name=f"{PACKAGE} 1.0.0").click()


def pip_line(page: Page, token: str) -> list[str]:
    """The line for pip that has a placeholder for the token, with the token in it."""
    lines = page.locator("pre", has_text=f"pip install {PACKAGE}").all_text_contents()
    (line,) = (each for each in lines if "<your_personal_token>" in each)
    return shlex.split(line.replace("<your_personal_token>", token))


def install(page: Page, pip: Installer, token: str) -> None:
    command, *arguments = pip_line(page, token)
    assert command == "pip"
    pip.succeeds(*arguments)
    assert pip.installed() == {PACKAGE: "1.0.0"}


def shown_index_url(page: Page, token: str) -> str:
    line = pip_line(page, token)
    return line[line.index("--index-url") + 1]


def answer_for(index_url: str, name: str) -> tuple[int, str]:
    """Status of a simple page, and its message."""
    answer = requests.get(f"{index_url}/{name}/", timeout=30, allow_redirects=False)
    said = answer.json()
    return answer.status_code, said.get("message") or said["error_description"]


def switch_forwarding_off(page: Page, group: str) -> None:
    page.goto(f"/groups/{group}/-/settings/packages_and_registries")
    page.get_by_label("Forward PyPI package requests").uncheck()
    page.locator("#packages-forwarding-settings").get_by_role("button", name="Save changes").click()
    expect(page.get_by_role("main").get_by_role("status")).to_contain_text("Settings saved successfully.")
    expect(page.get_by_label("Forward PyPI package requests")).not_to_be_checked()


def yank_package(page: Page, project: str) -> None:
    page.goto(f"/{project}/-/packages")
    page.get_by_role("link", name=PACKAGE, exact=True).click()
    page.get_by_role("link", name="Yank", exact=True).click()
    page.get_by_label("Reason").fill("Leaks <memory>")
    page.get_by_role("button", name="Yank version").click()
    expect(page.get_by_role("main").get_by_role("status")).to_contain_text(f"{PACKAGE} 1.0.0 is yanked.")
    expect(page.get_by_role("note")).to_contain_text("Reason: Leaks <memory>")


def unyank_package(page: Page) -> None:
    page.get_by_role("link", name="Unyank", exact=True).click()
    page.get_by_role("button", name="Unyank version").click()
    expect(page.get_by_role("main").get_by_role("status")).to_contain_text(f"{PACKAGE} 1.0.0 is no longer yanked.")
    expect(page.get_by_role("note")).to_have_count(0)


def yanked(index_url: str) -> set[object]:
    """The different values of ``yanked`` of the files in the index: a reason, or ``False``."""
    accepted = {"Accept": "application/vnd.pypi.simple.v1+json"}
    return {
        file["yanked"] for file in requests.get(f"{index_url}/{PACKAGE}/", headers=accepted, timeout=30).json()["files"]
    }


def delete_package(page: Page, project: str) -> None:
    page.goto(f"/{project}/-/packages")
    page.get_by_role("link", name=PACKAGE, exact=True).click()
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_role("main")).to_contain_text(f"You are about to delete version 1.0.0 of {PACKAGE}.")
    page.get_by_role("button", name="Permanently delete").click()
    expect(page.get_by_role("main").get_by_role("status")).to_contain_text("Version deleted successfully")
    expect(page.get_by_role("heading", name="There are no packages yet")).to_be_visible()


def delete_project(page: Page, project: str) -> None:
    """It asks for the path first."""
    page.goto(f"/{project}/-/delete")
    page.get_by_label("To confirm, type").fill("something else")
    page.get_by_role("button", name="Delete project").click()
    expect(page.get_by_text(f"Type {project} to confirm.")).to_be_visible()
    page.get_by_label("To confirm, type").fill(project)
    page.get_by_role("button", name="Delete project").click()
    expect(page.get_by_role("main").get_by_role("status")).to_contain_text("was deleted")


def revoke_token(page: Page, name: str) -> None:
    """It asks first, in a dialog or below the button."""
    page.goto("/-/user_settings/personal_access_tokens")
    row = page.get_by_role("row").filter(has_text=name)
    row.locator("summary", has_text="Revoke").click()
    question = page.locator(".confirm-panel", has_text=f"revoke {name}")
    expect(question).to_be_visible()
    question.get_by_role("button", name="Revoke").click()
    expect(page.get_by_role("main").get_by_role("status")).to_contain_text(f"Revoked personal access token {name}.")


def sign_out(page: Page) -> None:
    page.locator("summary[aria-label='Your account']").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page).to_have_url(re.compile("/users/sign_in$"))
