from __future__ import annotations

import re
from importlib import metadata

import pytest

from registry.models import User
from tests import factories
from tests.clients import Rest


def test_the_version_is_one_of_gitlab_and_the_revision_the_registrys_own(rest: Rest, owner_token: str) -> None:
    response = rest.get("/version", owner_token)

    assert response.status_code == 200
    assert re.fullmatch(r"\d+\.\d+\.\d+", response.json["version"])
    assert response.json["revision"] == metadata.version("private-pypi-registry")


def test_the_metadata_repeats_the_version(rest: Rest, owner_token: str) -> None:
    version = rest.get("/version", owner_token).json

    response = rest.get("/metadata", owner_token)

    assert response.json == version | {
        "kas": {"enabled": False, "externalUrl": None, "externalK8sProxyUrl": None, "version": None},
        "enterprise": False,
    }


@pytest.mark.parametrize(
    ("scope", "status"), [("api", 200), ("read_api", 200), ("read_user", 200), ("self_rotate", 403)]
)
def test_reading_the_version_needs_a_scope_that_reads_users(rest: Rest, owner: User, scope: str, status: int) -> None:
    response = rest.get("/version", factories.access_token(owner, scope))

    assert response.status_code == status


def test_the_version_requires_authentication(rest: Rest) -> None:
    response = rest.get("/version")

    assert response.status_code == 401
    assert response.status.startswith("401 Unauthorized - No valid token was sent. Send a personal access token ")
    assert response.json == {"message": "401 Unauthorized"}
    assert "WWW-Authenticate" not in response.headers
