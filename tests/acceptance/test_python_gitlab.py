"""The unmodified python-gitlab client provisions everything (GitLab, "REST API")."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.clients import Client, Environments
from tests.acceptance.servers import RunningServer
from tests.builders import build_sdist, build_wheel

SCRIPT = Path(__file__).with_name("provisioning.py")
PYTHON_GITLAB = "python-gitlab==8.6.0"


@pytest.fixture
def script(client_environment: Environments, home: Path) -> Client:
    return Client((str(client_environment("python-gitlab", PYTHON_GITLAB)), str(SCRIPT)), home)


@pytest.mark.parametrize(
    "chapter",
    ["version", "users", "groups", "projects", "members", "access_tokens", "deploy_tokens", "settings", "job_tokens"],
)
def test_a_script_provisions(server: RunningServer, script: Client, chapter: str) -> None:
    script.succeeds(chapter, server.url, server.root_token)


@pytest.mark.parametrize("chapter", ["packages", "protection_rules"])
def test_a_script_manages_packages(server: RunningServer, script: Client, chapter: str) -> None:
    project = server.project()
    project.publish(build_wheel("demo", "1.0"), build_wheel("demo", "2.0"), build_sdist("demo", "2.0"))

    script.succeeds(chapter, server.url, server.root_token, project.full_path)


def test_lists_are_read_page_by_page_at_a_japanese_host_name(server: RunningServer, script: Client) -> None:
    """The registry is its own proxy here, so that the name does not have to exist."""
    server.project()
    server.project()

    script.succeeds("pages", "http://xn--r8jz45g.jp", server.root_token, http_proxy=server.url)
