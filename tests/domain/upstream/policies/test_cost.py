"""Rules with hundreds of entries, for pages with tens of thousands of files."""

from __future__ import annotations

from collections.abc import Callable
from cProfile import Profile
from datetime import UTC, datetime
from pstats import Stats
from typing import Any

import pytest

from registry.domain.packages.simple import SimplePage
from registry.domain.upstream.policies import age, listed
from registry.domain.upstream.rules import Rules
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
