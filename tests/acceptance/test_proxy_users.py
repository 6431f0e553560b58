"""A started server that signs in the users of a trusted proxy, as connections from other addresses find it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from tests.acceptance.servers import CHECKOUT, DEVELOPER, ForkedServer, RunningServer
from tests.builders import build_wheel
from tests.fakes.nginx import CONFIGURATION, PROGRAM, Nginx, free_port

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


@pytest.mark.skipif(PROGRAM is None, reason="nginx is not installed")
@pytest.mark.skipif(os.geteuid() != 0, reason="nginx's own processes read the tests' folders as root")
@pytest.mark.slow
def test_the_documented_proxies_sign_in_the_users_that_they_have_authenticated(
    server: RunningServer, tmp_path: Path
) -> None:
    """Not those whom a client names, in the header of the registry or in one that the service has not verified."""
    chapter = (CHECKOUT / "registry" / "docs" / "configuration.md").read_text().partition("### Users of a proxy")[2]
    by_password, api, by_service, service = re.findall(r"^location .*?^}$", chapter, re.MULTILINE | re.DOTALL)
    user, port = server.user().username, free_port()
    accounts = f"""http {{
        server {{
            listen 127.0.0.1:{port};
            add_header X-User {user} always;
            location / {{ if ($cookie_session) {{ return 204; }} return 401; }}
        }}"""
    forged, session = {"X-Forwarded-User": "root"}, {"session": "1"}

    with proxy_running(server, tmp_path / "password", [by_password, api], {}) as shown:
        (tmp_path / "password" / "users").write_text(f"{user}:{{PLAIN}}password")
        assert shown(auth=(user, "password"), headers=forged) == user
        assert shown(auth=("root", "password")) is None

    service = service.replace("auth.example.com", f"127.0.0.1:{port}")
    with proxy_running(server, tmp_path / "service", [by_service, service, api], {"http {": accounts}) as shown:
        assert shown(cookies=session, headers=forged) == user
        assert shown(cookies=session, auth=("root", "password")) == user
        assert shown(auth=("root", "password")) is None


@contextmanager
def proxy_running(
    server: RunningServer, folder: Path, locations: list[str], replaced: dict[str, str]
) -> Iterator[Callable[..., str | None]]:
    """nginx with these locations in place of the deployed one; a function that shows who is signed in by a request."""
    text, port = CONFIGURATION.read_text(), free_port()
    start = text.index("        location / {")
    deployed = text[start : text.index("        }\n", start)] + "        }\n"
    lines = [line for line in deployed.splitlines()[1:-1] if "X-Forwarded-User" not in line]
    own = "\n".join(locations).replace("/etc/nginx/users", str(folder / "users"))
    nginx = Nginx(folder, port, server.url, {deployed: own, **replaced})
    (folder / "registry.conf").write_text("\n".join([*lines, f"proxy_bind {PROXY};"]))

    def shown(**request: Any) -> str | None:
        page = f"http://127.0.0.1:{port}/-/user_settings/profile"
        found = re.search(r'name="username"[^>]*value="([^"]+)"', requests.get(page, timeout=60, **request).text)
        return None if found is None else found[1]

    nginx.start()
    yield shown
    nginx.stop()
