"""The mode ``cache`` with real clients: cold, warm, and with the public index switched off, in two processes."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests import postgresql
from tests.acceptance.clients import Installer
from tests.acceptance.servers import REPORTER, Namespace, RunningServer
from tests.builders import build_sdist, build_wheel
from tests.fakes.index import JSON, StaticIndex

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
def project(
    start_server: Callable[..., RunningServer], public_index: StaticIndex, postgresql_server: str | None
) -> Namespace:
    """A private project of a server with two processes in the mode ``cache``, which asks for pages every second."""
    address = "" if postgresql_server is None else postgresql.create_database(postgresql_server)
    server = start_server(
        UPSTREAM_URL=public_index.url, UPSTREAM_PAGE_SECONDS="1", WORKERS="2", DATABASE_URL=address
    )  # fmt: skip
    server.as_root("PUT", "/application/settings", {"pypi_upstream_mode": "cache"})
    project = server.project()
    project.publish(OURS)
    return project


@pytest.fixture
def reader(project: Namespace) -> str:
    return project.member(REPORTER).access_token("read_api")


@pytest.mark.databases
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


def test_the_credentials_of_the_public_index_reach_no_other_host_no_log_and_no_answer(
    start_server: Callable[..., RunningServer], public_index: StaticIndex
) -> None:
    username, password = public_index.credentials = "mirror-user", "mirror-secret"
    files = StaticIndex()
    files.put(f"/files/{BELOW.filename}", BELOW.content)
    public_index.publish(BELOW, url=f"http://{files.host}/files/{BELOW.filename}")
    public_index.fail("broken/", 500)
    server = start_server(
        UPSTREAM_URL=public_index.url, UPSTREAM_USERNAME=username, UPSTREAM_PASSWORD=password,
        UPSTREAM_FILE_HOSTS=f"{public_index.host},{files.host}", LOG_LEVEL="debug",
    )  # fmt: skip
    server.as_root("PUT", "/application/settings", {"pypi_upstream_mode": "cache"})
    project = server.project()
    auth = ("root", server.root_token)

    def get(url: str) -> requests.Response:
        return requests.get(url, auth=auth, timeout=30)

    answers = [get(f"{project.index_url()}/{name}/") for name in ("top", "below", "broken", "missing")]
    answers += [get(f"{project.url}/files/{file.sha256}/{file.filename}") for file in (TOP, BELOW)]
    public_index.credentials = ("mirror-user", "changed")  # the index refuses them
    answers += [get(f"{project.index_url()}/contested/"), get(f"{server.url}/-/metrics")]
    for path in (f"/projects/{project.id}/packages/pypi/explain?name=below", "/application/settings"):
        answers.append(server.request("GET", path, server.root_token))

    assert [answer.status_code for answer in answers] == [200, 200, 502, 404, 200, 200, 502, 200, 200, 200]
    encoded = base64.b64encode(f"{username}:{password}".encode()).decode()
    for secret in (password, encoded):
        assert not [answer.url for answer in answers if secret in answer.text or secret in str(answer.headers)]
        assert secret not in server.log
    assert len(files.requests) == 1
    assert not any("Authorization" in request.headers for request in files.requests)
    files.close()


@pytest.mark.slow
def test_a_page_of_50_000_files_is_answered_whole_and_withheld_whole(
    start_server: Callable[..., RunningServer], public_index: StaticIndex
) -> None:
    server = start_server(UPSTREAM_URL=public_index.url)
    server.as_root("PUT", "/application/settings", {"pypi_upstream_mode": "cache"})
    project, count = server.project(), 50_000
    files = [
        {
            "filename": f"huge-1.{number}-py3-none-any.whl", "url": f"../../files/huge-1.{number}-py3-none-any.whl",
            "hashes": {"sha256": f"{number:064x}"}, "size": 1, "upload-time": "2024-02-03T04:05:06.789000Z",
        }
        for number in range(count)
    ]  # fmt: skip
    page = {"meta": {"api-version": "1.4"}, "name": "huge", "files": files, "versions": []}
    public_index.put("huge/", json.dumps(page), JSON)

    def get(path: str, accept: str = JSON) -> requests.Response:
        return requests.get(
            f"{project.url}/{path}", auth=("root", server.root_token), headers={"Accept": accept}, timeout=120
        )

    listed = get("simple/huge/").json()["files"]
    assert [file["filename"] for file in listed] == [file["filename"] for file in files]
    assert get("simple/huge/", "text/html").text.count("<a href=") == count
    explained = server.as_root("GET", f"/projects/{project.id}/packages/pypi/explain?name=huge&version=1.49999")
    assert len(explained["files"]) == 1

    server.as_root("PUT", "/application/settings", {"pypi_upstream_fixed_date": "2024-01-01"})
    assert get("simple/huge/").json()["files"] == []
    assert get("files/" + f"{7:064x}" + "/huge-1.7-py3-none-any.whl").status_code == 403
    too_many = page | {"files": [file | {"filename": f"huge-2.{file['filename'][7:]}"} for file in files] + files}
    public_index.put("larger/", json.dumps(too_many), JSON)
    assert get("simple/larger/").status_code == 502


@pytest.mark.databases
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


@pytest.mark.databases
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
