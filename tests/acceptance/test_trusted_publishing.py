"""Publishing without a secret: the real uv with the variables of CI systems, and identity tokens used once."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import html5lib
import pytest
import requests

from tests.acceptance.clients import Client, Installer
from tests.acceptance.matrix.editions import editions
from tests.acceptance.servers import ForkedServer, Namespace, RunningServer
from tests.builders import build_wheel
from tests.fakes.issuer import Issuer, issuer_running
from tests.fakes.nginx import PROGRAM, Nginx, free_port

CLAIMS = {"project": "acme/app", "ref": "main"}
TO_READ = {
    "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
    "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
}


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with issuer_running() as running:
        yield running


def trusting(server: RunningServer, issuer: Issuer) -> Namespace:
    """A project that trusts jobs of the issuer, and only those."""
    server.as_root("PUT", "/application/settings", {"oidc_trusted_issuers": [issuer.url]})
    project = server.project()
    server.as_root("POST", f"{project.rest_path}/trusted_publishers", {"issuer": issuer.url, "claims": CLAIMS})
    server.as_root("PUT", project.rest_path, {"only_trusted_publishers": True})
    return project


class Deployment:
    """A server below a path behind nginx with TLS, where clients expect the exchange at the root of the host."""

    def __init__(self, folder: Path, start_server: Callable[..., RunningServer], issuer: Issuer) -> None:
        port, own_port, self.authority = free_port(), free_port(), folder / "authority.pem"
        external_url = f"https://localhost:{port}/pypi"
        self.server = start_server(PORT=str(own_port), EXTERNAL_URL=external_url, TRUSTED_PROXIES="1")
        self.server.url = f"http://127.0.0.1:{own_port}"
        self.proxy = Nginx(
            folder / "nginx", port, self.server.url,
            {
                "listen 80;": f"listen 127.0.0.1:{port} ssl; {_signed_by(self.authority)}",
                "location / {": "location ~ ^/(pypi|_/oidc)/ {",
            },
        )  # fmt: skip
        self.project = trusting(self.server, issuer)
        self.endpoint = external_url + self.project.pypi_path

    def command(self, chapter: str) -> list[str]:
        """The arguments of uv with which a chapter of the help publishes."""
        [line] = re.findall(r"- (?:run: )?uv (publish .+)", self.examples(chapter))
        return shlex.split(line.replace("<project_id>", str(self.project.id)))

    def examples(self, chapter: str) -> str:
        """The text of the examples of a chapter of the help."""
        page = requests.get(f"{self.server.url}/help/{chapter}", timeout=60).text
        elements = html5lib.parse(page, namespaceHTMLElements=False).iter("pre")
        return "\n".join("".join(element.itertext()) for element in elements)

    def published(self) -> list[str]:
        packages = self.server.as_root("GET", f"{self.project.rest_path}/packages?order_by=version&sort=asc")
        assert {package["trusted_publisher"]["subject"] for package in packages} <= {"project:acme/app"}
        return [package["version"] for package in packages]

    def tokens_in_use(self) -> list[object]:
        found: list[object] = self.server.as_root("GET", f"{self.project.rest_path}/trusted_publishers/tokens")
        return found


@pytest.fixture
def deployment(tmp_path: Path, start_server: Callable[..., RunningServer], issuer: Issuer) -> Iterator[Deployment]:
    made = Deployment(tmp_path, start_server, issuer)
    made.proxy.start()
    yield made
    made.proxy.stop()


def in_github(issuer: Issuer) -> dict[str, str]:
    """The variables of a job that has the permission ``id-token: write``."""
    return {
        "CI": "true",
        "GITHUB_ACTIONS": "true",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "runtime-token",
        "ACTIONS_ID_TOKEN_REQUEST_URL": f"{issuer.url}/token?api-version=2.0",
    }


def in_gitlab(deployment: Deployment, issuer: Issuer, **claims: object) -> dict[str, str]:
    """The variables of a job with ``id_tokens`` as the help shows them."""
    [(name, audience)] = re.findall(r"(\w+_ID_TOKEN):\s+aud: (\S+)", deployment.examples("gitlab-ci"))
    return {"CI": "true", "GITLAB_CI": "true", name: issuer.token(aud=audience, **claims)}


@pytest.mark.skipif(PROGRAM is None, reason="nginx is not installed")
@pytest.mark.skipif(os.geteuid() != 0, reason="nginx's own processes read the tests' folders as root")
@pytest.mark.slow
def test_uv_publishes_without_a_secret_in_github_and_gitlab(
    deployment: Deployment, uv: Installer, issuer: Issuer, tmp_path: Path
) -> None:
    def publish(version: str, chapter: str) -> tuple[object, ...]:
        wheel = build_wheel("demo", version)
        (tmp_path / wheel.filename).write_bytes(wheel.content)
        return *deployment.command(chapter), tmp_path / wheel.filename

    trust = {"SSL_CERT_FILE": str(deployment.authority)}

    uv.succeeds(*publish("1.0", "github-actions"), **trust, **in_github(issuer))
    uv.succeeds(*publish("2.0", "gitlab-ci"), **trust, **in_gitlab(deployment, issuer))
    refused = uv.fails(*publish("3.0", "gitlab-ci"), **trust, **in_gitlab(deployment, issuer, ref="dev"))

    assert "ref is 'dev'" in refused
    assert deployment.published() == ["1.0", "2.0"]
    assert deployment.tokens_in_use() == []


@pytest.mark.skipif(PROGRAM is None, reason="nginx is not installed")
@pytest.mark.skipif(os.geteuid() != 0, reason="nginx's own processes read the tests' folders as root")
@pytest.mark.clients
def test_pdm_publishes_without_a_secret(
    deployment: Deployment, client_environment: Callable[..., Path], issuer: Issuer, tmp_path: Path
) -> None:
    wheel = build_wheel("demo")
    dist = tmp_path / "app" / "dist"
    dist.mkdir(parents=True)
    (dist / wheel.filename).write_bytes(wheel.content)
    (dist.parent / "pyproject.toml").write_text('[project]\nname = "demo"\nversion = "1.0"\n')
    [edition] = editions("pdm")
    pdm = Client((str(edition.interpreter(client_environment)), "-m", "pdm"), tmp_path / "pdm")

    pdm.succeeds(
        "publish", "-p", dist.parent, "--no-build", "--repository", deployment.endpoint,
        "--ca-certs", deployment.authority, **in_github(issuer),
    )  # fmt: skip

    assert deployment.published() == ["1.0"]


@pytest.mark.databases
def test_of_several_exchanges_of_one_token_in_two_processes_one_succeeds(
    tmp_path: Path, issuer: Issuer, new_database: Callable[..., str]
) -> None:
    server = ForkedServer(tmp_path, WORKERS="2", DATABASE_URL=new_database())
    server.start()
    try:
        project = trusting(server, issuer)
        server.as_root("POST", f"{project.rest_path}/trusted_readers", {"issuer": issuer.url, "claims": CLAIMS})
        audience = requests.get(f"{server.url}/_/oidc/audience", timeout=60).json()["audience"]
        for _ in range(3):
            token = issuer.token(aud=audience)

            def exchange(number: int, token: str = token) -> int:
                """Exchange it to publish or to read."""
                if number % 2:
                    form = {**TO_READ, "subject_token": token}
                    return requests.post(f"{server.url}/api/v4/oidc/token", data=form, timeout=60).status_code
                return requests.post(f"{server.url}/_/oidc/mint-token", json={"token": token}, timeout=60).status_code

            # In one process, three more wait while the first one asks the issuer for its keys.
            with ThreadPoolExecutor(4) as threads:
                statuses = list(threads.map(exchange, range(8)))

            assert statuses.count(200) == 1
            assert set(statuses[::2]) <= {200, 422}
            assert set(statuses[1::2]) <= {200, 400}
    finally:
        assert server.stop() == 0, server.log
    assert "Traceback" not in server.log


def _signed_by(authority: Path) -> str:
    """Make an authority, and a certificate for localhost that it signs; the directives that name it and its key.

    uv accepts no certificate that signs itself.
    """
    key, certificate, own_key = (authority.with_name(name) for name in ("server.key", "server.pem", "authority.key"))
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    for arguments in (
        ["-subj", "/CN=tests", "-keyout", own_key, "-out", authority],
        [
            "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=CA:FALSE",
            "-CA", authority, "-CAkey", own_key, "-keyout", key, "-out", certificate,
        ],
    ):  # fmt: skip
        subprocess.run([*make, *arguments], check=True, capture_output=True)
    return f"ssl_certificate {certificate}; ssl_certificate_key {key};"
