"""The addresses of issuers of identity tokens."""

from __future__ import annotations

import pytest

from registry.domain.issuers import GITHUB, is_accepted, is_issuer, is_private, spelled


@pytest.mark.parametrize("url", [GITHUB, "https://ci.example.com:8443/realms/main"])
def test_an_address_with_https_can_be_an_issuer(url: str) -> None:
    assert is_issuer(url, is_listed=False)
    assert not is_private(url)


@pytest.mark.parametrize(
    "url",
    [
        "", "https://", "http://ci.example.com", "https://user@ci.example.com", "https://ci.example.com/?a=b",
        "https://ci.example.com:99999", "https://ci.example.com:0", "https://[ci",
        f"{GITHUB}/.well-known/openid-configuration/", "http://192.0.2.1", "https://" + "a" * 300,
        "https://" + "\u0301\u0316" * 200_000,  # splitting such a URL would take minutes
    ],
    ids=lambda url: url[:30],
)  # fmt: skip
def test_other_texts_are_no_issuers(url: str) -> None:
    assert not is_issuer(url, is_listed=True)


@pytest.mark.parametrize("url", ["http://localhost:8000", "http://127.0.0.2", "http://[::1]:8000"])
def test_only_listed_issuers_on_the_machine_itself_do_without_https(url: str) -> None:
    assert is_issuer(url, is_listed=True)
    assert not is_issuer(url, is_listed=False)


@pytest.mark.parametrize(
    "host",
    ["10.0.0.1", "169.254.169.254.", "[::1]:8443", "localhost", "LOCALHOST.", "ci.localhost", "0x7f.1", "2130706433"],
)
def test_a_host_is_private_by_its_address_in_any_spelling(host: str) -> None:
    assert is_private(f"https://{host}/realms/main")


@pytest.mark.parametrize("host", ["8.8.8.8", "[2606:4700::1]", "ci.example.com.", "localhost.example.com", "4chan.org"])
def test_any_other_host_is_not_private(host: str) -> None:
    assert not is_private(f"https://{host}")


@pytest.mark.parametrize(
    ("issuer", "listed", "expected"),
    [
        (GITHUB, [], True), (GITHUB, [GITHUB], True), (GITHUB, ["https://ci.example.com"], False),
        ("https://10.0.0.1", [], False), ("https://10.0.0.1", ["https://10.0.0.1"], True),
        ("http://localhost:8000", [], False),
    ],
)  # fmt: skip
def test_an_issuer_is_accepted_if_it_is_listed_or_public_without_a_list(
    issuer: str, listed: list[str], expected: bool
) -> None:
    assert is_accepted(issuer, listed) is expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://Token.Actions.GitHubUserContent.com:443/", GITHUB),
        ("https://CI.example.com/Realm/", "https://ci.example.com/Realm/"),
        ("http://localhost:80", "http://localhost"),
        ("https://ci.example.com:80", "https://ci.example.com:80"),
    ],
)
def test_an_issuer_is_spelled_as_tokens_name_it(url: str, expected: str) -> None:
    assert spelled(url) == expected
