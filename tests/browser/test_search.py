"""The search in both languages: with scripts, results while typing; without, the page."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, expect

from tests.acceptance.servers import Namespace, RunningServer
from tests.browser.windows import DARK, IN_BOTH_LOOKS, LIGHT, Desk, Look, Window
from tests.builders import build_wheel

WIDTHS = (360, 768, 1440)
WORDS = {
    LIGHT: {"box": "Search or go to…", "all": "Show all results", "none": "Nothing found"},
    DARK: {"box": "検索・移動…", "all": "すべての結果を表示", "none": "何も見つかりません"},
}


@pytest.fixture(scope="module")
def project(server: RunningServer) -> Namespace:
    made = server.project(group=server.group())
    made.publish(*(build_wheel(name, "1.0") for name in ("old-zephyr", "zephyr_io", "zephyr")))
    return made


@pytest.fixture
def session(desk: Desk, look: Look) -> Iterator[BrowserContext]:
    context = desk.context("root", look)
    yield context
    context.close()


@IN_BOTH_LOOKS
def test_results_appear_while_typing_and_are_chosen_by_keyboard(
    desk: Desk, session: BrowserContext, project: Namespace, look: Look
) -> None:
    window, words = Window(session.new_page(), look, desk.pictures), WORDS[look]
    page = window.page
    page.goto("/explore/groups")
    box, options = page.get_by_role("combobox", name=words["box"]), page.get_by_role("option")

    page.keyboard.press("/")
    expect(box).to_be_focused()
    page.keyboard.type("zephyr")
    expect(options).to_have_text([f"zephyr 1.0{project.full_path}", f"zephyr_io 1.0{project.full_path}",
                                  f"old-zephyr 1.0{project.full_path}", words["all"]])  # fmt: skip
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(options.nth(1)).to_have_attribute("aria-selected", "true")
    expect(box).to_have_attribute("aria-activedescendant", options.nth(1).get_attribute("id") or "")
    seen = {width: _looked_at(window, width) for width in WIDTHS}
    page.keyboard.press("Escape")
    expect(options).to_have_count(0)
    expect(box).to_have_attribute("aria-expanded", "false")
    page.keyboard.press("ArrowDown")
    expect(options).to_have_count(4)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")

    page.wait_for_url(f"**/{project.full_path}/-/packages/names/zephyr")
    assert not any(seen.values()), seen
    assert window.problems == []


def _looked_at(window: Window, width: int) -> list[str]:
    window.resize(width)
    window.screenshot("search-while-typing")
    return [*window.too_wide(), *window.barriers()]


@IN_BOTH_LOOKS
def test_without_a_choice_enter_leads_to_the_page_also_without_scripts(
    desk: Desk, project: Namespace, look: Look
) -> None:
    for scripts in (True, False):
        context = desk.context("root", look, java_script_enabled=scripts)
        window = Window(context.new_page(), look, desk.pictures)
        page = window.page
        page.goto("/")

        page.get_by_label(WORDS[look]["box"]).fill("Zephyr_IO")
        page.keyboard.press("Enter")

        page.wait_for_url("**/search?q=Zephyr_IO")
        expect(page.locator("main .row-title a")).to_have_text(["zephyr_io"])
        for width in WIDTHS if scripts else ():
            window.resize(width)
            window.screenshot("search")
        context.close()
