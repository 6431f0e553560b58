"""Pages of other indexes, written by hand, by programs, and by attackers."""

from __future__ import annotations

import json
import time
import tracemalloc

import pytest

from registry.domain.listings import read_page
from registry.domain.packages.simple import JSON
from registry.errors import SourceError

URL = "https://index.test/simple/demo/"
PIECES = ("<a ", "<a href=x>xxxxxxxx<b>", "<![", "<!--", "</", "<?", "<a x=' ", "<a x   ", "<script>", "<", "&#")


def test_an_html_page_is_read_in_any_spelling() -> None:
    page = """<!DOCTYPE html><!-- <a href="no.zip"> --><base href="/files/"><META name='PyPI:repository-version'
        content="1.1"><script>"<a href=no.zip>"</script><p title="a > b">1 < 2
        <A data-requires-python="&gt;=3.9" HREF = 'demo-1.0.tar.gz#sha256=00' data-yanked>demo <b>1.0</b></A>
        <a href=demo-2.0.tar.gz>demo</a><br/><a href="demo-3.0.tar.gz"""

    files = read_page(page.encode(), "text/html", URL, "demo").files

    assert [(file.url, file.requires_python, file.yanked_reason) for file in files] == [
        ("https://index.test/files/demo-1.0.tar.gz", ">=3.9", ""),
        ("https://index.test/files/demo-2.0.tar.gz", "", None),
    ]
    assert files[0].digests == {"sha256": "00"}


@pytest.mark.parametrize("piece", PIECES)
def test_no_html_page_takes_longer_than_its_size_requires(piece: str) -> None:
    began_at = time.process_time()

    read_page(piece.encode() * 20_000, "text/html", URL, "demo")

    assert time.process_time() - began_at < 2  # the parser of the standard library takes 50 seconds for some of them


ACCENTS = "\u0301\u0316" * 200_000  # parsing a host of these would take minutes


def test_addresses_are_read_in_the_form_in_which_they_are_requested() -> None:
    pages = [
        read_page(
            f'<a href="d\u00e9mo-1.0.zip">1</a><a href="https://{ACCENTS}/demo-2.0.zip">2</a>'.encode(),
            "text/html", URL, "demo",
        ),
        read_page(
            json.dumps({
                "meta": {"api-version": "1.0"},
                "files": [
                    {"filename": "d\u00e9mo-1.0.zip", "url": "d\u00e9mo-1.0.zip", "hashes": {}},
                    {"filename": "demo-2.0.zip", "url": f"https://{ACCENTS}/demo-2.0.zip", "hashes": {}},
                ],
            }).encode(),
            JSON, URL, "demo",
        ),
    ]  # fmt: skip

    for page in pages:
        assert [file.filename for file in page.files] == ["d\u00e9mo-1.0.zip", "demo-2.0.zip"]
        assert page.files[0].url == f"{URL}d%C3%A9mo-1.0.zip"
        assert page.files[1].url.isascii()


@pytest.mark.parametrize("piece", ["{},", "[[]],"])
def test_a_json_page_with_too_many_values_is_refused_before_it_fills_the_memory(piece: str) -> None:
    page = f'{{"meta": {{"api-version": "1.0"}}, "files": [], "versions": [], "more": [{piece * 1_000_000}0]}}'

    tracemalloc.start()
    try:
        with pytest.raises(SourceError, match="does not conform"):
            read_page(page.encode(), JSON, URL, "demo")
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak_bytes < 2 * len(page)  # instead of 72 bytes for each value
