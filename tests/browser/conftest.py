"""A real browser in front of a real server. One of each serves all tests of a process."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

# The server, its upstream and the real clients are those of the acceptance tests.
from tests.acceptance.conftest import client_environment, home, pip, server, twine, upstream
from tests.acceptance.servers import RunningServer
from tests.browser.windows import Desk

__all__ = ["client_environment", "home", "pip", "server", "twine", "upstream"]

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
# Each window would load pages for its address bar, in processes of their own. The option replaces Playwright's own, so
# it repeats what changes how pages load there.
FEATURES = (
    "WebUIOmniboxPopup", "WebUIOmniboxAimPopup", "WebUIOmniboxFullPopup", "HttpsUpgrades",
    "HttpsFirstBalancedModeAutoEnable", "LensOverlay", "MediaRouter", "OptimizationHints", "PaintHolding",
    "PreconnectToSearch",
)  # fmt: skip
ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", f"--disable-features={','.join(FEATURES)}",
)  # fmt: skip


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """The system's Chromium. Without one these tests are skipped; in CI that is a failure."""
    executable = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if executable is None:
        reason = f"no browser: none of {', '.join(CHROMIUM)} is installed"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=list(ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def desk(chromium: Browser, server: RunningServer, pytestconfig: pytest.Config) -> Iterator[Desk]:
    """Windows of the browser, by reader and look."""
    opened = Desk(chromium, server, screenshots=pytestconfig.getoption("--screenshots"))
    yield opened
    opened.close()
