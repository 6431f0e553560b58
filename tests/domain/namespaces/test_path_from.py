from __future__ import annotations

import pytest

from registry.domain import namespaces
from tests.suggested_paths import PATHS


@pytest.mark.parametrize(("name", "path"), PATHS.items())
def test_a_name_suggests_a_path(name: str, path: str) -> None:
    assert namespaces.path_from(name) == path


@pytest.mark.parametrize("path", PATHS.values())
def test_the_suggestion_is_a_path_and_suggests_itself(path: str) -> None:
    assert namespaces.path_errors(path, top_level=True) == []
    assert namespaces.path_from(path) == path


@pytest.mark.parametrize("name", ["日本語", "!?", "-.-", ""])
def test_a_name_without_letters_or_digits_suggests_none(name: str) -> None:
    assert namespaces.path_from(name) == ""
