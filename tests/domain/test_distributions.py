import contextlib
import io
import os
import subprocess
import sys
import tracemalloc

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from packaging.version import Version

from registry.domain import distributions
from registry.domain.distributions import Distribution, Kind, ParsedFilename, parse_filename
from registry.errors import InvalidDistribution
from tests.builders import BuiltFile, build_sdist, build_wheel, metadata, tar_gz_of, zip_of

MIB = 1024 * 1024
WHEEL = "demo-1.0-py3-none-any.whl"
SDIST = "demo-1.0.tar.gz"
ZIP_SDIST = "demo-1.0.zip"
INFO = "demo-1.0.dist-info"


def read(content: bytes, filename: str) -> Distribution:
    return distributions.read(io.BytesIO(content), filename)


def read_built(built: BuiltFile) -> Distribution:
    return read(built.content, built.filename)


# File names -----------------------------------------------------------------------------------------------------

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

    assert parse_filename(filename) == ParsedFilename(kind, name, Version(version))


BAD_FILENAMES = {
    "": "must be of up to 255 ASCII letters",
    ".whl": "must be of up to 255 ASCII letters",
    "d" * 245 + "-1.0.tar.gz": "must be of up to 255 ASCII letters",
    "demo-1.0.tar.gz\n": "must be of up to 255 ASCII letters",
    "../demo-1.0.tar.gz": "must be of up to 255 ASCII letters",
    "d\u00e9mo-1.0.tar.gz": r"'d\xe9mo-1.0.tar.gz' must be of up to 255 ASCII letters",
    "demo 1.0.tar.gz": "must be of up to 255 ASCII letters",
    "demo-1.0.tar.bz2": "'demo-1.0.tar.bz2' must end in .whl (wheel), .tar.gz or .zip (sdist)",
    "demo-1.0.egg": "must end in .whl",
    "demo-1.0.TAR.GZ": "must end in .whl",
    "demo-1.whl": "must be <name>-<version>-<python>-<abi>-<platform>.whl",
    "demo-1.0-py3-none-any-extra-more.whl": "must be <name>-<version>-<python>-<abi>-<platform>.whl",
    "demo-1.0-x1-py3-none-any.whl": "must be <name>-<version>-<python>-<abi>-<platform>.whl",
    "demo_-1.0-py3-none-any.whl": "must be <name>-<version>-<python>-<abi>-<platform>.whl",
    "demo-latest-py3-none-any.whl": "has 'latest' where a version as in PEP 440 must be",
    f"demo-{'1' * 200}.0-py3-none-any.wh": "must end in .whl",
    "demo.tar.gz": "must be <name>-<version>.tar.gz or .zip",
    "demo-latest.tar.gz": "must be <name>-<version>.tar.gz or .zip",
    "demo_-1.0.tar.gz": "must be <name>-<version>.tar.gz or .zip",
    "1.0.tar.gz": "must be <name>-<version>.tar.gz or .zip",
}


@pytest.mark.parametrize(("filename", "reason"), BAD_FILENAMES.items(), ids=[ascii(name) for name in BAD_FILENAMES])
def test_a_file_name_that_is_neither_a_wheels_nor_an_sdists_is_refused(filename, reason):
    with pytest.raises(InvalidDistribution) as refusal:
        parse_filename(filename)

    assert reason in refusal.value.reason


# Good files -----------------------------------------------------------------------------------------------------

GOOD_FILES = {
    "wheel": (WHEEL, build_wheel().content),
    "wheel with a build number": ("demo-1.0-1-py3-none-any.whl", build_wheel(build="1").content),
    "wheel whose version is spelled differently": ("demo-1.0.0-py3-none-any.whl", build_wheel().content),
    "wheel whose name is spelled differently": ("Demo-1.0-py3-none-any.whl", build_wheel().content),
    "sdist": (SDIST, build_sdist().content),
    "sdist whose name is spelled differently": ("DEMO-1.0.tar.gz", build_sdist().content),
    "sdist whose top folder is spelled differently": ("demo-1.0.0.tar.gz", build_sdist(top="Demo-1.0").content),
    "sdist in a zip file": (ZIP_SDIST, build_sdist(filename=ZIP_SDIST).content),
}


@pytest.mark.parametrize(("filename", "content"), GOOD_FILES.values(), ids=GOOD_FILES)
def test_a_wheel_or_sdist_is_understood(filename, content):
    distribution = read(content, filename)

    assert (distribution.name, distribution.version, distribution.normalized_name) == ("demo", "1.0", "demo")
    assert distribution.filename == filename
    assert distribution.core_metadata == metadata("demo", "1.0")


