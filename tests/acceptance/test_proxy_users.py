"""A started server that signs in the users of a trusted proxy, as connections from other addresses find it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from urllib.parse import urlsplit

import pytest

from tests.acceptance.servers import DEVELOPER, ForkedServer, RunningServer
from tests.builders import build_wheel

PROXY, OTHER = "127.0.0.2", "127.0.0.1"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    started = ForkedServer(
        tmp_path_factory.mktemp("proxy_users"),
        TRUSTED_PROXIES="1",
        TRUSTED_PROXY_ADDRESSES=PROXY,
        TRUSTED_USER_HEADER="X-Forwarded-User",
    )
    started.start()
    yield started
    assert started.stop() == 0, started.log


def test_what_a_user_of_the_proxy_downloads_is_given_to_no_other_address(server: RunningServer) -> None:
    project, wheel = server.project(), build_wheel()
    project.publish(wheel)
    [package] = project.packages()
    [file] = server.as_root("GET", f"{project.rest_path}/packages/{package['id']}/package_files")
    page = f"/{project.full_path}/-/package_files/{file['id']}/download"
    feed = f"/{project.full_path}/-/packages.atom"
    link = urlsplit(project.listed(wheel.name)[wheel.filename]).path
    header = {"X-Forwarded-User": project.member(DEVELOPER).username}

    def ask(address: str, path: str, headers: dict[str, str]) -> tuple[HTTPResponse, bytes]:
        connection = HTTPConnection(urlsplit(server.url).netloc, source_address=(address, 0), timeout=60)
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        body = response.read()
        connection.close()
        return response, body

    def downloads() -> float:
        found = re.search(r"^registry_downloads_total (\S+)$", ask(OTHER, "/-/metrics", {})[1].decode(), re.MULTILINE)
        assert found is not None
        return float(found[1])

    before = downloads()
    first, body = ask(PROXY, page, header)
    cookie = {"Cookie": first.headers["Set-Cookie"].partition(";")[0]}

    assert body == wheel.content
    for _ in range(3):  # a head is remembered at the second request, and answered by the loop at the third
        response, body = ask(PROXY, page, header | cookie)
        assert (response.status, body) == (200, wheel.content)
        assert response.headers["Cache-Control"] == "no-store"
        assert ask(PROXY, feed, header | cookie)[0].status == 200
        for address, headers in ((OTHER, header | cookie), (OTHER, cookie), (PROXY, cookie)):
            assert [ask(address, path, headers)[0].status for path in (page, feed, link)] == [303, 404, 401]
        assert ask(PROXY, link, header | cookie)[0].status == 401
    assert downloads() - before == 4

    stranger = {"X-Forwarded-User": server.user().username}
    assert ask(PROXY, page, stranger)[0].status == ask(PROXY, page, stranger | cookie)[0].status == 404
