"""Core metadata documents: read, and held against their standard."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from registry.domain.distributions import core_metadata
from registry.domain.distributions.core_metadata import Description, description
from registry.errors import InvalidDistribution
from tests.builders import metadata

MIB = 1024 * 1024


def problems(document: bytes) -> list[tuple[str, str, str]]:
    found = [finding.problem for finding in core_metadata.findings(core_metadata.read(document))]
    return [(problem.field, problem.value, problem.expected) for problem in found]


def of(*headers: str, version: str = "2.5", **fields) -> bytes:
    return metadata("demo", "1.0", metadata_version=version, headers=headers, **fields)


GOOD = {
    "the least there can be": b"Metadata-Version: 1.0\nName: demo\nVersion: 1.0",
    "a newer minor version": of("From-The-Future: x", version="2.99"),
    "a newer minor version of the first": of(version="1.9"),
    "unknown field": of("X-Anything: x", "X-Anything: y"),
    "2.0 with fields of 2.1": of("Provides-Extra: test", "Description-Content-Type: text/markdown", version="2.0"),
    "1.0 with fields of 1.1, as old distutils": of(
        "Classifier: Topic :: Utilities", "Download-URL: https://example.com", version="1.0"
    ),
    "2.1 with license files, as old setuptools": of("License-File: LICENSE", version="2.1"),
    "what old tools wrote for nothing": of(
        "Description-Content-Type: UNKNOWN", "Platform: UNKNOWN", "License: UNKNOWN", "Requires-Python: UNKNOWN"
    ),
    "empty fields": of("Requires-Python:", "Description-Content-Type: ", "Keywords:"),
    "a classifier that keeps it from PyPI": of("Classifier: Private :: Do Not Upload"),
    "a classifier that is no longer used": of("Classifier: Natural Language :: Ukranian"),
    "a direct reference": of(requires_dist=["tools @ git+https://git.example.com/tools.git@v1"]),
    "a requirement with everything": of(
        requires_dist=['a.b_c[x,y] >=1.0,!=1.3.*,<2 ; python_version >= "3.8" and extra == "x"']
    ),
    "a requirement in parentheses": of(requires_dist=["demo (>=1.0)"]),
    "a local version": metadata("demo", "1.0+local.1"),
    "a charset in small letters": of(description_content_type="text/markdown; charset=utf-8"),
    "a type with parameters": of(description_content_type="text/markdown; charset=UTF-8; variant=CommonMark"),
    "a type in capitals": of(description_content_type="Text/X-RST"),
    "a requirement of Python": of(requires_python=">=3.8, !=3.9.*, <4"),
    "a license expression": of("License-Expression: MIT OR (Apache-2.0 AND LicenseRef-Own)"),
    "license files": of("License-File: LICENSE", "License-File: vendored/a/COPYING"),
    "extras in any spelling": of("Provides-Extra: a.b_C-d", "Provides-Extra: 7"),
    "dynamic fields": of("Dynamic: Requires-Dist", "Dynamic: license-file"),
    "dynamic fields from the future": of("Dynamic: From-The-Future", version="2.99"),
    "names to import": of("Import-Name: demo", "Import-Name: demo._own ; private", "Import-Namespace: acme"),
    "addresses": of("Project-URL: Source, https://example.com/a,b", "Project-URL: Docs, https://example.com"),
    "a description kept in a field": of(
        "\n".join(["Description: first line", *["        Name: of a line, not of a package"] * 9000])
    ),
}


@pytest.mark.parametrize("document", GOOD.values(), ids=GOOD)
def test_a_document_in_order_has_no_problems(document):
    assert problems(document) == []


NESTED = "at most 20 nested parentheses"
NO_REQUIREMENT = "a requirement as in PEP 508"
NO_SPECIFIERS = "version specifiers as in PEP 440"
NAME = "up to 255 ASCII letters, digits and . _ - between letters or digits"
TYPE = "text/plain, text/x-rst or text/markdown, with charset UTF-8 and variant GFM or CommonMark if there are any"
PATH = "a relative path, with / between folders and without .. and *"
EXTRA = "the name of an extra: ASCII letters, digits and . _ - between letters or digits"
LICENSE = "an SPDX license expression"
DYNAMIC = "a field of core metadata other than Name, Version and Metadata-Version"

BAD = {
    "no metadata version": (b"Name: demo\nVersion: 1.0\n", ("Metadata-Version", "", "1.x or 2.x")),
    "a new major version": (of(version="3.0"), ("Metadata-Version", "3.0", "1.x or 2.x")),
    "a version that is none": (of(version="two"), ("Metadata-Version", "two", "1.x or 2.x")),
    "two metadata versions": (of("Metadata-Version: 2.1"), ("Metadata-Version", "repeated or malformed")),
    "no name": (b"Metadata-Version: 2.1\nVersion: 1.0\n", ("Name", "", NAME)),
    "two names": (of("Name: other"), ("Name", "repeated or malformed", "there once, in UTF-8")),
    "a malformed name": (metadata("demo!", "1.0"), ("Name", "demo!", NAME)),
    "a name of other letters": (metadata("d\u00e9mo", "1.0"), ("Name", "d\u00e9mo", NAME)),
    "a very long name": (metadata("d" * 256, "1.0"), ("Name", "d" * 256, NAME)),
    "no version": (b"Metadata-Version: 2.1\nName: demo\n", ("Version", "", "a version as in PEP 440")),
    "two versions": (of("version: 2.0"), ("Version", "repeated or malformed", "there once, in UTF-8")),
    "a malformed version": (metadata("demo", "latest"), ("Version", "latest", "a version as in PEP 440")),
    "a very long version": (metadata("demo", "1" * 256), ("Version", "1" * 256, "a version as in PEP 440")),
    "a malformed requirement": (of(requires_dist=["demo>>1"]), ("Requires-Dist", "demo>>1", NO_REQUIREMENT)),
    "a requirement of an old kind": (
        of(requires_dist=["pytz (>dev)"]), ("Requires-Dist", "pytz (>dev)", NO_REQUIREMENT),
    ),
    "a malformed marker": (
        of(requires_dist=["demo; python_versoin>'3'"]), ("Requires-Dist", "demo; python_versoin>'3'", NO_REQUIREMENT),
    ),
    "an empty requirement": (of("Requires-Dist:"), ("Requires-Dist", "", NO_REQUIREMENT)),
    "a nested marker": (
        of(requires_dist=["demo; " + "(" * 5000]), ("Requires-Dist", "demo; " + "(" * 5000, NESTED),
    ),
    "a very long requirement": (
        of(requires_dist=["demo" * 2501]), ("Requires-Dist", "demo" * 2501, "at most 10000 characters long"),
    ),
    "a malformed requirement of Python": (of(requires_python=">>3.8"), ("Requires-Python", ">>3.8", NO_SPECIFIERS)),
    "a requirement of Python with .*": (
        of(requires_python=">=3.8.*"), ("Requires-Python", ">=3.8.*", f"{NO_SPECIFIERS}: .* only after == and !="),
    ),
    "a requirement of Python with .* that never had a meaning": (
        of(requires_python="~=3.8.*"), ("Requires-Python", "~=3.8.*", NO_SPECIFIERS),
    ),
    "a very long requirement of Python": (
        of(requires_python=">=3," * 3000), ("Requires-Python", ">=3," * 3000, "at most 10000 characters long"),
    ),
    "a requirement of Python in words": (
        of(requires_python="3.8 or later"), ("Requires-Python", "3.8 or later", NO_SPECIFIERS),
    ),
    "two requirements of Python": (
        of("Requires-Python: >=3", requires_python=">=2"), ("Requires-Python", "repeated or malformed"),
    ),
    "a requirement of Python over two lines": (
        of("Requires-Python: >=3.8,", "  <4"), ("Requires-Python", ">=3.8,\n  <4", "one line of printable characters"),
    ),
    "a malformed extra": (of("Provides-Extra: a b"), ("Provides-Extra", "a b", EXTRA)),
    "another type": (of(description_content_type="text/html"), ("Description-Content-Type", "text/html", TYPE)),
    "a type that looks like a format": (
        of(description_content_type="{field:>999}"), ("Description-Content-Type", "{field:>999}", TYPE),
    ),
    "a type with a damaged parameter": (
        of(description_content_type="text/plain; x*"), ("Description-Content-Type", "text/plain; x*", TYPE),
    ),
    "no type": (of(description_content_type="markdown"), ("Description-Content-Type", "markdown", TYPE)),
    "too long a type": (
        of(description_content_type=f"text/plain; a={'b' * 300}"),
        ("Description-Content-Type", f"text/plain; a={'b' * 300}", TYPE),
    ),
    "another character set": (
        of(description_content_type="text/plain; charset=latin-1"),
        ("Description-Content-Type", "text/plain; charset=latin-1", TYPE),
    ),
    "another variant": (
        of(description_content_type="text/markdown; variant=Own"),
        ("Description-Content-Type", "text/markdown; variant=Own", TYPE),
    ),
    "a summary over two lines": (of("Summary: one", "  two", summary=""), ("Summary", "one\n  two", "one line")),
    "an unknown classifier": (
        of("Classifier: Topic :: Hammers"),
        ("Classifier", "Topic :: Hammers", "one of https://pypi.org/classifiers/"),
    ),
    "an unknown license": (of("License-Expression: Mine"), ("License-Expression", "Mine", LICENSE)),
    "a nested license": (
        of("License-Expression: " + "(MIT AND " * 1000), ("License-Expression", ("(MIT AND " * 1000).strip(), NESTED),
    ),
    "a license file outside": (of("License-File: ../LICENSE"), ("License-File", "../LICENSE", PATH)),
    "a license file by pattern": (of("License-File: LICENSE*"), ("License-File", "LICENSE*", PATH)),
    "a name that cannot be dynamic": (of("Dynamic: Name"), ("Dynamic", "Name", DYNAMIC)),
    "an unknown dynamic field": (of("Dynamic: Colour"), ("Dynamic", "Colour", DYNAMIC)),
    "a name that cannot be imported": (of("Import-Name: my-demo"), ("Import-Name", "my-demo")),
    "two addresses with one label": (
        of("Project-URL: x, a", "Project-URL: x, b"), ("Project-URL", "repeated or malformed"),
    ),
    "a field before its time": (
        of("License-Expression: MIT", version="2.1"),
        ("Metadata-Version", "2.1", "2.4 or later, for there is a field License-Expression"),
    ),
    "dynamic fields before their time": (
        of("Dynamic: Version", version="1.2"), ("Metadata-Version", "1.2"), ("Dynamic", "Version", DYNAMIC),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("document", "expected"), [(row[0], row[1:]) for row in BAD.values()], ids=BAD)
def test_a_problem_has_field_value_and_expected_value(document, expected):
    found = problems(document)

    assert len(found) == len(expected)
    for problem in expected:
        assert problem in [one[: len(problem)] for one in found]


def test_all_problems_of_a_document_are_reported_at_once():
    found = problems(
        metadata(
            "-", "x", metadata_version="3", requires_python="y", requires_dist=["good", "bad bad", "worse worse"],
            description_content_type="z", headers=["Provides-Extra: ?"],
        )
    )  # fmt: skip

    assert {(field, value) for field, value, _ in found} == {
        ("Metadata-Version", "3"), ("Name", "-"), ("Version", "x"), ("Requires-Python", "y"),
        ("Requires-Dist", "bad bad"), ("Requires-Dist", "worse worse"), ("Description-Content-Type", "z"),
        ("Provides-Extra", "?"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("stated", "meant"),
    [
        (">=3.7", ">=3.7"),
        (">=3.7.*", ">=3.7"),
        ("<4.*,>=2.7.*, !=3.0.*,==3.*", "<4,>=2.7, !=3.0.*,==3.*"),
        ("<=3.9.*", "<3.10"),
        ("> 3.*", ">=4"),
        (">=3.8,\n  <4", ">=3.8, <4"),
        ("~=3.7.*", "~=3.7.*"),
        (">=..*", ">=."),
    ],
    ids=repr,
)
def test_installers_get_a_requirement_of_python_that_they_can_read(stated, meant):
    assert core_metadata.read(of(requires_python=stated)).python_specifiers == meant


UNREADABLE = {
    "not UTF-8": (metadata("demo", "1.0", summary="d\u00e9mo").replace(b"\xc3", b"\xff"), "is not UTF-8 at byte 56"),
    "too many fields": (of(*["Classifier: x"] * 50_000), "has over 50000 lines"),
    "too long a field": (of(summary="x" * 4 * MIB), "or 4194304 characters in front of its body"),
    "too many parsed values": (of(*(f"Provides-Extra: {n:011}" for n in range(49_000))), "exceeds the budget"),
    "too many long requirements": (
        of(requires_dist=[f"a{number}" + ",<1" * 2400 for number in range(80)]),
        "exceeds the budget",
    ),
    "too many different fields": (of(*(f"X-{number}: x" for number in range(100))), "more than 100 different fields"),
}


@pytest.mark.parametrize(("document", "reason"), UNREADABLE.values(), ids=UNREADABLE)
def test_a_document_beyond_the_bounds_is_not_read(document, reason):
    with pytest.raises(InvalidDistribution) as refusal:
        core_metadata.read(document)

    assert reason in refusal.value.reason


def test_equal_values_count_once_and_nesting_counts_only_parentheses_that_are_open():
    found = problems(of(requires_dist=["demo; " + "(os_name == 'a') or " * 30 + "(os_name == 'b')"] * 5000))

    assert found == []


@pytest.mark.parametrize(
    ("version", "headers", "expected"),
    [
        ("2.1", [], False),
        ("2.2", [], True),
        ("2.10", ["Dynamic: Summary"], True),
        ("2.2", ["Dynamic: Requires-Dist"], False),
        ("2.3", ["Dynamic: Summary", "Dynamic: requires-python"], False),
        ("2.4", ["Dynamic: Provides-Extra"], False),
        ("2.4", ["Dynamic: version"], False),
        ("x", [], False),
    ],
    ids=str,
)
def test_metadata_of_an_sdist_is_final_only_if_building_cannot_change_it(version, headers, expected):
    assert core_metadata.read(of(*headers, version=version)).is_final_in_sdist is expected


@pytest.mark.parametrize(("version", "expected"), [("2.1", []), ("2.3", []), ("2.4", ["a/b"]), ("2.9", ["a/b"])])
def test_license_files_have_to_be_there_since_they_are_standardized(version, expected):
    assert core_metadata.read(of("License-File: a/b", version=version)).license_files == expected


@pytest.mark.parametrize("newline", ["\r\n", "\r", "\n"], ids=ascii)
def test_fields_end_at_the_first_empty_line_whatever_the_line_ends(newline):
    document = "Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n\nName: other\n".replace("\n", newline).encode()

    assert core_metadata.read(document).name == "demo"


def test_a_body_that_looks_like_a_mail_is_not_parsed_as_one():
    nested = "Content-Type: multipart/mixed; boundary=b\n--b\n" * 5000

    assert problems(of(nested)) == []


def test_the_description_is_the_body():
    document = of(description="# Demo\n\nText\n", description_content_type="text/markdown")

    assert description(document) == Description("# Demo\n\nText", "text/markdown")


PIECES = [b"\n\n", b"\r", b":", b"Name: demo\n", b"=?utf-8?q?=ff?=", b"((", b"; ", b"Dynamic:", b"\x00", b"UNKNOWN"]
DOCUMENT = of(
    "Dynamic: Summary", "License-Expression: MIT", "License-File: LICENSE", "Import-Name: demo", "Provides-Extra: x",
    "Project-URL: a, b", "Keywords: a,b", requires_python=">=3.8", description="text",
    requires_dist=["demo[x]>=1; extra == 'x'", "tools @ https://example.com/a"],
    description_content_type="text/markdown; charset=UTF-8; variant=GFM",
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(st.integers(0, len(DOCUMENT)), st.integers(0, 40), st.one_of(st.binary(), st.sampled_from(PIECES)))
@example(0, 0, b"Description-Content-Type: a/b; c*0=d; c*1=e\n")
def test_a_document_of_any_bytes_is_judged_or_refused(start, length, piece):
    document = DOCUMENT[:start] + piece + DOCUMENT[start + length :]

    try:
        found = problems(document)
    except InvalidDistribution as refusal:
        found = [(problem.field, problem.value, problem.expected) for problem in refusal.problems]
        assert found

    assert all(field and expected for field, _, expected in found)
