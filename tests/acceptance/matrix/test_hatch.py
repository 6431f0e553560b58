"""Hatch."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.acceptance.matrix.editions import editions
from tests.acceptance.matrix.tried import Credentials, Tried
from tests.acceptance.servers import Namespace
from tests.builders import build_sdist, build_wheel

pytestmark = pytest.mark.clients
WHEEL, SDIST = build_wheel("hatchdemo", "1.0"), build_sdist("hatchdemo", "1.0")
[CURRENT] = editions("hatch")
PROJECT = """\
[project]
name = "hatchdemo"
version = "1.0"

[tool.hatch.envs.default]
skip-install = true
dependencies = ["matrixdemo"]
"""


@pytest.fixture
def hatch(tried: Callable[..., Tried]) -> Tried:
    hatch = tried(CURRENT, "hatch", "--no-interactive")
    hatch.write("pyproject.toml", PROJECT)
    return hatch


def test_it_creates_an_environment_with_the_settings_of_pip(
    hatch: Tried, index: Namespace, credentials: Credentials
) -> None:
    username, password = credentials

    hatch.succeeds("env", "create", PIP_INDEX_URL=index.index_url(password, username))

    assert list(hatch.home.glob("**/site-packages/matrixdemo-1.0.dist-info"))
    hatch.seen_installing_from(index)
    hatch.seen("authenticates", "URL")


def test_it_publishes_with_credentials_in_the_environment_and_skips_existing_files(
    hatch: Tried, project: Namespace, credentials: Credentials
) -> None:
    """It reads ``+simple/`` below the upload address."""
    files = hatch.has_dist(WHEEL, SDIST)
    settings = {
        "HATCH_INDEX_REPO": project.url, "HATCH_INDEX_USER": credentials[0], "HATCH_INDEX_AUTH": credentials[1]
    }  # fmt: skip

    hatch.succeeds("publish", files[0], **settings)
    again = hatch.succeeds("publish", *files, **settings)

    assert sorted(project.listed("hatchdemo")) == [WHEEL.filename, SDIST.filename]
    assert "already exists" in again
    assert f"GET {project.pypi_path}/%2Bsimple/hatchdemo/ answered 200" in project.server.log
    hatch.seen("publishes", "wheels and sdists", "looks at `+simple/`")
    hatch.seen("authenticates", "environment")


def test_it_publishes_with_credentials_of_its_configuration(
    hatch: Tried, project: Namespace, credentials: Credentials
) -> None:
    hatch.write(
        ".config/hatch/config.toml",
        f'[publish.index]\nrepo = "ours"\n\n[publish.index.repos.ours]\nurl = "{project.url}"\n'
        f'user = "{credentials[0]}"\nauth = "{credentials[1]}"\n',
    )

    hatch.succeeds("publish", *hatch.has_dist(WHEEL))

    assert list(project.listed("hatchdemo")) == [WHEEL.filename]
    hatch.seen("authenticates", "configuration file")


def test_it_publishes_with_credentials_from_the_keyring(
    hatch: Tried, project: Namespace, credentials: Credentials
) -> None:
    hatch.has_in_keyring(project.url, credentials)

    hatch.succeeds("publish", "--repo", project.url, "--user", credentials[0], *hatch.has_dist(WHEEL))

    assert list(project.listed("hatchdemo")) == [WHEEL.filename]
    hatch.seen("authenticates", "keyring")
