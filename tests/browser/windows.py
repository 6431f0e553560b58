"""Windows of a browser in a given look, and the checks of every page shown in them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import html5lib
import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page

from tests.acceptance.servers import RunningServer

SCREENSHOTS = Path(__file__).resolve().parents[2] / ".screenshots"
WIDE, MIDDLE, PHONE, NARROW = 1440, 768, 360, 320
BETWEEN = (992, 600)  # the narrowest with the sidebar, and above phones
HEIGHT = 800
PATIENCE_MS = 20_000  # machines that run tests are busy
_UNFOLD = """document.querySelectorAll("details:not(.confirm):not(.menu)").forEach((part) => { part.open = true; })"""
_TOO_WIDE = """() => [...document.querySelectorAll("body *")]
    .filter((element) => {
        for (let part = element.parentElement; part; part = part.parentElement)
            if (part !== document.body && getComputedStyle(part).overflowX !== "visible") return false;
        return true;
    })
    .filter((element) => element.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
    .map((element) => element.outerHTML.slice(0, 120)).slice(0, 5)"""

# Identifiers in code, and words of more than 24 characters, can be longer than a line.
_BROKEN = """() => {
    const found = [], range = document.createRange();
    const lines = () => new Set([...range.getClientRects()].map((part) => Math.round(part.top / 4))).size;
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
        const text = texts.currentNode, element = text.parentElement;
        if (!element.checkVisibility() || element.closest("code, pre, .visually-hidden")) continue;
        const pattern = element.closest(".btn, button") ? /\\S.*\\S/g : /(?<!\\S)[A-Za-z0-9]{2,24}(?!\\S)/g;
        for (const word of text.data.matchAll(pattern)) {
            range.setStart(text, word.index);
            range.setEnd(text, word.index + word[0].length);
            if (lines() > 1) found.push(`${word[0]} in ${element.outerHTML.slice(0, 120)}`);
        }
    }
    return found.slice(0, 5);
}"""

# Options of selects, which the closed select shows once chosen, and placeholders; the layout does not know of either.
_CUT = """() => {
    const brush = document.createElement("canvas").getContext("2d");
    return [...document.querySelectorAll("select, input[placeholder]")]
        .filter((field) => field.checkVisibility({ visibilityProperty: true }))
        .filter((field) => field.offsetWidth < field.parentElement.clientWidth - 1) // it could be wider
        .flatMap((field) => {
            const style = getComputedStyle(field);
            brush.font = style.font;
            const room = field.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
            const texts = field.options ? [...field.options].map((option) => option.text) : [field.placeholder];
            return texts.filter((text) => brush.measureText(text).width > room + 1);
        }).slice(0, 5);
}"""

# Japanese has no spaces after its full stops and commas.
_SPACED = """() => {
    const found = [], range = document.createRange();
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    let follows = false;
    while (texts.nextNode()) {
        const text = texts.currentNode, element = text.parentElement;
        if (!element.checkVisibility() || element.closest("code, pre, textarea, option")) continue;
        for (const space of text.data.matchAll(/(^|[。、])\\s+/g)) {
            if (!space[1] && !follows) continue;
            range.setStart(text, space.index + space[1].length);
            range.setEnd(text, space.index + space[0].length);
            if ([...range.getClientRects()].some((part) => part.width > 0.5))
                found.push(element.outerHTML.slice(0, 200));
        }
        follows = /[。、]$/.test(text.data) || (follows && !text.data.trim());
    }
    return found.slice(0, 5);
}"""

_UNREACHABLE = """[...document.querySelectorAll("a, button, input, select, textarea, summary, [onclick]")]
    .filter((element) => element.checkVisibility({ visibilityProperty: true }) && !element.disabled)
    .filter((element) => element.tabIndex !== 0)
    .map((element) => element.outerHTML.slice(0, 120))"""


@dataclass(frozen=True)
class Look:
    """Language and colours that a window asks for."""

    language: str
    scheme: str

    def __str__(self) -> str:
        return f"{self.scheme} {self.language}"


LIGHT, DARK = Look("en", "light"), Look("ja", "dark")
# Journeys take long. The default run has some of them in one look, and the slow group all others.
IN_BOTH_LOOKS = pytest.mark.parametrize("look", [LIGHT, pytest.param(DARK, marks=pytest.mark.slow)], ids=str)
IN_BOTH_WAYS = pytest.mark.parametrize(
    ("look", "scripts"),
    [pytest.param(LIGHT, True, marks=pytest.mark.slow), pytest.param(DARK, False, marks=pytest.mark.slow)],
    ids=["with scripts", "without scripts"],
)


@dataclass
class Window:
    """A page of the browser.

    :ivar pictures: the folder for screenshots; without one none are taken.
    :ivar problems: the complaints on its console.
    """

    page: Page
    look: Look
    pictures: Path | None = None
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.problems.append(f"script: {error}"))

    def _note(self, message: ConsoleMessage) -> None:
        # The caller of ``open`` checks the status of the page itself.
        if message.type == "error" and message.location["url"] != self.page.url:
            self.problems.append(f"console: {message.text} {message.location['url']}")

    def open(self, address: str, status: int = 200) -> str:
        """Go to an address; the HTML as the server sent it."""
        response = self.page.goto(address)
        assert response is not None
        assert response.status == status, f"{address}: {response.status}"
        return response.text()

    def resize(self, width: int) -> None:
        self.page.set_viewport_size({"width": width, "height": HEIGHT})

    def screenshot(self, name: str) -> None:
        if self.pictures is None:
            return
        self.pictures.mkdir(exist_ok=True)
        width = (self.page.viewport_size or {})["width"]
        path = self.pictures / f"{name}-{width}-{self.look.scheme}-{self.look.language}.jpg"
        self.page.screenshot(path=path, type="jpeg", quality=70, full_page=True)

    def unfold(self) -> None:
        """Unfold all details, so that they are checked as well."""
        self.page.evaluate(_UNFOLD)

    def too_wide(self) -> list[str]:
        """What makes the page scroll sideways."""
        if self.page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"):
            return []
        return [f"too wide: {element}" for element in self.page.evaluate(_TOO_WIDE)] or ["too wide"]

    def broken(self) -> list[str]:
        """Words and buttons whose text continues on another line."""
        return [f"broken: {word}" for word in self.page.evaluate(_BROKEN)]

    def cut(self) -> list[str]:
        """Options and placeholders that do not fit into their fields, although there is room."""
        return [f"cut: {text}" for text in self.page.evaluate(_CUT)]

    def spaced(self) -> list[str]:
        """Japanese sentences with a visible space after them."""
        return [f"space after a sentence: {element}" for element in self.page.evaluate(_SPACED)]

    def unreachable(self) -> list[str]:
        """Visible controls that Tab does not lead to, or not in the order of the page."""
        found: list[str] = self.page.evaluate(_UNREACHABLE)
        return [f"not reached by Tab: {element}" for element in found]

    def barriers(self) -> list[str]:
        """Violations of accessibility that axe-core finds, of any impact."""
        self.page.evaluate(AXE_SCRIPT)
        found = self.page.evaluate("axe.run({resultTypes: ['violations']}).then((results) => results.violations)")
        return [
            f"{violation['id']}: {node['html'][:200]} {node.get('failureSummary', '')}"
            for violation in found
            for node in violation["nodes"]
        ]


class Desk:
    """Keeps one window for each reader and look; they are signed in once."""

    def __init__(self, browser: Browser, server: RunningServer, *, screenshots: bool) -> None:
        self.browser = browser
        self.server = server
        self.pictures = SCREENSHOTS if screenshots else None
        self._windows: dict[tuple[str, Look], Window] = {}
        self._cookies: list[Any] = []

    def window(self, reader: str, look: Look = LIGHT) -> Window:
        """The window of this reader with this look, opened on first use."""
        if (reader, look) not in self._windows:
            self._windows[reader, look] = Window(self.context(reader, look).new_page(), look, self.pictures)
        window = self._windows[reader, look]
        window.problems.clear()
        return window

    def context(self, reader: str, look: Look = LIGHT, **options: Any) -> BrowserContext:
        """A new session of the browser.

        :param reader: ``root``, who is signed in, or ``anonymous``.
        """
        context = self.browser.new_context(
            base_url=self.server.url,
            viewport={"width": WIDE, "height": HEIGHT},
            color_scheme="dark" if look is DARK else "light",
            locale=look.language,
            **options,
        )
        context.set_default_timeout(PATIENCE_MS)
        if reader == "root":
            context.add_cookies(self._cookies or self._sign_in())
        return context

    def _sign_in(self) -> list[Any]:
        context = self.context("anonymous")
        sign_in(context.new_page(), "root", self.server.root_password)
        self._cookies = context.cookies()
        context.close()
        return self._cookies

    def close(self) -> None:
        for window in self._windows.values():
            window.page.context.close()


def sign_in(page: Page, username: str, password: str) -> None:
    page.goto("/users/sign_in")
    page.get_by_label("Username or email").fill(username)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.wait_for_url(re.compile(r"/$"))


def parse(html: str) -> None:
    """:raises html5lib.html5parser.ParseError: the page is not valid HTML."""
    html5lib.HTMLParser(strict=True).parse(html)
