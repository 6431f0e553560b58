"""Which versions an advisory affects."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from registry.domain.advisories.ranges import Affected


def ranges(*events: str) -> Affected:
    """One range with events such as ``introduced 1.0``."""
    return Affected([[event.split() for event in events]])


@pytest.mark.parametrize(
    ("affected", "inside", "outside"),
    [
        (ranges("introduced 0"), "0.dev1 0 1.0 99!1", ""),
        (ranges("introduced 0", "fixed 1.2"), "0.1 1.1.9 1.2rc1 1.2.dev3", "1.2 1.2.post1 1.2+local 2"),
        (ranges("introduced 1.0", "last_affected 1.2"), "1.0 1.2 1.2.0", "0.9 1.0rc1 1.2.post1 1.3"),
        (ranges("introduced 0", "fixed 1", "introduced 2", "fixed 3"), "0.9 2 2.5", "1 1.5 3 4"),
        (ranges("fixed 3", "introduced 2", "fixed 1", "introduced 0"), "0.9 2 2.5", "1 1.5 3 4"),
        (ranges("introduced 1", "limit 2"), "1 1.9", "0.9 2 3"),
        (ranges("introduced 1", "limit *"), "1 2", "0.9"),
        (ranges("introduced 1", "limit 2", "limit 3"), "2.5", "3"),
        (ranges("introduced 1.0-release-x"), "", "1.0 2.0"),
        (ranges("introduced 1", "limit next"), "", "1 2"),
        (Affected(versions=["1.0", "not-a-version"]), "1.0 1.0.0 v1.0 not-a-version", "1.0.1 1.0.post1 other"),
        (Affected([[["introduced", "0"], ["fixed", "1"]]], ["2.0"]), "0.5 2.0", "1 2.1"),
        (ranges("introduced 0"), "", "not-a-version"),
        (Affected(), "", "1.0"),
    ],
)  # fmt: skip
def test_a_version_is_affected_by_range_or_by_itself(affected: Affected, inside: str, outside: str) -> None:
    assert [version for version in inside.split() if not affected.includes(version)] == []
    assert [version for version in outside.split() if affected.includes(version)] == []


VERSIONS = [f"{major}.{minor}{suffix}" for major in range(3) for minor in range(3) for suffix in ("rc1", "", ".post1")]


@given(st.lists(st.sampled_from(sorted(VERSIONS, key=Version)), unique=True, min_size=1), st.data())
def test_a_range_is_the_union_of_the_spans_between_its_events(chosen: list[str], data: st.DataObject) -> None:
    spans = list(zip(chosen[::2], chosen[1::2], strict=False))
    is_closed = [data.draw(st.booleans()) for _ in spans]
    ordered = sorted(chosen, key=Version)
    spans = list(zip(ordered[::2], ordered[1::2], strict=False))
    events = [
        event
        for (low, high), closed in zip(spans, is_closed, strict=True)
        for event in (["introduced", low], ["last_affected" if closed else "fixed", high])
    ]
    if len(ordered) % 2:
        events.append(["introduced", ordered[-1]])

    affected = Affected([data.draw(st.permutations(events))])

    for text in VERSIONS:
        version = Version(text)
        is_expected = bool(len(ordered) % 2) and version >= Version(ordered[-1])
        for (low, high), closed in zip(spans, is_closed, strict=True):
            below = version <= Version(high) if closed else version < Version(high)
            is_expected = is_expected or (version >= Version(low) and below)
        assert affected.includes(text) == is_expected, text


def test_the_next_fix_is_the_lowest_fixing_version_above() -> None:
    affected = ranges("introduced 0", "fixed 2.1", "introduced 3", "fixed 10.0", "fixed next")

    assert affected.fixed_in == ["2.1", "10.0"]
    assert [affected.next_fix(version) for version in ("1.0", "3.1", "10.0", "odd")] == ["2.1", "10.0", "", "2.1"]
