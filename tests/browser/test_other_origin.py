"""Scripts of pages of another origin, such as micropip in JupyterLite, install from public projects."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests.acceptance.servers import RunningServer
from tests.browser.windows import sign_in
from tests.builders import BuiltFile, build_wheel
from tests.fakes.upstream import Upstream

SIMPLE = "application/vnd.pypi.simple.v1+json"
# The status, selected headers, and size of a response, or the error if the browser does not show it to the page.
FETCH = """async ([url, options]) => {
    try {
        const response = await fetch(url, options);
        const body = await response.arrayBuffer();
        const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", body));
        return {
            status: response.status, link: response.headers.get("Link"), total: response.headers.get("X-Total"),
            text: new TextDecoder().decode(body),
            sha256: Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join(""),
        };
    } catch (error) {
        return { refused: error.name };
    }
}"""
REFUSED = {"refused": "TypeError"}


@pytest.fixture
def page(chromium: Browser, server: RunningServer, upstream: Upstream) -> Iterator[Page]:
    """A page of another origin: of a server on the same host, so that cookies can be sent along."""
    context = chromium.new_context(base_url=server.url)
    page = context.new_page()
    page.goto(upstream.url)
    yield page
    context.close()


@pytest.fixture(scope="module")
def wheels() -> list[BuiltFile]:
    """A small one, which the registry keeps in memory, and one that it sends from its file."""
    return [build_wheel("lab", "1.0"), build_wheel("lab", "2.0+local.1", size_bytes=100_000)]


def test_a_page_of_another_origin_reads_a_public_project_and_its_files(
    page: Page, server: RunningServer, wheels: list[BuiltFile]
) -> None:
    group = server.group(visibility="public")
    project = server.project(group=group, visibility="public")
    project.publish(*wheels)
    for _ in range(3):  # from the application, from its cache, and from the server's loop
        found = page.evaluate(FETCH, [f"{project.url}/simple/lab/", {"headers": {"Accept": SIMPLE}}])
        assert found["status"] == 200
        for wheel in wheels:
            [url] = [url for url in project.listed("lab").values() if url.endswith(wheel.filename)]
            assert url in found["text"]
            assert page.evaluate(FETCH, [url, {}])["sha256"] == wheel.sha256
            assert page.evaluate(FETCH, [f"{url}.metadata", {}])["status"] == 200

    missing = page.evaluate(FETCH, [f"{server.url}/api/v4/nothing", {}])
    assert missing["status"] == 404
    listed = page.evaluate(FETCH, [f"{server.url}/api/v4/projects?per_page=1", {}])
    assert listed["link"].startswith(f"<{server.url}/api/v4/projects")
    assert int(listed["total"]) > 0


def test_a_page_of_another_origin_needs_a_token_for_more_and_never_has_the_session(
    page: Page, server: RunningServer
) -> None:
    project = server.project()
    url = f"{server.url}/api/v4/projects/{project.id}"
    own = page.context.new_page()
    sign_in(own, "root", server.root_password)
    assert own.evaluate(FETCH, [url, {}])["status"] == 200

    assert page.evaluate(FETCH, [url, {}])["status"] == 404
    assert page.evaluate(FETCH, [url, {"credentials": "include"}]) == REFUSED
    assert page.evaluate(FETCH, [f"{server.url}/explore", {}]) == REFUSED
    with_token = {"headers": {"PRIVATE-TOKEN": server.root_token, "Content-Type": "application/json"}}
    assert (
        page.evaluate(FETCH, [url, {**with_token, "method": "PUT", "body": '{"description": "Lab"}'}])["status"] == 200
    )
    wrong = page.evaluate(FETCH, [url, {"headers": {"Authorization": "Bearer glpat-wrong"}}])
    assert wrong["status"] == 401
