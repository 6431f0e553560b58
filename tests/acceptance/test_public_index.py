"""Packages of a real index through the cache. Run by hand: ``REGISTRY_TEST_UPSTREAM=<index> pytest -m upstream``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.clients import Installer
from tests.acceptance.servers import ForkedServer, Namespace

INDEX = os.environ.get("REGISTRY_TEST_UPSTREAM", "")
NAMES = ("attrs", "certifi", "click", "idna", "iniconfig", "packaging", "pluggy", "six", "typing-extensions", "wheel")
CERTIFICATES = ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR", "PIP_CERT")
pytestmark = [
    pytest.mark.upstream,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not INDEX, reason="REGISTRY_TEST_UPSTREAM names no index"),
]


class OnlineServer(ForkedServer):
    """A server that trusts the certificates that this machine trusts."""

    def environment(self) -> dict[str, str]:
        return certificates() | super().environment()


def certificates() -> dict[str, str]:
    return {name: os.environ[name] for name in CERTIFICATES if name in os.environ}


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Namespace]:
    server = OnlineServer(tmp_path / "server", UPSTREAM_URL=INDEX)
    server.start()
    server.as_root("PUT", "/application/settings", {"pypi_upstream_mode": "cache"})
    yield server.project()
    server.stop()


def test_ten_packages_are_byte_for_byte_those_of_the_index(pip: Installer, project: Namespace) -> None:
    def downloaded(index: str, folder: str) -> dict[str, bytes]:
        pip.succeeds(
            "download", "--no-deps", "--no-cache-dir", "--index-url", index, "--dest", folder, *NAMES, **certificates()
        )
        return {path.name: path.read_bytes() for path in (pip.home / folder).iterdir()}

    through = project.index_url(project.server.root_token)

    direct = downloaded(INDEX, "direct")

    assert len(direct) == len(NAMES)
    assert downloaded(through, "cold") == direct
    assert downloaded(through, "warm") == direct
    assert "Traceback" not in project.server.log
