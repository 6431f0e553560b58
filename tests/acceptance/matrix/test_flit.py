"""Flit, which builds the packages it publishes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.acceptance.matrix.editions import editions
from tests.acceptance.matrix.tried import Credentials, Tried
from tests.acceptance.servers import Namespace

pytestmark = pytest.mark.clients
[CURRENT] = editions("flit")
FILES = ["flitdemo-1.0-py3-none-any.whl", "flitdemo-1.0.tar.gz"]
PROJECT = """\
[build-system]
requires = ["flit_core>=3.2,<5"]
build-backend = "flit_core.buildapi"

[project]
name = "flitdemo"
version = "1.0"
description = "A demonstration"
requires-python = ">=3.9"
dependencies = ["matrixdemo"]
"""


@pytest.fixture
def flit(tried: Callable[..., Tried]) -> Tried:
    flit = tried(CURRENT, "flit")
    flit.write("pyproject.toml", PROJECT)
    flit.write("flitdemo.py", '"""A demonstration."""\n')
    return flit


def test_it_publishes_with_credentials_in_the_environment_and_shows_why_a_second_time_is_refused(
    flit: Tried, project: Namespace, credentials: Credentials
) -> None:
    settings = {"FLIT_INDEX_URL": project.url, "FLIT_USERNAME": credentials[0], "FLIT_PASSWORD": credentials[1]}

    flit.succeeds("publish", **settings)
    refused = flit.fails("publish", **settings)

    assert sorted(project.listed("flitdemo")) == FILES
    assert "File name has already been taken" in refused
    flit.seen("publishes", "wheels and sdists")
    flit.seen("authenticates", "environment")


def test_it_publishes_with_credentials_of_pypirc(flit: Tried, project: Namespace, credentials: Credentials) -> None:
    flit.has_in_pypirc(project.url, credentials)

    flit.succeeds("publish", "--repository", "ours")

    assert sorted(project.listed("flitdemo")) == FILES
    flit.seen("authenticates", "configuration file")


def test_it_publishes_with_credentials_from_the_keyring(
    flit: Tried, project: Namespace, credentials: Credentials
) -> None:
    flit.has_in_keyring(project.url, credentials)

    flit.succeeds("publish", FLIT_INDEX_URL=project.url, FLIT_USERNAME=credentials[0])

    assert sorted(project.listed("flitdemo")) == FILES
    flit.seen("authenticates", "keyring")


def test_it_installs_dependencies_with_the_settings_of_pip(
    flit: Tried, index: Namespace, credentials: Credentials
) -> None:
    username, password = credentials

    flit.succeeds(
        "install", "--only-deps", "--python", flit.program("python"),
        PIP_INDEX_URL=index.index_url(password, username), PIP_TARGET=str(flit.site), FLIT_ROOT_INSTALL="1",
    )  # fmt: skip

    assert flit.installed() == {"matrixdemo": "1.0"}
    flit.seen_installing_from(index)
    flit.seen("authenticates", "URL")
