"""The behavior of scripts, and access to everything by keyboard."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.acceptance.servers import Namespace, RunningServer
from tests.browser.windows import HEIGHT, LIGHT, NARROW, WIDE, Desk, Window
from tests.builders import build_wheel
from tests.suggested_paths import PATHS


@pytest.fixture(scope="session")
def project(server: RunningServer) -> Namespace:
    made = server.project(group=server.group())
    made.publish(build_wheel("keyboarded", "1.0"), build_wheel("drafted", "1.0rc1"))
    return made


@pytest.fixture(scope="session")
def session(desk: Desk) -> Iterator[BrowserContext]:
    """A session of the browser in which the administrator is signed in."""
    context = desk.context("root", permissions=["clipboard-read", "clipboard-write"])
    yield context
    context.close()


@pytest.fixture(scope="session")
def tab(session: BrowserContext) -> Page:
    """The only one of that session, as each would start processes."""
    return session.new_page()


@pytest.fixture
def page(tab: Page) -> Page:
    tab.set_viewport_size({"width": WIDE, "height": HEIGHT})
    return tab


def tab_to(page: Page, words: str) -> None:
    """Press Tab until the focus is on something with these words."""
    said = """document.activeElement.innerText || document.activeElement.getAttribute("aria-label")
        || document.activeElement.labels?.[0]?.innerText || \"\""""
    for _ in range(60):
        page.keyboard.press("Tab")
        if words in page.evaluate(said):
            return
    raise AssertionError(f"Tab does not lead to {words}")


def test_a_setting_is_changed_by_keyboard_alone(page: Page, project: Namespace) -> None:
    page.goto(f"/groups/{project.full_path.partition('/')[0]}/-/settings/packages_and_registries")

    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    tab_to(page, "Forward PyPI package requests")
    page.keyboard.press("Space")
    tab_to(page, "Save changes")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    page.keyboard.press("Enter")

    expect(page.get_by_role("main").get_by_role("status")).to_contain_text("Settings saved successfully.")
    expect(page.get_by_label("Forward PyPI package requests")).not_to_be_checked()
    assert outline == "solid"


def test_a_confirmation_is_a_dialog_that_escape_closes(page: Page) -> None:
    page.goto("/-/user_settings/personal_access_tokens")

    tab_to(page, "Revoke")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="Revoke token")).to_be_visible()
    expect(page.get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Escape")

    expect(page.get_by_role("dialog")).to_have_count(0)
    assert page.evaluate("document.activeElement.innerText.trim()") == "Revoke"


def test_menus_open_and_close_by_keyboard(page: Page) -> None:
    page.goto("/")

    tab_to(page, "New")
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="New group")).to_be_visible()
    page.keyboard.press("Escape")

    expect(page.get_by_role("link", name="New group")).to_be_hidden()
    assert page.evaluate("document.activeElement.innerText.trim()") == "New"


def test_on_a_small_screen_the_navigation_is_behind_a_button(page: Page, project: Namespace) -> None:
    page.set_viewport_size({"width": NARROW, "height": 600})
    page.goto(f"/{project.full_path}")
    entry = page.get_by_role("link", name="Packages and registries")
    expect(entry).to_be_hidden()

    page.get_by_role("button", name="Open navigation").click()
    expect(entry).to_be_visible()
    page.keyboard.press("Escape")

    expect(entry).to_be_hidden()


def test_the_pip_line_is_copied(page: Page, project: Namespace) -> None:
    page.goto(f"/{project.full_path}/-/packages")
    page.get_by_role("link", name="keyboarded", exact=True).click()

    page.get_by_role("button", name="Copy Pip command").first.click()

    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == page.locator("pre", has_text="pip install keyboarded").first.inner_text()


@pytest.fixture
def clocked(desk: Desk) -> Iterator[Page]:
    """A page in a session of its own, whose clock the test moves."""
    context = desk.context("root", permissions=["clipboard-read", "clipboard-write"])
    context.clock.install()
    yield context.new_page()
    context.close()


