"""Single records of OSV."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from registry.domain.advisories import osv
from registry.domain.advisories.osv import Malformed
from registry.domain.advisories.ranges import Affected
from tests.osv import HIGH, LOW, affected, record


def test_a_record_is_read_with_the_highest_of_its_scores() -> None:
    entry = affected("Demo.Lib", {"introduced": "0"}, {"fixed": "1.2"}, versions=("1.0", "1.0", "1.1"))
    entry["severity"] = [{"type": "CVSS_V3", "score": HIGH}, {"type": "CVSS_V3", "score": "CVSS:3.1/none"}]
    entry["ranges"].append({"type": "GIT", "repo": "https://example.org", "events": [{"introduced": "0"}]})

    found = osv.read(record("GHSA-1", entry, cvss=LOW, aliases=["CVE-1"], details="x\0y" * 9000))

    assert (found.id, found.summary, found.aliases, found.cvss_score) == (
        "GHSA-1",
        "Summary of GHSA-1",
        ("CVE-1",),
        9.8,
    )
    assert len(found.details) == osv.LONGEST_DETAILS
    assert "\0" not in found.details
    assert found.published_at == datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert found.withdrawn_at is None
    assert found.affected == {"demo-lib": Affected(((("introduced", "0"), ("fixed", "1.2")),), ("1.0", "1.1"))}


def nested(depth: int) -> Any:
    """As deep as JSON may be: to represent it as text takes more recursion than Python has."""
    found: Any = []
    for _ in range(depth):
        found = [found]
    return found


@pytest.mark.parametrize(
    ("kind", "vector", "score"),
    [
        ("CVSS_V2", "AV:N/AC:L/Au:N/C:P/I:P/A:P", 7.5),
        ("CVSS_V3", "CVSS:3.0/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H", 7.5),
        ("CVSS_V4", "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N", 9.3),
        ("CVSS_V3", "CVSS:3.1/AV:N", None),
        ("CVSS_V4", HIGH, None),
        ("Ubuntu", "high", None),
        (["CVSS_V3"], HIGH, None),
        ("CVSS_V3", nested(1000), None),
        ("CVSS_V2", "AV:N/AC:L/Au:N/C:P/I:P/A:P/" + "E:U/" * 100, None),
    ],
    ids=range(9),
)
def test_vectors_of_all_versions_are_scored(kind: Any, vector: Any, score: float | None) -> None:
    assert osv.read(record("PYSEC-1", severity=[{"type": kind, "score": vector}])).cvss_score == score


def vectors(count: int) -> list[dict[str, str]]:
    """Different ratings; few of them are valid."""
    return [{"type": "CVSS_V3", "score": f"CVSS:3.1/{number}"} for number in range(count)]


@pytest.mark.parametrize(
    "change",
    [
        {"severity": vectors(osv.MAX_VECTORS + 1)},
        {"affected": [affected("a") | {"severity": vectors(600)[number::2]} for number in range(2)]},
        {"affected": [affected("a", *[{"introduced": "0"}] * 1001), affected("a", *[{"introduced": "0"}] * 1000)]},
        {"affected": [affected("a", versions=(f"{n}.{v}" for v in range(10_001))) for n in range(2)]},
        {"affected": [affected(f"a{number}") for number in range(5001)]},
    ],
    ids=["vectors", "vectors of packages", "events", "versions", "packages"],
)
def test_a_record_that_takes_long_to_evaluate_is_malformed(change: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        osv.read(record("GHSA-1") | change)


def test_a_word_for_the_severity_is_read() -> None:
    assert osv.read(record("GHSA-1", database_specific={"severity": "MODERATE"})).severity == "medium"
    for odd in (["odd"], nested(1000), "high" * 1000):
        assert osv.read(record("GHSA-1", database_specific={"severity": odd})).severity == ""


def test_entries_about_one_name_are_joined_and_other_ecosystems_left_out() -> None:
    found = osv.read(
        record(
            "GHSA-1", affected("a", {"introduced": "0"}), affected("A", versions=("1",)), affected("b", ecosystem="npm")
        )
    )

    assert found.affected == {"a": Affected(((("introduced", "0"),),), ("1",))}
    assert osv.read(record("GHSA-2", affected("b", ecosystem="npm"))).affected == {}


@pytest.mark.parametrize(
    "change",
    [
        {"id": None}, {"id": ""}, {"id": "x" * 101}, {"id": "MAL-\n"}, {"summary": 1}, {"aliases": "CVE-1"},
        {"aliases": [1]}, {"withdrawn": "yesterday"}, {"withdrawn": 5}, {"affected": {"a": 1}}, {"affected": [1]},
        {"affected": [affected("not a name!")]}, {"affected": [affected("a", {"fixed": "1"})]},
        {"affected": [affected("a", {"introduced": 1})]},  # type: ignore[dict-item]
        {"affected": [affected("a", {"introduced": "0", "vanished": "1"})]},
        {"affected": [affected("a") | {"versions": [1]}]}, {"affected": [affected("a") | {"ranges": [1]}]},
        {"severity": "high"},
    ],
    ids=str,
)  # fmt: skip
def test_a_record_that_is_not_as_in_the_schema_is_malformed(change: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        osv.read(record("GHSA-1") | change)