def test_a_distribution_tells_what_its_own_metadata_says():
    requires_python = ">=3.8, " + ", ".join(f"!=3.{minor}.*" for minor in range(9, 90))
    built = build_wheel("My.Pkg", "1.0.0RC1", requires_python=requires_python, requires_dist=["demo>=1"])

    distribution = read_built(built)

    assert distribution == Distribution(
        filename="my_pkg-1.0.0RC1-py3-none-any.whl",
        kind=Kind.WHEEL,
        name="My.Pkg",
        version="1.0.0RC1",
        normalized_name="my-pkg",
        metadata_version="2.1",
        requires_python=requires_python,
        core_metadata=metadata("My.Pkg", "1.0.0RC1", requires_python=requires_python, requires_dist=["demo>=1"]),
        core_metadata_is_final=True,
    )


def test_an_implicit_post_release_is_read_as_one():
    built = build_sdist("pkg", "1.0-1", filename="pkg-1.0-1.tar.gz", top="pkg-1.0-1")

    assert read_built(built).version == "1.0-1"


def test_the_file_may_stand_anywhere():
    file = build_sdist().open()
    file.seek(7)

    assert distributions.read(file, SDIST).name == "demo"


@pytest.mark.parametrize(
    ("metadata_version", "headers", "expected"),
    [
        ("2.1", [], False),
        ("2.2", [], True),
        ("2.10", ["Dynamic: Summary"], True),
        ("2.2", ["Dynamic: Requires-Dist"], False),
        ("2.3", ["Dynamic: Summary", "Dynamic: requires-python"], False),
        ("2.4", ["Dynamic: Provides-Extra"], False),
        ("2.4", ["Dynamic: version"], False),
    ],
    ids=str,
)
def test_metadata_of_an_sdist_is_final_only_if_building_cannot_change_it(metadata_version, headers, expected):
    built = build_sdist(metadata_version=metadata_version, headers=headers)

    assert read_built(built).core_metadata_is_final is expected


def test_metadata_of_a_wheel_is_final_whatever_it_says():
    built = build_wheel(metadata_version="2.2", headers=["Dynamic: Requires-Dist"])

    assert read_built(built).core_metadata_is_final


@pytest.mark.parametrize("newline", ["\r\n", "\r", "\n"], ids=ascii)
def test_fields_end_at_the_first_empty_line_whatever_the_line_ends(newline):
    document = "Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n\nName: other\n".replace("\n", newline).encode()

    assert read_built(build_wheel(core_metadata=document)).name == "demo"


def test_a_description_kept_in_a_field_is_no_hindrance():
    description = "\n".join(["Description: first line", *["        Name: of a line, not of a package"] * 9000])

    assert read_built(build_sdist(headers=[description])).name == "demo"


def test_a_body_that_looks_like_a_mail_is_not_parsed_as_one():
    nested = "Content-Type: multipart/mixed; boundary=b\n--b\n" * 5000

    assert read_built(build_wheel(headers=[nested])).name == "demo"


# Bad files ------------------------------------------------------------------------------------------------------

WHEEL_FILES = {f"{INFO}/METADATA": metadata("demo", "1.0"), f"{INFO}/WHEEL": b""}
MANY_LINES = "a line\n" * (2 * MIB)
NOT_THE_NAMED = "is not that of 'demo 1.0', which the file name says"