def test_a_copy_button_that_is_pressed_twice_gets_its_label_back(clocked: Page, project: Namespace) -> None:
    page = clocked
    page.goto(f"/{project.full_path}/-/packages")
    page.get_by_role("link", name="keyboarded", exact=True).click()
    button = page.locator("button[data-copy]:visible").first
    label = str(button.get_attribute("aria-label"))

    for _ in range(2):
        button.click()
        expect(button).to_have_attribute("aria-label", "Copied")
        page.evaluate("navigator.clipboard.readText()")
    page.clock.run_for(5000)

    expect(button).to_have_attribute("aria-label", label)
    expect(button).to_have_attribute("title", label)


def test_only_what_has_a_time_of_day_gets_one_in_the_readers_time_zone(page: Page) -> None:
    page.goto("/-/user_settings/personal_access_tokens")

    moment, day = page.locator("time[datetime*=T]").first, page.locator("time:not([datetime*=T])").first

    expect(moment).to_have_attribute("title", re.compile("UTC|GMT"))
    expect(day).to_be_visible()
    assert day.get_attribute("title") is None


def test_the_path_follows_the_name_until_it_is_edited(page: Page) -> None:
    page.goto("/groups/new")

    for name, path in PATHS.items():
        page.get_by_label("Group name").fill(name)
        expect(page.get_by_label("Group path")).to_have_value(path)
    page.get_by_label("Group path").fill("own")
    page.get_by_label("Group name").fill("Other")

    expect(page.get_by_label("Group path")).to_have_value("own")


def test_choosing_an_order_and_a_filter_is_enough(page: Page, project: Namespace) -> None:
    names = page.locator(".row-title a")
    page.goto(f"/{project.full_path}/-/packages")

    page.get_by_label("Sort by").select_option("name")
    page.wait_for_url("**/-/packages?order_by=name&sort=desc")
    expect(names).to_have_text(["keyboarded", "drafted"])
    page.get_by_label("Marked as").select_option(label="Pre-release only")

    page.wait_for_url("**/-/packages?state=prerelease&order_by=name&sort=desc")
    expect(names).to_have_text(["drafted"])


def test_choices_of_a_visitor_are_remembered(desk: Desk, server: RunningServer) -> None:
    project = server.project(visibility="public")
    project.publish(build_wheel("visited", "1.0"))
    context = desk.context("anonymous")
    page = context.new_page()
    root = page.locator("html")

    page.goto(f"/{project.full_path}/-/packages/names/visited")
    page.get_by_role("button", name="Poetry").click()
    page.get_by_role("link", name="Language and color scheme").click()
    page.get_by_label("Language").select_option(label="日本語")
    page.get_by_label("Dark").check()
    page.get_by_role("button", name="Save changes").click()
    expect(root).to_have_attribute("lang", "ja")
    page.goto(f"/{project.full_path}/-/packages/names/visited")

    expect(root).to_have_attribute("lang", "ja")
    expect(root).to_have_attribute("data-bs-theme", "dark")
    expect(page.get_by_role("button", name="Poetry", exact=True)).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_text("poetry add --source gitlab visited")).to_be_visible()
    context.close()


def test_a_refused_form_keeps_its_values_and_shows_why(page: Page) -> None:
    page.goto("/groups/new")
    page.get_by_label("Group name").fill("Something")
    page.get_by_label("Group path").fill("-wrong-")

    page.get_by_role("button", name="Create group").click()

    expect(page.get_by_label("Group path")).to_have_value("-wrong-")
    expect(page.get_by_label("Group path")).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_label("Group path")).to_be_focused()
    expect(page.locator("#path-error")).to_be_visible()
    page.goto("/-/user_settings/personal_access_tokens?name=without-scopes")
    page.get_by_role("button", name="Create token").click()
    expect(page.get_by_role("checkbox", name="api", exact=True)).to_be_focused()


