from __future__ import annotations

import pytest

from registry.domain.packages.lookalikes import nearly_matched, neighbors, skeleton
from registry.domain.patterns import parse_pattern


@pytest.mark.parametrize(("one", "other"), [("pi1low", "pillow"), ("co0l", "c-o-o-1"), ("ab", "a-b")])
def test_names_that_look_alike_have_one_skeleton(one: str, other: str) -> None:
    assert skeleton(one) == skeleton(other)


@pytest.mark.parametrize("near", ["abc", "bc", "ab", "xabc", "abxc", "abc2", "xbc", "abx", "bac", "acb"])
def test_a_neighbor_differs_by_one_edit_at_most(near: str) -> None:
    assert near in neighbors("abc")


@pytest.mark.parametrize("far", ["a", "cba", "abcde", "xbx", "bca", ""])
def test_whatever_takes_more_edits_is_no_neighbor(far: str) -> None:
    assert far not in neighbors("abc")


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("acme-tool", "acme-tools"), ("acme-tolos", "acme-tools"), ("acme-t0ols", "acme-tools"),
        ("acmetools", "acme-tools"), ("acm-tools", "acme-*"), ("amce-tools", "acme-*"), ("acne-tools", "acme-*"),
    ],
)  # fmt: skip
def test_a_name_nearly_matches_a_pattern_that_it_misses_by_one_edit(name: str, pattern: str) -> None:
    found = parse_pattern(pattern)

    assert nearly_matched(name, [parse_pattern("other"), found]) == found


@pytest.mark.parametrize(
    ("name", "patterns"),
    [
        ("acme-tools", ["acme-tool", "acme-*"]), ("acme-tools", ["acme-tool", "acme-tools"]),
        ("acme-t", ["acme-tools"]),
        ("a1", ["b*"]), ("beta", []),
    ],
    ids=["a prefix matches", "a name matches", "more edits", "a short prefix", "no pattern"],
)  # fmt: skip
def test_a_name_that_matches_or_is_farther_nearly_matches_none(name: str, patterns: list[str]) -> None:
    assert nearly_matched(name, map(parse_pattern, patterns)) is None
