"""PDM."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from tests.acceptance.matrix.tried import Credentials, Tried
from tests.acceptance.servers import Namespace
from tests.builders import build_sdist, build_wheel

pytestmark = pytest.mark.clients
WHEEL, SDIST = build_wheel("pdmdemo", "1.0"), build_sdist("pdmdemo", "1.0")
PROJECT = """\
[project]
name = "pdmdemo"
version = "1.0"
requires-python = ">=3.11"
dependencies = ["matrixdemo"]

[[tool.pdm.source]]
name = "pypi"
url = "{url}"
verify_ssl = true
"""


def test_it_locks_and_installs_with_credentials_of_the_environment_in_the_address(
    pdm: Tried, index: Namespace, credentials: Credentials
) -> None:
    url = index.index_url().replace("://", "://${OURS_USERNAME}:${OURS_PASSWORD}@", 1)
    pdm.write("pyproject.toml", PROJECT.format(url=url))

    pdm.succeeds("install", "--no-self", OURS_USERNAME=credentials[0], OURS_PASSWORD=credentials[1])

    assert pdm.in_project() == {"matrixdemo": "1.0"}
    assert credentials[1] not in (pdm.home / "pdm.lock").read_text()
    pdm.seen_installing_from(index)
    pdm.seen("authenticates", "URL", "environment")


def test_it_installs_with_credentials_from_netrc(pdm: Tried, shelf: Namespace, credentials: Credentials) -> None:
    pdm.write("pyproject.toml", PROJECT.format(url=shelf.index_url()))
    pdm.has_in_netrc(shelf.url, credentials)

    pdm.succeeds("install", "--no-self")

    assert pdm.in_project() == {"matrixdemo": "1.0"}
    pdm.seen("authenticates", "netrc")


def test_it_installs_with_credentials_from_the_keyring(pdm: Tried, shelf: Namespace, credentials: Credentials) -> None:
    pdm.write("pyproject.toml", PROJECT.format(url=shelf.index_url().replace("://", f"://{credentials[0]}@", 1)))
    pdm.has_in_keyring(urlsplit(shelf.url).netloc, credentials)

    pdm.succeeds("install", "--no-self")

    assert pdm.in_project() == {"matrixdemo": "1.0"}
    pdm.seen("authenticates", "keyring")


def test_it_installs_with_credentials_of_its_configuration(
    pdm: Tried, shelf: Namespace, credentials: Credentials
) -> None:
    pdm.write("pyproject.toml", PROJECT.format(url="").partition("[[tool")[0])
    for key, value in zip(("url", "username", "password"), (shelf.index_url(), *credentials), strict=True):
        pdm.succeeds("config", f"pypi.{key}", value)

    pdm.succeeds("install", "--no-self")

    assert pdm.in_project() == {"matrixdemo": "1.0"}
    pdm.seen("authenticates", "configuration file")


def test_it_publishes_and_skips_existing_files(pdm: Tried, project: Namespace, credentials: Credentials) -> None:
    pdm.write("pyproject.toml", PROJECT.format(url=project.index_url()))
    pdm.has_dist(WHEEL, SDIST)
    settings = {
        "PDM_PUBLISH_REPO": project.url, "PDM_PUBLISH_USERNAME": credentials[0], "PDM_PUBLISH_PASSWORD": credentials[1]
    }  # fmt: skip

    pdm.succeeds("publish", "--no-build", **settings)
    refused = pdm.fails("publish", "--no-build", **settings)
    skipping = pdm.succeeds("publish", "--no-build", "--skip-existing", **settings)

    assert sorted(project.listed("pdmdemo")) == [WHEEL.filename, SDIST.filename]
    assert "400 Bad Request" in refused
    assert skipping.count("Skipping") == 2
    pdm.seen("publishes", "wheels and sdists", "`--skip-existing`")