BAD_FILES = {
    "sdist named as a wheel": (WHEEL, build_sdist().content, "the file is not a zip file"),
    "wheel named as an sdist": (SDIST, build_wheel().content, "the file is not a gzip stream"),
    "wheel named as an sdist in a zip file": (ZIP_SDIST, build_wheel().content, "lies outside a top folder"),
    "wheel without members": (WHEEL, zip_of({}), "must have one .dist-info folder at its top, and has 0"),
    "wheel without .dist-info": (WHEEL, zip_of({"a.py": b""}), "must have one .dist-info folder at its top, and has 0"),
    "wheel with .dist-info too deep": (
        WHEEL, zip_of({f"a/{path}": content for path, content in WHEEL_FILES.items()}), "folder at its top, and has 0",
    ),
    "wheel with two .dist-info": (WHEEL, zip_of(WHEEL_FILES | {"other-1.0.dist-info/METADATA": b""}), "and has 2"),
    "wheel with an empty second .dist-info": (WHEEL, zip_of(WHEEL_FILES | {"other-1.0.dist-info/": b""}), "and has 2"),
    "wheel with two to Windows": (WHEEL, zip_of(WHEEL_FILES | {"Demo-1.0.DIST-INFO/RECORD": b""}), "and has 2"),
    "wheel of another name": (WHEEL, build_wheel("other").content, f"the folder 'other-1.0.dist-info' {NOT_THE_NAMED}"),
    "wheel of another version": (
        WHEEL, build_wheel("demo", "1.0.1").content, f"the folder 'demo-1.0.1.dist-info' {NOT_THE_NAMED}",
    ),
    "wheel of no version": (WHEEL, zip_of({"demo.dist-info/METADATA": b""}), f"'demo.dist-info' {NOT_THE_NAMED}"),
    "wheel without METADATA": (WHEEL, zip_of({f"{INFO}/WHEEL": b""}), f"the wheel has no file METADATA in '{INFO}'"),
    "wheel with a folder METADATA": (WHEEL, zip_of({f"{INFO}/METADATA/": b"", f"{INFO}/WHEEL": b""}), "file METADATA"),
    "wheel without WHEEL": (WHEEL, zip_of({f"{INFO}/METADATA": b""}), f"the wheel has no file WHEEL in '{INFO}'"),
    "wheel with too large a METADATA": (
        WHEEL, build_wheel(description=MANY_LINES).content, f"'{INFO}/METADATA' is larger than 10485760 bytes",
    ),
    "sdist without members": (SDIST, tar_gz_of({}), f"the top folder '' {NOT_THE_NAMED}"),
    "sdist of another name": (SDIST, build_sdist("other").content, f"the top folder 'other-1.0' {NOT_THE_NAMED}"),
    "sdist of another version": (SDIST, build_sdist("demo", "2").content, f"the top folder 'demo-2' {NOT_THE_NAMED}"),
    "sdist of no version": (SDIST, build_sdist(top="demo").content, f"the top folder 'demo' {NOT_THE_NAMED}"),
    "sdist without PKG-INFO": (SDIST, tar_gz_of({"demo-1.0/a.py": b""}), "no file PKG-INFO in its top folder 'demo"),
    "sdist with PKG-INFO too deep": (SDIST, tar_gz_of({"demo-1.0/a/PKG-INFO": b""}), "no file PKG-INFO"),
    "sdist with too large a PKG-INFO": (
        SDIST, build_sdist(description=MANY_LINES).content, "'demo-1.0/PKG-INFO' is larger than 10485760 bytes",
    ),
    "sdist without members in a zip file": (ZIP_SDIST, zip_of({}), f"the top folder '' {NOT_THE_NAMED}"),
    "sdist without PKG-INFO in a zip file": (ZIP_SDIST, zip_of({"demo-1.0/a.py": b""}), "no file PKG-INFO"),
}  # fmt: skip


