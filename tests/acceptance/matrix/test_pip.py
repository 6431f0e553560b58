"""pip, from the oldest that runs to the current one."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.acceptance.matrix.conftest import WHEEL
from tests.acceptance.matrix.editions import editions
from tests.acceptance.matrix.tried import Credentials, Tried
from tests.acceptance.servers import Namespace, with_credentials

pytestmark = pytest.mark.clients


def since(version: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("pip", editions("pip", since=version), indirect=True, ids=str)


def without_password(url: str, username: str) -> str:
    """The user name in the address selects the password of the keyring."""
    return url.replace("://", f"://{username}@", 1)


@since("0")
def test_it_installs_with_credentials_in_the_address(pip: Tried, index: Namespace, credentials: Credentials) -> None:
    username, password = credentials

    pip.succeeds("install", "--index-url", index.index_url(password, username), "--no-deps", "matrixdemo")

    assert pip.installed() == {"matrixdemo": "1.0"}
    pip.seen_installing_from(index)
    pip.seen("authenticates", "URL")


@since("9")
def test_it_installs_with_credentials_from_netrc(
    pip: Tried, group: Namespace, shelf: Namespace, credentials: Credentials
) -> None:
    pip.has_in_netrc(group.url, credentials)

    pip.succeeds("install", "--index-url", group.index_url(), "--no-deps", "matrixdemo")

    assert pip.installed() == {"matrixdemo": "1.0"}
    pip.seen("authenticates", "netrc")


@since("20")
def test_it_installs_with_credentials_from_the_keyring(pip: Tried, shelf: Namespace, credentials: Credentials) -> None:
    """Without ``--no-input``, with which pip does not use the keyring."""
    pip.has_in_keyring(urlsplit(shelf.url).netloc, credentials)

    pip.succeeds(
        "install", "--index-url", without_password(shelf.index_url(), credentials[0]), "--no-deps", "matrixdemo",
        PIP_NO_INPUT="0",
    )  # fmt: skip

    assert pip.installed() == {"matrixdemo": "1.0"}
    pip.seen("authenticates", "keyring")


@since("23.1")
@pytest.mark.parametrize("provider", ["import", "subprocess"])
def test_it_uses_the_keyring_provider_of_its_option(
    pip: Tried, shelf: Namespace, credentials: Credentials, provider: str, keyring_program: Path
) -> None:
    pip.has_in_keyring(f"{shelf.index_url()}/", credentials)

    pip.succeeds(
        "install", "--keyring-provider", provider, "--index-url", without_password(shelf.index_url(), credentials[0]),
        "--no-deps", "matrixdemo", PATH=str(keyring_program),
    )  # fmt: skip

    assert pip.installed() == {"matrixdemo": "1.0"}
    pip.seen("authenticates", f"`--keyring-provider {provider}`")


@since("9")
def test_it_downloads_only_files_with_the_required_digest(
    pip: Tried, shelf: Namespace, credentials: Credentials
) -> None:
    pip.write("requirements.txt", f"matrixdemo==1.0 --hash=sha256:{WHEEL.sha256}\n")
    pip.write("wrong.txt", f"matrixdemo==1.0 --hash=sha256:{'0' * 64}\n")
    username, password = credentials
    download = ("download", "--index-url", shelf.index_url(password, username), "--no-deps", "--require-hashes", "-r")

    refused = pip.fails(*download, "wrong.txt")
    pip.succeeds(*download, "requirements.txt")

    assert "DO NOT MATCH THE HASHES" in refused
    assert (pip.home / WHEEL.filename).read_bytes() == WHEEL.content


@since("21.3")
def test_it_lists_the_versions(pip: Tried, shelf: Namespace, credentials: Credentials) -> None:
    output = pip.succeeds(
        "index", "versions", "--index-url", shelf.index_url(credentials[1], credentials[0]), "matrixdemo"
    )

    assert "Available versions: 1.0" in output


@since("20")
def test_it_shows_why_a_file_was_refused(pip: Tried, project: Namespace, credentials: Credentials) -> None:
    """Requirements with addresses name the file itself."""
    project.publish(WHEEL)
    [address] = project.listed("matrixdemo").values()
    quarantine = {"status": "quarantined", "reason": "report 12"}
    project.server.as_root("PUT", f"{project.rest_path}/packages/names/matrixdemo/status", quarantine)

    output = pip.fails("install", "--no-deps", with_credentials(address, *credentials))

    assert "403 Client Error: Forbidden - The package matrixdemo is quarantined: report 12. Ask a Maintainer" in output


@since("20")
def test_it_goes_on_to_another_index_for_a_name_that_is_not_here(
    pip: Tried, shelf: Namespace, project: Namespace, credentials: Credentials
) -> None:
    username, password = credentials

    pip.succeeds(
        "install", "--index-url", project.index_url(password, username),
        "--extra-index-url", shelf.index_url(password, username), "--no-deps", "matrixdemo",
    )  # fmt: skip

    assert pip.installed() == {"matrixdemo": "1.0"}
