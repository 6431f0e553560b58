from __future__ import annotations

import gzip
import os

import pytest

from registry.blueprints.pypi import compression
from registry.blueprints.pypi.compression import CompressedPages

PAGE = b"<a href='demo-1.0.tar.gz'>demo-1.0.tar.gz</a>\n" * 100


def test_a_page_is_the_same_in_every_process_and_at_any_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its ETag promises the same bytes."""
    first = CompressedPages().compressed("digest", PAGE)
    now = gzip.time.time()  # type: ignore[attr-defined]
    monkeypatch.setattr(gzip.time, "time", lambda: now + 5)  # type: ignore[attr-defined]

    assert CompressedPages().compressed("digest", PAGE) == first
    assert gzip.decompress(first) == PAGE


def test_a_page_is_compressed_once() -> None:
    pages = CompressedPages()

    assert pages.compressed("digest", PAGE) is pages.compressed("digest", PAGE)


def test_pages_are_dropped_when_they_grow_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    pages, others = CompressedPages(), [f"{number}".encode() * 1000 for number in range(3)]
    monkeypatch.setattr(compression, "LIMIT_BYTES", len(gzip.compress(others[0])) * 2)
    first = pages.compressed("0", others[0])
    for number in (1, 2):
        pages.compressed(str(number), others[number])

    again = pages.compressed("0", others[0])

    assert (again is first, again == first) == (False, True)


def test_a_page_that_is_too_large_to_keep_drops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    pages, random = CompressedPages(), os.urandom(10_000)
    first = pages.compressed("first", PAGE)
    monkeypatch.setattr(compression, "LIMIT_BYTES", len(first))

    assert gzip.decompress(pages.compressed("random", random)) == random

    assert pages.compressed("first", PAGE) is first