@pytest.mark.parametrize(("filename", "content", "reason"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_bad_file_is_refused_with_the_reason(filename, content, reason):
    with pytest.raises(InvalidDistribution) as refusal:
        read(content, filename)

    assert reason in refusal.value.reason


# Bad core metadata ----------------------------------------------------------------------------------------------

BAD_METADATA = {
    "nothing": (b"\n", "the core metadata field Metadata-Version is missing; it must be 1.x or 2.x"),
    "not UTF-8": (metadata("demo", "1.0", summary="d\u00e9mo").replace(b"\xc3", b"\xff"), "is not UTF-8 at byte 56"),
    "body only": (b"\n" + metadata("demo", "1.0"), "Metadata-Version is missing"),
    "no metadata version": (b"Name: demo\nVersion: 1.0\n", "Metadata-Version is missing"),
    "unknown metadata version": (metadata("demo", "1.0", metadata_version="3.0"), "Metadata-Version is '3.0'"),
    "no name": (b"Metadata-Version: 2.1\nVersion: 1.0\n", "the core metadata field Name is missing"),
    "two names": (metadata("demo", "1.0", headers=["Name: other"]), "has the field Name more than once"),
    "malformed name": (metadata("demo!", "1.0"), "the core metadata field Name is 'demo!'; it must be ASCII letters"),
    "very long name": (metadata("demo" * 100, "1.0"), "it must be ASCII letters"),
    "other name": (metadata("other", "1.0"), "field Name is 'other'; it must be 'demo' as in the file name"),
    "no version": (b"Metadata-Version: 2.1\nName: demo\n", "the core metadata field Version is missing"),
    "two versions": (metadata("demo", "1.0", headers=["version: 2.0"]), "has the field Version more than once"),
    "malformed version": (metadata("demo", "latest"), "Version is 'latest'; it must be a version as in PEP 440"),
    "very long version": (metadata("demo", "1" + ".0" * 200), "it must be a version as in PEP 440"),
    "other version": (metadata("demo", "1.1"), "Version is '1.1'; it must be '1.0' as in the file name"),
    "control characters": (
        metadata("demo", "1.0", requires_python=">=3\0"), r"Requires-Python is '>=3\x00'; it must be one line",
    ),
    "too many fields": (metadata("demo", "1.0", headers=["Classifier: x"] * 50_000), "has over 50000 lines"),
    "too long a field": (metadata("demo", "1.0", summary="x" * 4 * MIB), "or 4194304 characters in front of its body"),
    "too many different fields": (
        metadata("demo", "1.0", headers=[f"X-{number}: x" for number in range(100)]),
        "has more than 100 different fields",
    ),
}  # fmt: skip


@pytest.mark.parametrize("build", [build_wheel, build_sdist], ids=["wheel", "sdist"])
@pytest.mark.parametrize(("document", "reason"), BAD_METADATA.values(), ids=BAD_METADATA)
def test_bad_core_metadata_is_refused_with_the_reason(build, document, reason):
    with pytest.raises(InvalidDistribution) as refusal:
        read_built(build(core_metadata=document))

    assert reason in refusal.value.reason


@pytest.mark.parametrize("value", ["d\u00e9mo\n\u202e", "x" * 1000, "\U0001f600" * 90, "'\"" * 60], ids=ascii)
def test_a_reason_is_one_short_line_of_ascii_whatever_it_quotes(value):
    with pytest.raises(InvalidDistribution) as refusal:
        parse_filename(value)

    assert refusal.value.reason.isascii()
    assert refusal.value.reason.isprintable()
    assert len(refusal.value.reason) < 300


# Size and any bytes ---------------------------------------------------------------------------------------------

FILES_OF_ANY_SIZE = {
    "large wheel": (build_wheel, {"size_bytes": 20 * MIB}, 1),
    "large sdist": (build_sdist, {"size_bytes": 20 * MIB}, 2),
    "wheel with endless fields": (
        build_wheel,
        {"core_metadata": metadata("demo", "1.0", headers=["A:"] * 3_000_000)},
        40,
    ),
}


@pytest.mark.parametrize(("build", "options", "limit_mib"), FILES_OF_ANY_SIZE.values(), ids=FILES_OF_ANY_SIZE)
def test_memory_does_not_grow_with_the_file(build, options, limit_mib):
    built = build(**options)

    tracemalloc.start()
    with contextlib.suppress(InvalidDistribution):
        read_built(built)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < limit_mib * MIB


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_core_metadata_of_any_bytes_is_read_or_refused(data):
    document = metadata("demo", "1.0", requires_python=">=3.8", headers=["Dynamic: Summary"], description="text")
    start, stop = data.draw(st.integers(0, len(document))), data.draw(st.integers(0, len(document)))
    piece = data.draw(
        st.one_of(st.binary(), st.sampled_from([b"\n\n", b"\r", b":", b"Name: demo\n", b"=?utf-8?q?=ff?="]))
    )
    built = build_sdist(core_metadata=document[:start] + piece + document[stop:])

    with contextlib.suppress(InvalidDistribution):
        assert isinstance(read_built(built), Distribution)


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(), st.from_regex(r"\A[a-z.-]*-[0-9.a-z!+_-]*(-py3-none-any\.whl|\.tar\.gz|\.zip)\Z")))
@example("demo-" + "9" * 240 + ".tar.gz")
def test_a_file_name_of_any_characters_is_parsed_or_refused(filename):
    with contextlib.suppress(InvalidDistribution):
        assert isinstance(parse_filename(filename), ParsedFilename)


# The builders ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "built",
    [
        build_wheel(
            "My.Pkg", requires_python=">=3.8", description="# Read me", description_content_type="text/markdown"
        ),
        build_sdist("My.Pkg"),
        build_sdist("My.Pkg", filename="my_pkg-1.0.zip"),
    ],
    ids=["wheel", "sdist", "sdist in a zip file"],
)
def test_what_the_builders_build_is_installed_by_pip(built, tmp_path):
    (tmp_path / built.filename).write_bytes(built.content)
    command = [
        sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-index", "--no-deps",
        "--target", tmp_path / "site", tmp_path / built.filename,
    ]  # fmt: skip
    environment = {**os.environ, "PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": "", "PIP_NO_CACHE_DIR": "1"}

    subprocess.run(command, check=True, capture_output=True, env=environment)

    assert (tmp_path / "site" / "my_pkg.py").read_text() == '__version__ = "1.0"\n'


def test_equal_arguments_build_equal_bytes():
    assert build_wheel(size_bytes=1000).sha256 == build_wheel(size_bytes=1000).sha256
    assert build_sdist(size_bytes=1000).sha256 == build_sdist(size_bytes=1000).sha256
