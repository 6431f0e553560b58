"""uv: the tests of the matrix for every client; the rest is in the acceptance tests of uv."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.matrix.tried import Credentials, Tried
from tests.acceptance.servers import Namespace, with_credentials
from tests.builders import build_sdist, build_wheel

pytestmark = pytest.mark.clients
WHEEL, SDIST = build_wheel("uvmatrix", "1.0"), build_sdist("uvmatrix", "1.0")
PROJECT = """\
[project]
name = "program"
version = "0"
requires-python = ">=3.11"
dependencies = ["matrixdemo"]

[[tool.uv.index]]
name = "ours"
url = "{url}"
default = true
"""


def install(uv: Tried, index_url: str) -> tuple[object, ...]:
    return ("pip", "install", "--target", uv.site, "--index-url", index_url, "matrixdemo")


def publish(uv: Tried, url: str, *arguments: object) -> tuple[object, ...]:
    files = uv.has_dist(WHEEL, SDIST)
    return ("publish", "--trusted-publishing", "never", "--publish-url", url, *arguments, *files)


def test_it_installs_with_credentials_in_the_address(uv: Tried, index: Namespace, credentials: Credentials) -> None:
    username, password = credentials

    uv.succeeds(*install(uv, index.index_url(password, username)))

    assert uv.installed() == {"matrixdemo": "1.0"}
    uv.seen_installing_from(index)
    uv.seen("authenticates", "URL")


def test_it_installs_with_credentials_from_netrc(uv: Tried, index: Namespace, credentials: Credentials) -> None:
    uv.has_in_netrc(index.url, credentials)

    uv.succeeds(*install(uv, index.index_url()))

    assert uv.installed() == {"matrixdemo": "1.0"}
    uv.seen("authenticates", "netrc")


def test_it_installs_with_credentials_from_the_keyring(
    uv: Tried, shelf: Namespace, credentials: Credentials, keyring_program: Path
) -> None:
    uv.has_in_keyring(shelf.index_url(), credentials)
    url = shelf.index_url().replace("://", f"://{credentials[0]}@", 1)

    uv.succeeds(*install(uv, url), "--keyring-provider", "subprocess", PATH=str(keyring_program))

    assert uv.installed() == {"matrixdemo": "1.0"}
    uv.seen("authenticates", "keyring")


def test_it_syncs_a_project_with_credentials_in_the_environment(
    uv: Tried, index: Namespace, credentials: Credentials
) -> None:
    uv.write("pyproject.toml", PROJECT.format(url=index.index_url()))

    uv.succeeds("sync", UV_NO_CONFIG="0", UV_INDEX_OURS_USERNAME=credentials[0], UV_INDEX_OURS_PASSWORD=credentials[1])

    assert uv.in_project() == {"matrixdemo": "1.0"}
    assert credentials[1] not in (uv.home / "uv.lock").read_text()
    uv.seen("authenticates", "environment")


def test_it_publishes_with_a_token_in_the_environment(uv: Tried, project: Namespace, credentials: Credentials) -> None:
    uv.succeeds(*publish(uv, project.url), UV_PUBLISH_TOKEN=credentials[1])

    assert sorted(project.listed("uvmatrix")) == [WHEEL.filename, SDIST.filename]
    uv.seen("publishes", "wheels and sdists")


def test_it_publishes_with_credentials_in_the_address(uv: Tried, project: Namespace, credentials: Credentials) -> None:
    uv.succeeds(*publish(uv, with_credentials(project.url, *credentials)))

    assert sorted(project.listed("uvmatrix")) == [WHEEL.filename, SDIST.filename]


def test_it_publishes_with_credentials_from_the_keyring(
    uv: Tried, project: Namespace, credentials: Credentials, keyring_program: Path
) -> None:
    uv.has_in_keyring(project.url, credentials)

    uv.succeeds(
        *publish(uv, project.url, "--keyring-provider", "subprocess", "--username", credentials[0]),
        PATH=str(keyring_program),
    )

    assert sorted(project.listed("uvmatrix")) == [WHEEL.filename, SDIST.filename]


def test_it_skips_identical_files_with_a_check_url(uv: Tried, project: Namespace, credentials: Credentials) -> None:
    project.publish(WHEEL)
    check_url = project.index_url(credentials[1], credentials[0])

    output = uv.succeeds(*publish(uv, project.url, "--check-url", check_url), UV_PUBLISH_TOKEN=credentials[1])

    assert output.count("already exists, skipping") == 1
    assert sorted(project.listed("uvmatrix")) == [WHEEL.filename, SDIST.filename]
    uv.seen("publishes", "`--check-url`")


def test_it_reports_an_index_url_in_place_of_the_upload_url(
    uv: Tried, project: Namespace, credentials: Credentials
) -> None:
    output = uv.fails(*publish(uv, project.index_url()), UV_PUBLISH_TOKEN=credentials[1])

    assert "simple" in output
    assert project.packages() == []
