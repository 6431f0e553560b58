"""Work in batches, so that statements and transactions have a bounded size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")


def batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yield the items in lists of at most ``size``, none of which is empty."""
    remaining = iter(items)
    while batch := list(islice(remaining, size)):
        yield batch
