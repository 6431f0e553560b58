"""Installers at addresses as companies have them. The registry is its own proxy, so that the names need not exist."""

from __future__ import annotations

import pytest

from tests.acceptance.clients import Installer
from tests.acceptance.servers import Namespace, RunningServer
from tests.builders import build_wheel

VERSION = "1!2.0+local.1"  # links hold "!" and "+" as they are


@pytest.fixture
def project(server: RunningServer) -> Namespace:
    made = server.project(group=server.group(visibility="public"), visibility="public")
    made.publish(build_wheel("placed", VERSION))
    return made


@pytest.mark.parametrize("host", ["例え.jp", "my_registry"])
def test_pip_installs_at_a_host_with_an_internationalized_name_or_an_underscore(
    project: Namespace, pip: Installer, host: str
) -> None:
    index_url = f"http://{host}{project.pypi_path}/simple"

    pip.succeeds(
        "install", "--index-url", index_url, "--trusted-host", host, f"placed=={VERSION}",
        http_proxy=project.server.url,
    )  # fmt: skip

    assert pip.installed() == {"placed": VERSION}


def test_uv_installs_at_a_host_with_an_internationalized_name(project: Namespace, uv: Installer) -> None:
    index_url = f"http://例え.jp{project.pypi_path}/simple"

    uv.succeeds(
        "pip", "install", "--target", uv.site, "--index-url", index_url, f"placed=={VERSION}",
        http_proxy=project.server.url,
    )  # fmt: skip

    assert uv.installed() == {"placed": VERSION}
