"""The mode ``cache`` with real clients: cold, warm, and with the public index switched off, in two processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.acceptance.clients import Installer
from tests.acceptance.servers import REPORTER, Namespace, RunningServer
from tests.builders import build_sdist, build_wheel
from tests.fakes.index import StaticIndex

TOP = build_wheel("top", "2.0", requires_dist=["below>=1"])
BELOW = build_wheel("below", "1.5")
THEIRS, OURS = build_wheel("contested", "9.9"), build_wheel("contested", "1.0")


@pytest.fixture
def public_index() -> Iterator[StaticIndex]:
    index = StaticIndex()
    for file in (TOP, BELOW, THEIRS):
        index.publish(file)
    yield index
    index.close()


@pytest.fixture
def project(start_server: Callable[..., RunningServer], public_index: StaticIndex) -> Namespace:
    """A private project of a server with two processes in the mode ``cache``, which asks for pages every second."""
    server = start_server(UPSTREAM_URL=public_index.url, UPSTREAM_PAGE_SECONDS="1", WORKERS="2")
    server.as_root("PUT", "/application/settings", {"pypi_upstream_mode": "cache"})
    project = server.project()
    project.publish(OURS)
    return project


@pytest.fixture
def reader(project: Namespace) -> str:
    return project.member(REPORTER).access_token("read_api")


def test_pip_and_uv_install_what_is_public_through_the_registry_also_when_the_public_index_is_away(
    pip: Installer, uv: Installer, public_index: StaticIndex, project: Namespace, reader: str
) -> None:
    index = project.index_url(reader)
    pip.succeeds("install", "--no-cache-dir", "--index-url", index, "top", "contested")
    assert pip.installed() == {"top": "2.0", "below": "1.5", "contested": "1.0"}
    assert not any(reader in str(request) for request in public_index.requests)
    assert public_index.asked_for("contested/") == []

    time.sleep(1)  # until the pages are due
    public_index.close()
    uv.succeeds("pip", "install", "--no-cache", "--target", uv.site, "--index-url", index, "top", "contested")

    assert uv.installed() == {"top": "2.0", "below": "1.5", "contested": "1.0"}
    page = requests.get(f"{project.index_url()}/top/", auth=("reader", reader), timeout=30)
    assert (page.status_code, page.headers["Warning"]) == (200, '110 - "Response is Stale"')
    absent = requests.get(f"{project.index_url()}/never-asked/", auth=("reader", reader), timeout=30)
    assert (absent.status_code, absent.headers["Content-Type"]) == (502, "application/problem+json")


def test_eight_clients_of_two_processes_have_one_page_and_one_file_fetched_once(
    public_index: StaticIndex, project: Namespace, reader: str
) -> None:
    file = build_sdist("shared", "1.0")
    public_index.publish(file)
    public_index.delay("shared/", 0.2)
    public_index.delay(f"/files/{file.filename}", 0.2)

    def fetch(_number: int) -> tuple[int, bytes]:
        with requests.Session() as session:
            session.auth = ("reader", reader)
            page = session.get(f"{project.index_url()}/shared/", timeout=30)
            answer = session.get(f"{project.url}/files/{file.sha256}/{file.filename}", timeout=30)
        return page.status_code, answer.content

    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(fetch, range(8)))

    assert answers == [(200, file.content)] * 8
    assert len(public_index.asked_for(f"/files/{file.filename}")) == 1
    assert len(public_index.asked_for("shared/")) <= 2  # once, and once more if that took longer than a second


def test_a_registry_answers_while_the_public_index_hangs(
    public_index: StaticIndex, project: Namespace, reader: str
) -> None:
    names = [f"hangs{number}" for number in range(30)]
    for name in names:
        public_index.delay(f"{name}/", 10)

    def ask(name: str) -> int:
        return requests.get(f"{project.index_url()}/{name}/", auth=("reader", reader), timeout=60).status_code

    with ThreadPoolExecutor(30) as clients:
        answers = [clients.submit(ask, name) for name in names]
        time.sleep(0.5)
        begun = time.monotonic()
        health = requests.get(f"{project.server.url}/-/health", timeout=30)
        own = requests.get(f"{project.index_url()}/contested/", auth=("reader", reader), timeout=30)
        took = time.monotonic() - begun

    assert (health.status_code, own.status_code) == (200, 200)
    assert took < 1.5
    assert {answer.result() for answer in answers} <= {502, 503}
