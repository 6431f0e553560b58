"""Poetry."""

from __future__ import annotations

import pytest

from tests.acceptance.matrix.tried import Credentials, Tried
from tests.acceptance.servers import Namespace
from tests.builders import build_sdist, build_wheel

pytestmark = pytest.mark.clients
WHEEL, SDIST = build_wheel("poetrydemo", "1.0"), build_sdist("poetrydemo", "1.0")
PROJECT = """\
[project]
name = "poetrydemo"
version = "1.0"
requires-python = ">=3.11"
dependencies = ["matrixdemo"]

[[tool.poetry.source]]
name = "ours"
url = "{url}"
priority = "primary"
"""
NO_KEYRING = {"POETRY_KEYRING_ENABLED": "false"}


def in_environment(credentials: Credentials) -> dict[str, str]:
    return {
        **dict(zip(("POETRY_HTTP_BASIC_OURS_USERNAME", "POETRY_HTTP_BASIC_OURS_PASSWORD"), credentials, strict=True)),
        **NO_KEYRING,
    }


def test_it_locks_and_installs_with_credentials_in_the_environment(
    poetry: Tried, index: Namespace, credentials: Credentials
) -> None:
    poetry.write("pyproject.toml", PROJECT.format(url=f"{index.index_url()}/"))

    poetry.succeeds("lock", **in_environment(credentials))
    poetry.succeeds("install", "--no-root", **in_environment(credentials))

    assert poetry.in_project() == {"matrixdemo": "1.0"}
    poetry.seen_installing_from(index)
    poetry.seen("authenticates", "environment")


def test_it_installs_with_credentials_of_its_configuration(
    poetry: Tried, shelf: Namespace, credentials: Credentials
) -> None:
    poetry.write("pyproject.toml", PROJECT.format(url=shelf.index_url()))

    poetry.succeeds("config", "http-basic.ours", *credentials, **NO_KEYRING)
    poetry.succeeds("install", "--no-root", **NO_KEYRING)

    assert credentials[1] in (poetry.home / ".config/pypoetry/auth.toml").read_text()
    assert poetry.in_project() == {"matrixdemo": "1.0"}
    poetry.seen("authenticates", "configuration file")


def test_it_installs_with_credentials_that_it_put_into_the_keyring(
    poetry: Tried, shelf: Namespace, credentials: Credentials
) -> None:
    poetry.write("pyproject.toml", PROJECT.format(url=shelf.index_url()))
    poetry.environment["PYTHON_KEYRING_BACKEND"] = "file_keyring.Keyring"

    poetry.succeeds("config", "http-basic.ours", *credentials)
    poetry.succeeds("install", "--no-root")

    assert credentials[1] in (poetry.home / ".keyring.json").read_text()
    assert poetry.in_project() == {"matrixdemo": "1.0"}
    poetry.seen("authenticates", "keyring")


def test_it_publishes_and_skips_existing_files(poetry: Tried, project: Namespace, credentials: Credentials) -> None:
    poetry.write("pyproject.toml", PROJECT.format(url=project.index_url()))
    poetry.has_dist(WHEEL, SDIST)
    settings = in_environment(credentials) | {"POETRY_REPOSITORIES_OURS_URL": project.url}

    poetry.succeeds("publish", "--repository", "ours", **settings)
    refused = poetry.fails("publish", "--repository", "ours", **settings)
    skipping = poetry.succeeds("publish", "--repository", "ours", "--skip-existing", **settings)

    assert sorted(project.listed("poetrydemo")) == [WHEEL.filename, SDIST.filename]
    assert "File name has already been taken" in refused
    assert "File exists. Skipping" in skipping
    poetry.seen("publishes", "wheels and sdists", "`--skip-existing`")
