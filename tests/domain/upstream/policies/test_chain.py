"""All rules together: which one withholds a file, on its page and at its address."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from packaging.utils import NormalizedName, canonicalize_name

from registry.domain.packages.simple import SimpleFile, SimplePage
from registry.domain.upstream.chain import offered_file, upstream_for
from registry.errors import WithheldByRule
from tests.domain.upstream.policies.pages import file_of, page_of, rules_with
from tests.osv import HIGH, affected, load, record

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
DEMO = canonicalize_name("demo")
MALICIOUS, VULNERABLE = 3, 4  # versions
MOMENTS = st.integers(-12, 2).map(lambda days: NOW + days * DAY)
ENTRIES = st.lists(st.sampled_from(["demo==1", "demo==3", "de*", "demo", "other"]), max_size=2, unique=True)


@pytest.fixture(autouse=True)
def advisories(app: Flask) -> None:
    load(
        record("MAL-1", affected("demo", versions=(str(MALICIOUS),))),
        record("GHSA-1", affected("demo", versions=(str(VULNERABLE),)), cvss=HIGH),
    )


class Pages:
    """An index with one page."""

    def __init__(self, page: SimplePage) -> None:
        self._page = page

    def page(self, name: NormalizedName, *, is_fresh: bool = False) -> SimplePage | None:
        return self._page


@given(
    uploads=st.lists(st.none() | MOMENTS, min_size=5, max_size=5),
    blocked=ENTRIES,
    allowed=ENTRIES,
    malicious=st.booleans(),
    score=st.sampled_from([None, 5.0, 9.9]),
    days=st.sampled_from([0, 7]),
    date=st.none() | MOMENTS,
    exceptions=ENTRIES,
)
@hypothesis_settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
def test_the_first_rule_that_withholds_a_file_is_named_on_the_page_and_at_its_address(
    app: Flask,
    uploads: list[datetime | None],
    blocked: list[str],
    allowed: list[str],
    malicious: bool,
    score: float | None,
    days: int,
    date: datetime | None,
    exceptions: list[str],
) -> None:
    def matches(entries: list[str], version: int) -> bool:
        return any(entry in ("demo", "de*", f"demo=={version}") for entry in entries)

    def rule_of(version: int) -> str | None:
        uploaded_at = uploads[version] or NOW + 1000 * DAY
        found = [
            ("blocked", matches(blocked, version)),
            ("allowed", bool(allowed) and not matches(allowed, version)),
            ("malicious", malicious and version == MALICIOUS),
            ("cvss", score == 5.0 and version == VULNERABLE),
            ("fixed_date", date is not None and uploaded_at >= date and not matches(exceptions, version)),
            ("age", bool(days) and uploaded_at > NOW - days * DAY and not matches(exceptions, version)),
        ]
        return next((rule for rule, applies in found if applies), None)

    files = [file_of(f"demo-{version}.tar.gz", uploaded_at) for version, uploaded_at in enumerate(uploads)]
    rules = rules_with(
        days=days, date=date, blocked=tuple(blocked), allowed=tuple(allowed), malicious=malicious, score=score,
        exceptions=tuple((entry, None) for entry in exceptions),
    )  # fmt: skip
    pages = Pages(page_of(*files))

    page = upstream_for(rules, pages, NOW).page(DEMO)

    assert page is not None
    decided = {one.file: one.rule for one in page.withheld} | dict.fromkeys(page.files)
    assert decided == {file: rule_of(version) for version, file in enumerate(files)}

    def rule_at_address(file: SimpleFile) -> str | None:
        try:
            found = offered_file(rules, pages, DEMO, file.sha256, file.filename, NOW)
        except WithheldByRule as refusal:
            return refusal.rule
        assert found is not None
        assert found.file == file
        return None

    assert {file: rule_at_address(file) for file in files} == decided
