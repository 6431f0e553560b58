"""Pipenv, which asks the index for digests by itself."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.acceptance.matrix.conftest import SDIST, WHEEL
from tests.acceptance.matrix.editions import editions
from tests.acceptance.matrix.tried import Credentials, Tried
from tests.acceptance.servers import Namespace

pytestmark = pytest.mark.clients
[CURRENT] = editions("pipenv")
PIPFILE = """\
[[source]]
name = "ours"
url = "{url}"
verify_ssl = true

[packages]
matrixdemo = "*"
"""


@pytest.fixture
def pipenv(tried: Callable[..., Tried]) -> Tried:
    pipenv = tried(CURRENT, "pipenv")
    pipenv.environment |= {"PIPENV_VENV_IN_PROJECT": "1", "PIPENV_IGNORE_VIRTUALENVS": "1", "PIPENV_NOSPIN": "1"}
    return pipenv


@pytest.mark.parametrize(("index", "slash"), [("project", "/"), ("group", "")], indirect=["index"])
def test_it_locks_and_installs_with_credentials_of_the_environment_in_the_address(
    pipenv: Tried, index: Namespace, credentials: Credentials, slash: str
) -> None:
    """Whether the address of the source ends in a slash or not: it then asks for ``simple//matrixdemo/``."""
    url = index.index_url().replace("://", "://${OURS_USERNAME}:${OURS_PASSWORD}@", 1) + slash
    pipenv.write("Pipfile", PIPFILE.format(url=url))

    pipenv.succeeds("install", OURS_USERNAME=credentials[0], OURS_PASSWORD=credentials[1])

    assert pipenv.in_project() == {"matrixdemo": "1.0"}
    lock = (pipenv.home / "Pipfile.lock").read_text()
    assert credentials[1] not in lock
    assert sorted(json.loads(lock)["default"]["matrixdemo"]["hashes"]) == sorted(
        f"sha256:{file.sha256}" for file in (WHEEL, SDIST)
    )
    pipenv.seen_installing_from(index)
    pipenv.seen("authenticates", "URL", "environment")


def test_it_locks_and_installs_with_credentials_from_netrc(
    pipenv: Tried, shelf: Namespace, credentials: Credentials
) -> None:
    pipenv.write("Pipfile", PIPFILE.format(url=shelf.index_url()))
    pipenv.has_in_netrc(shelf.url, credentials)

    pipenv.succeeds("install")

    assert pipenv.in_project() == {"matrixdemo": "1.0"}
    pipenv.seen("authenticates", "netrc")
