"""twine, from the last version that skips existing files on private indexes to the current one."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.acceptance.matrix.editions import Edition, editions
from tests.acceptance.matrix.tried import Credentials, Tried
from tests.acceptance.servers import Namespace
from tests.builders import build_sdist, build_wheel

pytestmark = pytest.mark.clients
WHEEL = build_wheel("twinedemo", "1.0", description="Ünïcode\n", description_content_type="text/markdown")
SDIST = build_sdist("twinedemo", "1.0")
every_twine = pytest.mark.parametrize("twine", editions("twine"), indirect=True, ids=str)
CURRENT = editions("twine")[-1]
skipping_twine = pytest.mark.parametrize("twine", editions("twine")[:-1], indirect=True, ids=str)


@pytest.fixture
def twine(request: pytest.FixtureRequest, tried: Callable[..., Tried]) -> Tried:
    edition: Edition = getattr(request, "param", CURRENT)
    return tried(edition, "python", "-m", "twine")


def in_environment(credentials: Credentials) -> dict[str, str]:
    return dict(zip(("TWINE_USERNAME", "TWINE_PASSWORD"), credentials, strict=True))


@every_twine
def test_it_publishes_with_credentials_in_the_environment(
    twine: Tried, project: Namespace, credentials: Credentials
) -> None:
    twine.succeeds(
        "upload", "--repository-url", project.url, *twine.has_dist(WHEEL, SDIST), **in_environment(credentials)
    )

    assert sorted(project.listed("twinedemo")) == [WHEEL.filename, SDIST.filename]
    twine.seen("publishes", "wheels and sdists")
    twine.seen("authenticates", "environment")


@every_twine
def test_it_publishes_with_credentials_of_pypirc(twine: Tried, project: Namespace, credentials: Credentials) -> None:
    twine.has_in_pypirc(project.url, credentials)

    twine.succeeds("upload", "--repository", "ours", *twine.has_dist(WHEEL))

    assert list(project.listed("twinedemo")) == [WHEEL.filename]
    twine.seen("authenticates", "configuration file")


@every_twine
def test_it_publishes_with_credentials_from_the_keyring(
    twine: Tried, project: Namespace, credentials: Credentials
) -> None:
    twine.has_in_pypirc(project.url, username=credentials[0])
    twine.has_in_keyring(project.url, credentials)

    twine.succeeds("upload", "--repository", "ours", *twine.has_dist(WHEEL))

    assert list(project.listed("twinedemo")) == [WHEEL.filename]
    twine.seen("authenticates", "keyring")


@skipping_twine
def test_it_skips_existing_files_on_request(twine: Tried, project: Namespace, credentials: Credentials) -> None:
    project.publish(WHEEL)
    upload = ("upload", "--skip-existing", "--repository-url", project.url, *twine.has_dist(WHEEL, SDIST))

    output = twine.succeeds(*upload, **in_environment(credentials))

    assert f"Skipping {WHEEL.filename} because it appears to already exist" in output
    assert sorted(project.listed("twinedemo")) == [WHEEL.filename, SDIST.filename]
    twine.seen("publishes", "`--skip-existing`")


def test_the_current_version_refuses_to_skip_files_on_private_indexes(
    twine: Tried, project: Namespace, credentials: Credentials
) -> None:
    project.publish(WHEEL)

    skipping = twine.fails(
        "upload", "--skip-existing", "--repository-url", project.url, *twine.has_dist(WHEEL),
        **in_environment(credentials),
    )  # fmt: skip

    assert "UnsupportedConfiguration" in skipping
    assert "--skip-existing" in skipping


@every_twine
def test_a_repeated_upload_succeeds_in_a_project_that_accepts_identical_files(
    twine: Tried, project: Namespace, credentials: Credentials
) -> None:
    project.server.as_root("PUT", project.rest_path, {"pypi_identical_upload_accepted": True})
    project.publish(WHEEL)
    upload = ("upload", "--repository-url", project.url)
    other = build_wheel("twinedemo", "1.0", summary="Another")

    twine.succeeds(*upload, *twine.has_dist(WHEEL), **in_environment(credentials))
    refused = twine.fails(*upload, *twine.has_dist(other), **in_environment(credentials))

    assert "File name has already been taken" in refused
    twine.seen("publishes", "repeats, where identical files are accepted")


@every_twine
def test_a_signature_beside_the_file_does_no_harm(twine: Tried, project: Namespace, credentials: Credentials) -> None:
    [wheel] = twine.has_dist(WHEEL)
    signature = twine.write(
        f"dist/{WHEEL.filename}.asc", "-----BEGIN PGP SIGNATURE-----\n\niQEz\n-----END PGP SIGNATURE-----\n"
    )

    twine.succeeds("upload", "--repository-url", project.url, wheel, signature, **in_environment(credentials))

    assert list(project.listed("twinedemo")) == [WHEEL.filename]


@pytest.mark.parametrize("twine", editions("twine", since="6.1"), indirect=True, ids=str)
def test_attestations_beside_the_file_do_no_harm_and_are_not_shown(
    twine: Tried, project: Namespace, credentials: Credentials
) -> None:
    """They are unverified statements (PEP 740)."""
    [wheel] = twine.has_dist(WHEEL)
    attestation = twine.write(f"dist/{WHEEL.filename}.publish.attestation", '{"version": 1}')

    twine.succeeds(
        "upload", "--attestations", "--repository-url", project.url, wheel, attestation, **in_environment(credentials)
    )

    assert list(project.listed("twinedemo")) == [WHEEL.filename]
