"""``python -m tests.browser.pictures`` makes the README's two pictures again, in ``static/screenshots/``.

It serves a new installation with the packages of a laboratory, whose times and downloads are set in its database.
"""

from __future__ import annotations

import base64
import shutil
import sqlite3
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

from tests.acceptance.servers import MAINTAINER, Namespace, RunningServer, User
from tests.browser.conftest import ARGUMENTS, CHROMIUM
from tests.browser.windows import sign_in
from tests.builders import build_sdist, build_wheel

PICTURES = Path(__file__).resolve().parents[2] / "static" / "screenshots"
WIDTH, HEIGHT, SCALE, QUALITY = 1280, 740, 1.25, 80
CHART_DAYS = 90
README = """\
# signalbox

Reads **signals** of our instruments and writes tables.

## Use

```python
from signalbox import Box

box = Box.open("line.csv")
print(box.peaks(above=0.5))
```
"""
PEOPLE = {"alice": "Alice Anderson", "bob": "Bob Brown", "hana": "Hana Sato"}


@dataclass(frozen=True)
class Release:
    name: str
    version: str
    summary: str
    size_bytes: int
    publisher: str
    age: timedelta
    downloads: int


SIGNALBOX = "Reads signals of our instruments, and writes tables."
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
RELEASES = (
    Release("old-driver", "1.2.0", "Driver of the first generation of detectors.", 45_800, "bob", 400 * DAY, 10),
    Release("pressure-log", "1.4.0", "Logs the pressure of vacuum chambers.", 31_000, "bob", 35 * DAY, 48),
    Release("lens-calibration", "0.9.2", "Calibrates lenses with a picture of a grid.", 60_400, "alice", 20 * DAY, 5),
    Release("spectrum-tools", "4.1.0", "Smooths, fits, and compares spectra.", 2_300_000, "alice", 9 * DAY, 47),
    Release("beamline", "2.0.0rc1", "Controls the beamline from Python.", 900_000, "hana", 7 * DAY, 5),
    Release("sample-ids", "3.0.0", "Creates and checks the IDs of samples.", 16_500, "hana", 2 * DAY, 48),
    Release("fieldnotes", "0.3.1", "Notes that stay readable.", 43_000, "bob", 12 * HOUR, 58),
    Release("signalbox", "1.0.0", SIGNALBOX, 110_000, "bob", 120 * DAY, 430),
    Release("signalbox", "1.1.0", SIGNALBOX, 120_000, "bob", 60 * DAY, 306),
    Release("signalbox", "2.0.0", SIGNALBOX, 130_000, "bob", 3 * HOUR, 470),
)


def main() -> None:
    folder = Path(tempfile.mkdtemp())
    server = RunningServer(folder)
    server.start()
    try:
        furnish(server)
        server.stop()
        age(server.instance / "registry.sqlite3")
        server.start()
        take(server)
    finally:
        server.stop()
        shutil.rmtree(folder)


def furnish(server: RunningServer) -> None:
    """Publish the releases, each as its publisher."""
    acme = server.group("acme", name="Acme Instruments")
    tools = server.project("tools", group=acme, name="Tools")
    tokens = {username: _token(server, tools, username, name) for username, name in PEOPLE.items()}
    for release in RELEASES:
        fields: dict[str, Any] = {"summary": release.summary, "requires_python": ">=3.10"}
        if release.name == "signalbox":
            pages = ("Documentation", "Source", "Changelog")
            links = [f"Project-URL: {each}, https://signalbox.example/{each.lower()}" for each in pages]
            fields |= {
                "description": README, "description_content_type": "text/markdown", "metadata_version": "2.4",
                "headers": ["License-Expression: Apache-2.0", "Author-Email: Bob Brown <bob@example.com>", *links],
            }  # fmt: skip
        files = [build_wheel(release.name, release.version, size_bytes=release.size_bytes, **fields)]
        if release.version == "2.0.0":
            files.append(build_sdist(release.name, release.version, **fields))
        for file in files:
            response = tools.upload(file, tokens[release.publisher], summary=release.summary)
            assert response.status_code == 201, response.text
    rule = {"package_name_pattern": "signal*", "package_type": "pypi", "minimum_access_level_for_push": "maintainer"}
    server.as_root("POST", f"{tools.rest_path}/packages/protection/rules", rule)
    server.as_root("PUT", f"{tools.rest_path}/packages/names/old-driver/status", {"status": "deprecated"})


