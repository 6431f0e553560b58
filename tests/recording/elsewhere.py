"""The same installation behind a proxy, at another address, and with files sent by nginx."""

from __future__ import annotations

from tests.builders import build_wheel
from tests.recording.pages import ENGLISH, Browser
from tests.recording.recorder import basic
from tests.recording.world import ROOT_PASSWORD, ROOT_TOKEN, World

FORWARDED = {
    "X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "packages.example.com",
    "X-Forwarded-Prefix": "/registry",
}  # fmt: skip


def play(world: World) -> None:
    """Play these steps, and restore the settings."""
    before = dict(world.server.settings)
    for name, settings in (
        ("external-url", {"EXTERNAL_URL": "https://packages.example.com/registry"}),
        ("proxies", {"TRUSTED_PROXIES": "1", "STORAGE_DOWNLOADS": "accel"}),
    ):
        world.server.settings.update(settings)
        world.server.restart()
        world.recorder.part(f"elsewhere-{name}")
        _look_around(world)
        world.server.settings.clear()
        world.server.settings.update(before)
    world.server.restart()


def _look_around(world: World) -> None:
    get, ids, root = world.recorder.request, world.ids, basic("root", ROOT_TOKEN)
    wheel = build_wheel("samples", "1.0", summary="To try things with")
    for forwarded in (
        {},
        FORWARDED,
        {**FORWARDED, "X-Forwarded-Host": "one.test, two.test", "X-Forwarded-Port": "8443"},
    ):
        for path in (
            "/explore", "/registry/explore", "/open/samples", "/users/sign_in", "/groups/new", "/help/install",
            "/nothing",
            "/-/metrics", "/-/health", "/api/v4/projects?per_page=2", "/registry/api/v4/groups?per_page=1",
            f"/api/v4/projects/{ids['samples']}", f"/api/v4/projects/{ids['samples']}/packages/pypi/simple/",
            "/api/v4/projects/open%2Fsamples/packages/pypi/simple/samples/",
            "/api/v4/groups/open/-/packages/pypi/simple/samples/",
            f"/api/v4/projects/{ids['samples']}/packages/pypi/files/{wheel.sha256}/{wheel.filename}",
        ):  # fmt: skip
            for credentials in ({}, root):
                get("GET", path, {"Accept-Language": ENGLISH, **forwarded, **credentials})
        path = f"/api/v4/projects/{ids['samples']}/packages/pypi/files/{wheel.sha256}/{wheel.filename}"
        for headers in ({"Range": "bytes=0-9"}, {"If-None-Match": f'"{wheel.sha256}"'}):
            get("GET", path, {**root, **forwarded, **headers})
            get("GET", f"{path}.metadata", {**root, **forwarded, **headers})
        get("HEAD", path, {**root, **forwarded})
    browser = Browser(world).sign_in("root", ROOT_PASSWORD)
    for path in ("/", "/acme/tools", "/admin", f"/acme/tools/-/packages/{ids['signalbox 2.0.0']}", "/admin/audit_log"):
        browser.get(path)
        browser.get(path, **FORWARDED)
