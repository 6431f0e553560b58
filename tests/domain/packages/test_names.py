from __future__ import annotations

import pytest
from packaging.version import Version

from registry.domain.distributions.filenames import is_valid_name
from registry.domain.packages import names
from registry.domain.packages.names import is_valid_version


def test_invalid_versions_are_sorted_before_all_others() -> None:
    assert names.sorted_versions(["1.0", "2004d", "0.1", "1.0", "latest"]) == ("2004d", "latest", "0.1", "1.0")


ACCEPTED = [
    "0.1", "2012.15", "1!1.1", "0100!0.0", "v1.0", "V2", "1.0a", "1.0-a", "1.0.A1", "1.0alpha1", "1.0rc1", "1.0c3",
    "1.0preview1", "1.0-1", "1.0b2-346", "1.0.post1", "1.0.rev33", "1.0r4", "1.0.DEV", "1.0a1.dev456",
    "1.0b2.post345.dev456", "1.0+5", "1.2.rev33+123456", "1.0+ABC.5-x_1", "1.0-dev-",
]  # fmt: skip
REFUSED = [
    "", "v", "abc", "1..0", "1.", "1.0.x", "1.0 ", " 1.0", "1.0\n", "1.0+", "1.0+a..b", "1.0.post1.rc1", "./../1.0",
    "1.0/1", "%2e%2e%2f1", "1,0", "١.٠", "1.0\x00", "1.0ſ", "vv1", "1!", "1.0dev1.post2", "1" * 256,
]  # fmt: skip


@pytest.mark.parametrize("version", ACCEPTED)
def test_a_version_that_gitlab_and_pep_440_know_is_accepted(version: str) -> None:
    assert is_valid_version(version)
    assert Version(version)


@pytest.mark.parametrize("version", REFUSED, ids=ascii)
def test_anything_else_is_no_version(version: str) -> None:
    assert not is_valid_version(version)


@pytest.mark.parametrize("name", ["a", "7", "demo", "Demo.Pkg", "a_b-c.d", "a--b..c__d", "x" * 255])
def test_a_name_of_pep_508_is_accepted(name: str) -> None:
    assert is_valid_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "", "-a", "a-", ".a", "a.", "_x", "x_", "a b", "a/b", "@scope/pkg", ".$/@!^*", "a\n", "a\x00", "é", "ſ",
        "\u212a", "a+b", "a[b]", "../a", "x" * 256, "a١",
    ],
    ids=ascii,
)  # fmt: skip
def test_anything_else_is_no_name(name: str) -> None:
    assert not is_valid_name(name)
