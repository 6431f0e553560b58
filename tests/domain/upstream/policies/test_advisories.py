from __future__ import annotations

import pytest

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


def test_a_page_without_advisories_remains_itself() -> None:
    page = page_of(*map(file_of, FILES))

    assert advisories.withhold(page, [], rules_with(score=0.0)) is page
