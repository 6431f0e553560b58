from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.domain.advisories.known import Finding
from registry.domain.advisories.ranges import Affected
from registry.domain.upstream.policies import advisories
from tests.domain.upstream.policies.pages import file_of, page_of, rules_with

FILES = ["demo-1.0-py3-none-any.whl", "demo-1.0.tar.gz", "demo-2.0-py3-none-any.whl", "demo-3.egg"]
MALICIOUS = Finding("MAL-1", True, None, Affected(versions=["1.0"]))
VULNERABLE = Finding("GHSA-1", False, 8.1, Affected([[["introduced", "2"], ["fixed", "3"]]]))


@pytest.mark.parametrize(
    ("malicious", "score", "offered"),
    [
        (True, None, ["demo-2.0-py3-none-any.whl"]),
        (False, None, FILES),
        (False, 8.1, FILES),
        (False, 8.0, ["demo-1.0-py3-none-any.whl", "demo-1.0.tar.gz"]),
        (True, 8.0, []),
    ],
)
def test_files_of_versions_with_advisories_are_withheld(
    malicious: bool, score: float | None, offered: list[str]
) -> None:
    rules = rules_with(malicious=malicious, score=score)

    page = advisories.withhold(page_of(*map(file_of, FILES)), [MALICIOUS, VULNERABLE], rules)

    assert [file.filename for file in page.files] == offered
    assert [one.file.filename for one in page.withheld] == [name for name in FILES if name not in offered]


def test_the_reason_names_the_advisory_the_rule_and_whom_to_ask() -> None:
    page = advisories.withhold(page_of(*map(file_of, FILES)), [MALICIOUS, VULNERABLE], rules_with(score=7.0))

    assert [(one.rule, one.set_in) for one in page.withheld] == [
        ("malicious", "instance"), ("malicious", "instance"), ("cvss", "acme"), ("malicious", "instance"),
    ]  # fmt: skip
    assert page.withheld[0].detail == (
        "demo-1.0-py3-none-any.whl is withheld. It contains malicious code, as reported by MAL-1. Ask an administrator."
    )
    assert page.withheld[2].detail.endswith("versions above 7 are withheld. Ask an Owner of the group acme.")


RANGES = st.tuples(st.integers(1, 4), st.none() | st.integers(1, 4))  # introduced, and after how many versions fixed
FINDINGS = st.lists(st.tuples(st.booleans(), st.none() | st.sampled_from([3.0, 7.0, 9.0]), RANGES), max_size=4)


@given(found=FINDINGS, malicious=st.booleans(), score=st.none() | st.sampled_from([2.9, 3.0, 7.0]))
def test_pages_agree_with_a_naive_model(
    found: list[tuple[bool, float | None, tuple[int, int | None]]], malicious: bool, score: float | None
) -> None:
    def is_affected(version: int, span: tuple[int, int | None]) -> bool:
        introduced, length = span
        return version >= introduced and (length is None or version < introduced + length)

    def rule_of(version: int) -> str | None:
        about = [(bad, cvss) for bad, cvss, span in found if is_affected(version, span)]
        if malicious and any(bad for bad, _ in about):
            return "malicious"
        return "cvss" if score is not None and any(cvss is not None and cvss > score for _, cvss in about) else None

    findings = []
    for number, (bad, cvss, (introduced, length)) in enumerate(found):
        end = [] if length is None else [["fixed", str(introduced + length)]]
        affected = Affected([[["introduced", str(introduced)], *end]])
        findings.append(Finding(f"{'MAL' if bad else 'GHSA'}-{number}", bad, cvss, affected))
    page = page_of(*(file_of(f"demo-{version}.tar.gz") for version in range(1, 7)))

    page = advisories.withhold(page, findings, rules_with(malicious=malicious, score=score))

    rules = {one.file.filename: one.rule for one in page.withheld} | {file.filename: None for file in page.files}
    assert rules == {f"demo-{version}.tar.gz": rule_of(version) for version in range(1, 7)}


def test_a_page_without_advisories_remains_itself() -> None:
    page = page_of(*map(file_of, FILES))

    assert advisories.withhold(page, [], rules_with(score=0.0)) is page