def test_parts_that_appear_on_demand_are_accessible_too(desk: Desk, page: Page) -> None:
    window = Window(page, LIGHT, desk.pictures)
    barriers = {}

    window.open("/groups/new")
    page.get_by_label("Group name").fill("Something")
    page.get_by_label("Group path").fill("-wrong-")
    page.get_by_role("button", name="Create group").click()
    barriers["refusal"] = looked_at(window, "refused-form")
    window.open("/-/user_settings/personal_access_tokens?name=appearing&scopes=read_api")
    page.get_by_role("button", name="Create token").click()
    barriers["secret"] = looked_at(window, "issued-token")
    page.get_by_role("row").filter(has_text="appearing").locator("summary", has_text="Revoke").click()
    barriers["dialog"] = looked_at(window, "dialog")
    page.keyboard.press("Escape")
    page.locator("summary[aria-label='Your account']").click()
    barriers["menu"] = looked_at(window, "menu")

    assert {part: found for part, found in barriers.items() if found} == {}
    assert [problem for problem in window.problems if "422" not in problem] == []


def looked_at(window: Window, name: str) -> list[str]:
    window.screenshot(name)
    return window.barriers()


def test_a_selection_enables_the_deletion_and_is_counted(page: Page, server: RunningServer) -> None:
    project = server.project(group=server.group())
    for version in ("1.0", "2.0"):
        project.publish(build_wheel("demo", version))
    page.goto(f"/{project.full_path}/-/packages?tab=versions")
    boxes, everything = page.get_by_label("Select demo"), page.get_by_label("Select all")
    delete = page.get_by_role("button", name="Delete selected")

    states = [(delete.is_enabled(), delete.inner_text())]
    everything.check()
    states.append((delete.is_enabled(), delete.inner_text()))
    selected = boxes.evaluate_all("boxes => boxes.map((box) => box.checked)")
    boxes.first.uncheck()
    states.append((everything.is_checked(), delete.inner_text()))
    boxes.last.uncheck()
    states.append((delete.is_enabled(), delete.inner_text()))

    assert selected == [True, True]
    assert states == [
        (False, "Delete selected"),
        (True, "Delete selected (2)"),
        (False, "Delete selected (1)"),
        (False, "Delete selected"),
    ]


def test_a_member_is_found_by_a_part_of_the_name(desk: Desk, page: Page, server: RunningServer) -> None:
    project = server.project(group=server.group())
    for username, name in (("zora", "Zora Quist"), ("quentin", "Quentin Quist")):
        made = {"username": username, "name": name, "email": f"{username}@example.com", "password": "a long enough one"}
        server.as_root("POST", "/users", made)
    address = f"/{project.full_path}/-/project_members"
    window = Window(page, LIGHT, desk.pictures)
    page.goto(address)

    page.get_by_text("Add member").first.click()
    box = page.get_by_role("combobox", name="Name, username, or email")
    box.press_sequentially("quis")
    people = page.locator("#people [role=option]")
    expect(people).to_have_text(["Quentin Quist @quentin", "Zora Quist @zora"])
    seen = []
    for width in (NARROW, 1440):
        window.resize(width)
        window.screenshot("member-while-typing")
        seen += [*window.too_wide(), *window.barriers()]
    people.last.click()
    expect(box).to_have_value("zora")
    expect(box).to_have_attribute("aria-expanded", "false")
    page.keyboard.press("Enter")
    expect(page.locator("main .flash")).to_contain_text("Zora Quist was added")
    context = desk.context("root", java_script_enabled=False)
    plain = Window(context.new_page(), LIGHT, desk.pictures)
    plain.page.goto(address)
    plain.page.locator("details.fold > summary").click()
    plain.page.get_by_label("Name, username, or email").fill("Quist")
    plain.page.get_by_role("button", name="Add member").click()
    for width in (NARROW, 1440):
        plain.resize(width)
        plain.screenshot("member-to-choose")
    plain.page.get_by_role("button", name="Add Quentin Quist").click()

    expect(plain.page.locator("main .flash")).to_contain_text("Quentin Quist was added")
    assert seen == window.problems == []
    context.close()
