from __future__ import annotations

import pytest
from packaging.version import Version

from registry.domain.patterns import ByVersion, InvalidPattern, parse_pattern, parse_reservation, without_group


@pytest.mark.parametrize(
    ("text", "name", "matches"),
    [
        ("requests", "requests", True),
        ("Foo.Bar", "foo-bar", True),
        ("requests", "requests-oauthlib", False),
        ("torch*", "torch", True),
        ("Torch_*", "torch-vision", True),
        ("Torch_*", "torch", False),
        ("torch*", "my-torch", False),
        ("requests == 2.32.0", "requests", True),
    ],
)
def test_names_are_compared_normalized(text: str, name: str, matches: bool) -> None:
    assert parse_pattern(text).matches_name(name) is matches


@pytest.mark.parametrize(
    ("pattern", "version", "matches"),
    [
        ("1.0", "1.0.0", True),
        ("1.0", "1.0.post1", False),
        ("1.0rc1", "1.0-c.1", True),
        ("1.0", "1.0+cu118", True),
        ("1.0+cu118", "1.0+CU118", True),
        ("1.0+cu118", "1.0", False),
        ("1.0+cu118", "1.0+cpu", False),
        ("0!1.0", "1", True),
    ],
)
def test_versions_are_compared_as_in_requirements(pattern: str, version: str, matches: bool) -> None:
    found = ByVersion([parse_pattern(f"demo=={pattern}")]).first(Version(version))

    assert found == (0 if matches else None)


def test_a_version_that_is_none_matches_only_whole_names() -> None:
    assert ByVersion([parse_pattern("demo==1.0"), parse_pattern("demo")]).first(None) == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*",
        "-demo",
        "demo-",
        "de mo",
        "demo**",
        "*demo",
        "demo==",
        "demo==1.*",
        "demo*==1",
        "demo==x",
        "demo>=1",
        "a" * 256,
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(InvalidPattern):
        parse_pattern(text)


def test_a_reservation_can_state_its_group() -> None:
    pattern = parse_reservation("Corp-* @ Acme/Tools")

    assert (pattern.text, pattern.name, pattern.is_prefix, pattern.group) == ("Corp-*", "corp-", True, "acme/tools")
    assert parse_reservation("Corp-*") == parse_pattern("Corp-*")
    assert without_group("Corp-* @ Acme/Tools") == "Corp-*"


@pytest.mark.parametrize("path", ["acme/tools", "ACME/tools/inner"])
def test_a_reservation_is_for_its_group_and_all_below(path: str) -> None:
    assert parse_reservation("corp @acme/tools").is_for(path)


@pytest.mark.parametrize("path", ["acme", "acme/toolshed", "tools"])
def test_a_reservation_is_for_no_other_group(path: str) -> None:
    assert not parse_reservation("corp @acme/tools").is_for(path)


@pytest.mark.parametrize(
    "text", ["corp @", "corp @a b", "corp @/acme", "corp @acme/", "@acme", "corp* x @acme", "corp @" + "a" * 255]
)
def test_a_reservation_needs_a_pattern_and_a_path(text: str) -> None:
    with pytest.raises(InvalidPattern):
        parse_reservation(text)


def test_the_longest_pattern_has_255_characters() -> None:
    assert parse_pattern("a" * 255).name == "a" * 255
    with pytest.raises(InvalidPattern):
        parse_pattern("a" * 256)
