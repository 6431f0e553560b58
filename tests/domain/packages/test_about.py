"""What pages show of core metadata."""

from __future__ import annotations

import pytest

from registry.domain.distributions import core_metadata
from registry.domain.packages import about
from registry.domain.packages.about import About, Link, Person


def read(*headers: str) -> About:
    document = "\n".join(["Metadata-Version: 2.4", "Name: demo", "Version: 1.0", *headers, ""])
    return about.about(core_metadata.read(document.encode()).fields)


def test_links_have_the_kind_of_their_label_and_each_address_is_shown_once() -> None:
    found = read(
        "Home-page: https://example.com/",
        "Project-URL: What's New, https://example.com/new",
        "Project-URL: Source-Code, https://example.com/code",
        "Project-URL: Home, https://example.com/",
        "Project-URL: Chat, http://chat.example.com",
        "Project-URL: Mail, mailto:ada@example.com",
        "Project-URL: Broken, https://[example.com",
    )

    assert found.links == (
        Link("What's New", "https://example.com/new", "changelog"),
        Link("Source-Code", "https://example.com/code", "source"),
        Link("Home", "https://example.com/", "other"),
        Link("Chat", "http://chat.example.com", "other"),
    )


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (["License-Expression: MIT OR Apache-2.0"], "MIT OR Apache-2.0"),
        (["License: see file", "Classifier: License :: OSI Approved :: MIT License"], "MIT License"),
        (["License: BSD"], "BSD"),
        ([f"License: {'Permission is hereby granted ' * 10}"], ""),
    ],
    ids=["expression", "classifier", "field", "text of a license"],
)
def test_a_license_is_named(headers: list[str], expected: str) -> None:
    found = read(*headers)

    assert found.license == expected
    assert found.classifiers == ()


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (["Author-email: Ada <ada@example.com>, bob@example.com"],
         (Person("Ada", "ada@example.com"), Person("", "bob@example.com"))),
        (["Author: Ada", "Author-email: ada@example.com"], (Person("Ada", "ada@example.com"),)),
        (["Author: Ada", "Author-email: Ada <ada@example.com>"], (Person("Ada", "ada@example.com"),)),
        (["Author: Bob", "Author-email: Ada <ada@example.com>"], (Person("Bob", ""), Person("Ada", "ada@example.com"))),
        (["Author-email: Ada <javascript:alert>"], (Person("Ada", ""),)),
    ],
    ids=["several", "name and address apart", "named twice", "others", "no address"],
)  # fmt: skip
def test_people_have_a_name_and_an_address(headers: list[str], expected: tuple[Person, ...]) -> None:
    assert read(*headers).authors == expected


@pytest.mark.parametrize("addresses", ["(" * 5000, "a:" * 5000], ids=["comments in comments", "groups in groups"])
def test_addresses_that_cannot_be_parsed_are_left_out(addresses: str) -> None:
    found = read("Author: Ada", f"Author-email: {addresses}")

    assert found.authors == (Person("Ada", ""),)


def test_only_the_beginning_of_addresses_is_parsed() -> None:
    addresses = ["ada@example.com", *["," * about.LONGEST_ADDRESSES], "bob@example.com"]

    found = read(f"Author-email: {','.join(addresses)}")

    assert found.authors == (Person("", "ada@example.com"),)


def test_a_link_that_is_too_long_is_left_out() -> None:
    accents = "\u0301\u0316" * 200_000  # splitting such a URL would take minutes

    found = read(f"Project-URL: Docs, https://{accents}", "Project-URL: Home, https://example.com/")

    assert [link.url for link in found.links] == ["https://example.com/"]


def test_values_are_grouped_and_bounded() -> None:
    topics = [f"Classifier: Topic :: {'x' * 1000}{number}" for number in range(300)]

    found = read("Keywords: a b  c", "Classifier: Typing :: Typed", *topics)

    assert found.keywords == ("a", "b", "c")
    assert [group for group, _ in found.classifiers] == ["Typing", "Topic"]
    assert max(len(value) for _, values in found.classifiers for value in values) <= about.LONGEST_VALUE
