"""Rules with hundreds of entries, for pages with tens of thousands of files."""

from __future__ import annotations

from collections.abc import Callable
from cProfile import Profile
from datetime import UTC, datetime
from pstats import Stats
from typing import Any

import pytest
from packaging.utils import NormalizedName, canonicalize_name

from registry.domain.packages.simple import SimplePage
from registry.domain.upstream.chain import offered_file
from registry.domain.upstream.policies import age, listed
from registry.domain.upstream.rules import Rules
from registry.errors import WithheldByRule
from tests.domain.upstream.policies.pages import file_of, page_of, rules_with

NOW = datetime(2026, 6, 1, tzinfo=UTC)
WAYS: dict[str, tuple[Callable[[tuple[str, ...]], Rules], Callable[[SimplePage, Rules], SimplePage]]] = {
    "lists": (lambda entries: rules_with(blocked=entries), listed.withhold),
    "exceptions": (
        lambda entries: rules_with(days=7, exceptions=tuple((entry, None) for entry in entries)),
        lambda page, rules: age.withhold(page, rules, NOW),
    ),
}


@pytest.mark.parametrize(("rules_of", "withhold"), WAYS.values(), ids=WAYS)
def test_no_file_is_compared_with_each_entry(rules_of: Any, withhold: Any) -> None:
    page = page_of(*(file_of(f"demo-1.{minor}-py3-none-any.whl", NOW) for minor in range(300)))

    def calls(entries: int) -> int:
        rules, profile = rules_of(tuple(f"demo==2.{minor}" for minor in range(entries))), Profile()
        withhold(page, rules)
        profile.runcall(withhold, page, rules)
        return int(Stats(profile).total_calls)  # type: ignore[attr-defined]

    assert calls(100) < 2 * calls(1)


class Pages:
    """An index with one page."""

    def __init__(self, page: SimplePage) -> None:
        self._page = page

    def page(self, name: NormalizedName, *, is_fresh: bool = False) -> SimplePage | None:
        return self._page


def test_a_file_is_decided_upon_without_all_others_of_its_page() -> None:
    rules = rules_with(days=7, malicious=False)

    def calls(files: int) -> int:
        page = page_of(*(file_of(f"demo-1.{minor}-py3-none-any.whl", NOW) for minor in range(files)))
        wanted, profile = page.files[0], Profile()
        with pytest.raises(WithheldByRule):
            profile.runcall(
                offered_file, rules, Pages(page), canonicalize_name("demo"), wanted.sha256, wanted.filename, NOW
            )
        return int(Stats(profile).total_calls)  # type: ignore[attr-defined]

    assert calls(301) - calls(1) <= 300, "one comparison for each"
