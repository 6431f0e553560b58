"""Work in batches, so that statements and transactions have a bounded size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")


def batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yield the items in lists of at most ``size``, none of which is empty."""
    remaining = iter(items)
    while batch := list(islice(remaining, size)):
        yield batch


def bounded(items: Iterable[Item], size: int, most_bytes: int, bytes_of: Callable[[Item], int]) -> Iterator[list[Item]]:
    """Yield the items in lists of at most ``size``, which are ended by the item that makes them this large."""
    batch: list[Item] = []
    batch_bytes = 0
    for item in items:
        batch.append(item)
        batch_bytes += bytes_of(item)
        if len(batch) >= size or batch_bytes >= most_bytes:
            yield batch
            batch, batch_bytes = [], 0
    if batch:
        yield batch
