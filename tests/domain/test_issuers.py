"""The addresses of issuers of identity tokens."""

from __future__ import annotations

import pytest

from registry.domain.issuers import GITHUB, is_issuer, is_private


@pytest.mark.parametrize("url", [GITHUB, "https://ci.example.com:8443/realms/main"])
def test_an_address_with_https_can_be_an_issuer(url: str) -> None:
    assert is_issuer(url, is_listed=False)
    assert not is_private(url)


@pytest.mark.parametrize(
    "url",
    [
        "", "https://", "http://ci.example.com", "https://user@ci.example.com", "https://ci.example.com/?a=b",
        "https://ci.example.com:99999", "https://[ci", "https://" + "a" * 300,
        "https://" + "\u0301\u0316" * 200_000,  # splitting such a URL would take minutes
    ],
    ids=lambda url: url[:30],
)  # fmt: skip
def test_other_texts_are_no_issuers(url: str) -> None:
    assert not is_issuer(url, is_listed=True)
