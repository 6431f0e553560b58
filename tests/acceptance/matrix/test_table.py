"""The table of clients in the README is that of the matrix."""

from __future__ import annotations

import sys

import pytest

from tests.acceptance.matrix.editions import CLIENTS, EDITIONS
from tests.acceptance.matrix.observations import Observation
from tests.acceptance.matrix.table import README, rows, table, written_into

OWN = f"{sys.version_info.major}.{sys.version_info.minor}"


def test_the_readme_has_a_row_for_each_client_with_every_version_of_the_matrix() -> None:
    found = rows(README.read_text("utf-8"))

    assert list(found) == list(CLIENTS)
    for edition in EDITIONS:
        seen = [version.split(" ")[0] for version in found[edition.client][0].split(", ")]
        assert edition.version in seen if edition.version else seen, f"{edition}: write the table anew"


def test_a_row_shows_observations_with_their_versions() -> None:
    nothing = [Observation(client, "1", OWN, "publishes", "wheels and sdists") for client in CLIENTS[1:]]
    seen = [
        Observation("pip", "9.0", "3.6", "installs", "project"),
        Observation("pip", "20.1", OWN, "installs", "project"),
        Observation("pip", "20.1", OWN, "authenticates", "keyring"),
        Observation("pip", "20.1", OWN, "authenticates", "URL"),
        Observation("pip", "9.0", "3.6", "authenticates", "URL"),
    ]

    written = written_into(README.read_text("utf-8"), table([*seen, *nothing]))

    assert rows(written)["pip"] == ["9.0 (Python 3.6), 20.1", "–", "project", "URL, keyring (from 20.1)"]


def test_there_is_no_table_of_a_run_that_left_out_a_client() -> None:
    with pytest.raises(ValueError, match="saw nothing of uv"):
        table([Observation("pip", "9.0", "3.6", "installs", "project")])
