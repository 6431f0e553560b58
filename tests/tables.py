"""Tables of values that one test goes through, where each value would need the same expensive fixtures again."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any

import pytest


def each(names: str | tuple[str, ...], rows: Iterable[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Run a test for each row of a table, like ``pytest.mark.parametrize``, but with the fixtures made once.

    The test must leave everything as it was. Each row that fails is reported. Several tables give all combinations.

    :param names: the parameters that a row gives, or the only one.
    """

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(test)
        def run(*instance: Any, subtests: pytest.Subtests, **fixtures: Any) -> None:
            for row in rows:
                values = {names: row} if isinstance(names, str) else dict(zip(names, row, strict=True))
                with subtests.test(**values):
                    test(*instance, **fixtures, **values, **({"subtests": subtests} if is_table else {}))

        signature = inspect.signature(test)
        is_table = "subtests" in signature.parameters
        given = (names,) if isinstance(names, str) else names
        kept = [parameter for name, parameter in signature.parameters.items() if name not in (*given, "subtests")]
        own = inspect.Parameter("subtests", inspect.Parameter.KEYWORD_ONLY)
        run.__signature__ = signature.replace(parameters=[*kept, own])  # type: ignore[attr-defined]
        return run

    return decorate
