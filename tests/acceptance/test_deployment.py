"""As it is deployed: nginx in front of several processes, over TLS and below a path, with the real clients."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import requests

from tests.acceptance.clients import Client, Installer
from tests.acceptance.servers import ForkedServer, RunningServer, with_credentials
from tests.acceptance.wire import MIB, large_wheel, upload_large
from tests.builders import build_wheel
from tests.fakes.nginx import PROGRAM, Nginx, free_port

pytestmark = [
    pytest.mark.skipif(PROGRAM is None, reason="nginx is not installed"),
    pytest.mark.skipif(os.geteuid() != 0, reason="nginx's own processes read the tests' folders as root"),
]
JSON = {"Accept": "application/vnd.pypi.simple.v1+json"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Two processes behind nginx, which sends the files itself; ``url`` is that of nginx."""
    folder = tmp_path_factory.mktemp("deployment")
    started = ForkedServer(folder, WORKERS="2", TRUSTED_PROXIES="1", STORAGE_DOWNLOADS="accel")
    started.start()
    port = free_port()
    proxy = Nginx(folder / "nginx", port, started.url, {"alias /data/packages/": f"alias {started.instance}/packages/"})
    proxy.start()
    started.url = f"http://127.0.0.1:{port}"
    yield started
    proxy.stop()
    assert started.stop() == 0, started.log
    assert "Traceback" not in started.log


def test_the_clients_publish_and_install_through_the_proxy(
    server: RunningServer, twine: Client, pip: Installer, uv: Installer, tmp_path: Path
) -> None:
    project = server.project()
    wheel = build_wheel("proxied")
    (tmp_path / wheel.filename).write_bytes(wheel.content)

    twine.succeeds(
        "upload", "--repository-url", project.url, "-u", "root", "-p", server.root_token, tmp_path / wheel.filename
    )
    pip.succeeds("install", "--index-url", project.index_url(server.root_token, by_path=True), "proxied")
    uv.succeeds("pip", "install", "--index-url", project.index_url(server.root_token), "proxied")

    assert pip.installed() == {"proxied": "1.0"}
    assert all(url.startswith(f"{server.url}/api/v4/projects/") for url in project.listed("proxied").values())


def test_nginx_sends_the_files_as_the_registry_would(server: RunningServer, tmp_path: Path) -> None:
    project, wheel = server.project(), large_wheel(tmp_path, "sent", 3 * MIB)
    content = wheel.path.read_bytes()
    uploaded = upload_large(project, wheel, server.root_token)
    assert uploaded is not None
    assert uploaded.status == 201, uploaded.body
    [url] = project.listed("sent").values()
    auth = ("root", server.root_token)

    whole = requests.get(url, auth=auth, timeout=60)
    part = requests.get(url, auth=auth, headers={"Range": "bytes=1000-1999"}, timeout=60)
    head = requests.head(url, auth=auth, timeout=60)

    assert (whole.status_code, whole.content) == (200, content)
    assert (part.status_code, part.content) == (206, content[1000:2000])
    assert part.headers["Content-Range"] == f"bytes 1000-1999/{len(content)}"
    assert head.headers["Content-Length"] == str(len(content))
    for answer in (whole, part, head):
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert wheel.path.name in answer.headers["Content-Disposition"]
        assert "immutable" in answer.headers["Cache-Control"]
        assert not {"Content-Encoding", "X-Accel-Redirect"} & answer.headers.keys()


def test_nginx_itself_does_not_serve_the_files(server: RunningServer) -> None:
    project, wheel = server.project(), build_wheel("kept")
    project.publish(wheel)

    direct = requests.get(f"{server.url}/_objects/sha256/{wheel.sha256[:2]}/{wheel.sha256}", timeout=60)
    anonymous = requests.get(next(iter(project.listed("kept").values())), timeout=60)

    assert direct.status_code == 404
    assert anonymous.status_code == 401
    assert anonymous.headers["WWW-Authenticate"].startswith("Basic ")


def test_forwarded_headers_are_believed_of_the_proxy_alone(server: RunningServer) -> None:
    project = server.project()
    project.publish(build_wheel("linked"))
    forged = {"X-Forwarded-Host": "elsewhere.example", "X-Forwarded-Proto": "https", "X-Forwarded-Prefix": "/there"}

    page = requests.get(
        f"{project.url}/simple/linked/", headers=JSON | forged, auth=("root", server.root_token), timeout=60
    ).json()

    assert page["files"][0]["url"].startswith(f"{server.url}/api/v4/")


@pytest.mark.slow
def test_a_registry_below_a_path_over_tls(
    start_server: Callable[..., RunningServer], tmp_path: Path, twine: Client, pip: Installer
) -> None:
    port, own_port, certificate = free_port(), free_port(), tmp_path / "certificate.pem"
    external_url = f"https://localhost:{port}/pypi"
    server = start_server(PORT=str(own_port), EXTERNAL_URL=external_url, TRUSTED_PROXIES="1")
    server.url = f"http://127.0.0.1:{own_port}"
    proxy = Nginx(
        tmp_path / "nginx", port, server.url,
        {
            "listen 80;": f"listen 127.0.0.1:{port} ssl; {_signed(certificate)}",
            "location / {": "location /pypi/ {",
        },
    )  # fmt: skip
    project, wheel = server.project(), build_wheel("secured")
    (tmp_path / wheel.filename).write_bytes(wheel.content)
    endpoint = external_url + project.pypi_path
    proxy.start()
    try:
        twine.succeeds(
            "upload", "--cert", certificate, "--repository-url", endpoint, "-u", "root", "-p", server.root_token,
            tmp_path / wheel.filename,
        )  # fmt: skip
        by_path = endpoint.replace(f"/{project.id}/", f"/{quote(project.full_path, safe='')}/")
        index_url = with_credentials(f"{by_path}/simple", "root", server.root_token)
        pip.succeeds("install", "--cert", certificate, "--index-url", index_url, "secured")
        page = requests.get(f"{external_url}/users/sign_in", verify=str(certificate), timeout=60)
    finally:
        proxy.stop()

    assert pip.installed() == {"secured": "1.0"}
    assert page.status_code == 200
    assert "Secure" in page.headers["Set-Cookie"]
    assert 'href="/pypi/static/' in page.text


def _signed(certificate: Path) -> str:
    """Make a certificate for localhost that signs itself; the directives that name it and its key."""
    key = certificate.with_suffix(".key")
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
            "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", certificate,
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    return f"ssl_certificate {certificate}; ssl_certificate_key {key};"