def _token(server: RunningServer, project: Namespace, username: str, name: str) -> str:
    made = {
        "username": username, "name": name, "email": f"{username}@example.com", "password": "a long enough one",
        "skip_confirmation": True,
    }  # fmt: skip
    user = User(server, server.as_root("POST", "/users", made)["id"], username)
    server.as_root("POST", f"{project.rest_path}/members", {"user_id": user.id, "access_level": MAINTAINER})
    return user.access_token("api")


def age(database: Path) -> None:
    """Set back the times of the releases, and add their downloads, most of the latest release in the last weeks."""
    now = datetime.now(UTC).replace(tzinfo=None)
    with sqlite3.connect(database) as connection:
        for release in RELEASES:
            when = (now - release.age).isoformat(" ")
            row = (release.name, release.version)
            [package_id] = connection.execute("SELECT id FROM packages WHERE name = ? AND version = ?", row).fetchone()
            [file_id] = connection.execute(
                "SELECT min(id) FROM package_files WHERE package_id = ?", (package_id,)
            ).fetchone()
            connection.execute("UPDATE packages SET created_at = ? WHERE id = ?", (when, package_id))
            connection.execute("UPDATE package_files SET created_at = ? WHERE package_id = ?", (when, package_id))
            connection.execute(
                "UPDATE name_summaries SET published_at = ?, downloads = downloads + ? WHERE normalized_name = ?",
                (when, release.downloads, release.name),
            )
            connection.executemany(
                "INSERT INTO file_downloads (file_id, day, count) VALUES (?, ?, ?)",
                [(file_id, (now.date() - timedelta(day)).isoformat(), count) for day, count in _days(release)],
            )
    connection.close()


def _days(release: Release) -> list[tuple[int, int]]:
    """How often a release was downloaded how many days ago, growing toward today."""
    weights = [(CHART_DAYS - day) * (1 + (day * 7 + len(release.name)) % 5) for day in range(CHART_DAYS)]
    shares = [release.downloads * sum(weights[:day]) // sum(weights) for day in range(CHART_DAYS + 1)]
    return [(day, shares[day + 1] - shares[day]) for day in range(CHART_DAYS) if shares[day + 1] > shares[day]]


def take(server: RunningServer) -> None:
    executable = next(filter(None, map(shutil.which, CHROMIUM)))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=list(ARGUMENTS))
        _photograph(browser, server)
        browser.close()


def _photograph(browser: Browser, server: RunningServer) -> None:
    context = browser.new_context(base_url=server.url, viewport={"width": WIDTH, "height": HEIGHT}, locale="en")
    page = context.new_page()
    sign_in(page, "root", server.root_password)
    chromium = context.new_cdp_session(page)
    for picture, path in (("package-list", "packages"), ("package-page", "packages/names/signalbox")):
        page.goto(f"/acme/tools/-/{path}")
        while page.get_by_role("link", name="Reload the page").count():  # until the README is rendered
            page.reload()
        area = {"x": 0, "y": 0, "width": WIDTH, "height": HEIGHT, "scale": SCALE}
        taken = chromium.send("Page.captureScreenshot", {"format": "webp", "quality": QUALITY, "clip": area})
        (PICTURES / f"{picture}.webp").write_bytes(base64.b64decode(taken["data"]))


if __name__ == "__main__":
    main()
