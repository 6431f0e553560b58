"""The names of wheels and sdists."""

import contextlib
from weakref import ref

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from packaging.version import Version

from registry.domain.distributions.filenames import Kind, ParsedFilename, kind_of, parse_filename, version
from registry.errors import InvalidDistribution

GOOD_FILENAMES = {
    "demo-1.0-py3-none-any.whl": (Kind.WHEEL, "demo", "1.0"),
    "demo-1.0-1-py2.py3-none-any.whl": (Kind.WHEEL, "demo", "1.0"),
    "My.Pkg-1.0-py3-none-any.whl": (Kind.WHEEL, "my-pkg", "1.0"),
    "my_pkg-1.0.0RC1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl": (Kind.WHEEL, "my-pkg", "1.0.0rc1"),
    "demo-1.0_1-py3-none-any.whl": (Kind.WHEEL, "demo", "1.0.post1"),
    "demo-1!1.0+local.1-py3-none-any.whl": (Kind.WHEEL, "demo", "1!1.0+local.1"),
    "demo-1.0.tar.gz": (Kind.SDIST, "demo", "1.0"),
    "demo-1.0.zip": (Kind.SDIST, "demo", "1.0"),
    "My.Pkg-1.0.tar.gz": (Kind.SDIST, "my-pkg", "1.0"),
    "my-pkg-1.0.tar.gz": (Kind.SDIST, "my-pkg", "1.0"),
    "my-2-pkg-3-1.0.tar.gz": (Kind.SDIST, "my-2-pkg-3", "1.0"),
    "pkg-2-1.tar.gz": (Kind.SDIST, "pkg-2", "1"),
    "pkg-1.0-1.tar.gz": (Kind.SDIST, "pkg", "1.0.post1"),
    "pkg-1.0-rc-1.tar.gz": (Kind.SDIST, "pkg", "1.0rc1"),
    "pkg-1.0+local-x.tar.gz": (Kind.SDIST, "pkg", "1.0+local.x"),
}


@pytest.mark.parametrize(("filename", "expected"), GOOD_FILENAMES.items(), ids=GOOD_FILENAMES)
def test_a_file_name_gives_kind_name_and_version(filename, expected):
    kind, name, version = expected

    parsed = parse_filename(filename)
    assert (parsed.kind, parsed.normalized_name, parsed.version) == (kind, name, Version(version))


BAD_FILENAMES = {
    "": "up to 255 ASCII letters",
    ".whl": "up to 255 ASCII letters",
    "d" * 245 + "-1.0.tar.gz": "up to 255 ASCII letters",
    "demo-1.0.tar.gz\n": "up to 255 ASCII letters",
    "../demo-1.0.tar.gz": "up to 255 ASCII letters",
    "d\u00e9mo-1.0.tar.gz": r"file name is 'd\xe9mo-1.0.tar.gz', expected is up to 255 ASCII letters",
    "demo 1.0.tar.gz": "up to 255 ASCII letters",
    "demo-1.0.tar.bz2": "'demo-1.0.tar.bz2', expected is a name that ends in .whl (wheel), .tar.gz or .zip (sdist)",
    "demo-1.0.egg": "a name that ends in .whl",
    "demo-1.0.TAR.GZ": "a name that ends in .whl",
    "demo-1.whl": "expected is <name>-<version>-<python>-<abi>-<platform>.whl",
    "demo-1.0-py3-none-any-extra-more.whl": "expected is <name>-<version>-<python>-<abi>-<platform>.whl",
    "demo-1.0-x1-py3-none-any.whl": "expected is <name>-<version>-<python>-<abi>-<platform>.whl",
    "demo_-1.0-py3-none-any.whl": "expected is <name>-<version>-<python>-<abi>-<platform>.whl",
    f"demo-1.0-{'.'.join(['a'] * 30)}-{'.'.join(['b'] * 30)}-any.any.whl": "at most 1000 tags",
    "demo-latest-py3-none-any.whl": "with a version as in PEP 440",
    f"demo-{'1' * 200}.0-py3-none-any.wh": "a name that ends in .whl",
    "demo.tar.gz": "expected is <name>-<version>.tar.gz or .zip",
    "demo-latest.tar.gz": "expected is <name>-<version>.tar.gz or .zip",
    "demo_-1.0.tar.gz": "expected is <name>-<version>.tar.gz or .zip",
    "1.0.tar.gz": "expected is <name>-<version>.tar.gz or .zip",
}


@pytest.mark.parametrize(("filename", "reason"), BAD_FILENAMES.items(), ids=[ascii(name) for name in BAD_FILENAMES])
def test_a_file_name_that_is_neither_a_wheels_nor_an_sdists_is_refused(filename, reason):
    with pytest.raises(InvalidDistribution) as refusal:
        parse_filename(filename)

    assert reason in refusal.value.reason


def test_a_wheels_name_gives_its_build_and_every_tag():
    parsed = parse_filename("demo-1.0-3local-py2.py3-none-any.whl")

    assert parsed.build == "3local"
    assert {str(tag) for tag in parsed.tags} == {"py2-none-any", "py3-none-any"}


@pytest.mark.parametrize("value", ["d\u00e9mo\n\u202e", "x" * 1000, "\U0001f600" * 90, "'\"" * 60], ids=ascii)
def test_a_reason_is_one_short_line_of_ascii_whatever_it_quotes(value):
    with pytest.raises(InvalidDistribution) as refusal:
        parse_filename(value)

    assert refusal.value.reason.isascii()
    assert refusal.value.reason.isprintable()
    assert len(refusal.value.reason) < 300


@pytest.mark.parametrize(
    ("filename", "kind"),
    [("a.whl", Kind.WHEEL), ("a.tar.gz", Kind.SDIST), ("a.zip", Kind.SDIST), ("a.egg", None), ("a.WHL", None)],
)
def test_the_suffix_of_a_name_determines_the_kind(filename, kind):
    assert kind_of(filename) is kind


@settings(max_examples=100, deadline=None)
@given(st.one_of(st.text(), st.from_regex(r"\A[a-z.-]*-[0-9.a-z!+_-]*(-py3-none-any\.whl|\.tar\.gz|\.zip)\Z")))
@example("demo-" + "9" * 240 + ".tar.gz")
def test_a_file_name_of_any_characters_is_parsed_or_refused(filename):
    with contextlib.suppress(InvalidDistribution):
        assert isinstance(parse_filename(filename), ParsedFilename)


class Text(str):
    """One whose end can be noticed."""


def test_a_text_that_is_too_long_for_a_version_is_not_kept():
    text = Text("1" * 256)
    kept = ref(text)

    assert version(text) is None
    del text
    assert kept() is None
