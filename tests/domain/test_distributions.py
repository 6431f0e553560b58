import gzip
import io
import os
import stat
import struct
import subprocess
import sys
import tarfile
import tracemalloc
import warnings
import zipfile
import zlib
from collections.abc import Callable

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
TOP = "demo-1.0"
PKG_INFO = {f"{TOP}/PKG-INFO": metadata("demo", "1.0")}


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
    "demo-1.0.whl": "must be <name>-<version>-<python>-<abi>-<platform>.whl",
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


def rezipped(built: BuiltFile, change: Callable[[zipfile.ZipFile], None]) -> bytes:
    archive = io.BytesIO(built.content)
    with zipfile.ZipFile(archive, "a") as target:
        change(target)
    return archive.getvalue()


def with_comment(content: bytes, comment: bytes) -> bytes:
    return content[:-2] + struct.pack("<H", len(comment)) + comment


def with_wide_end(content: bytes, **changes: int) -> bytes:
    """The same zip file with zip64 end records, as it would have with 65,536 members or above 4 GiB."""
    _, _, _, _, count, size, offset, _ = struct.unpack("<4s4H2LH", content[-22:])
    values = {"length": 44, "disk": 0, "count": count, "size": size, "offset": offset, "record": len(content) - 22}
    values |= changes
    record = struct.pack(
        "<4sQ2H2L4Q", b"PK\x06\x06", values["length"], 45, 45, values["disk"], 0, values["count"], values["count"],
        values["size"], values["offset"],
    )  # fmt: skip
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, values["record"], 1)
    narrow = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, size, 0xFFFFFFFF, 0)
    return content[:-22] + record + locator + narrow


class Unseekable(io.BytesIO):
    def seekable(self):
        return False

    def tell(self):
        raise io.UnsupportedOperation

    seek = tell


def streamed_wheel(force_zip64: bool) -> bytes:
    """A wheel as written to a pipe: sizes and checksums follow the contents."""
    source, archive = zipfile.ZipFile(build_wheel().open()), Unseekable()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as target:
        for info in source.infolist():
            with target.open(info.filename, "w", force_zip64=force_zip64) as member:
                member.write(source.read(info))
    return archive.getvalue()


def zip64_member(target: zipfile.ZipFile) -> None:
    with target.open("large.bin", "w", force_zip64=True) as member:
        member.write(b"x" * 1000)


def tar_of(members: list[tuple[tarfile.TarInfo, bytes]], tar_format: int = tarfile.PAX_FORMAT, **options) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tar_format, **options) as target:
        for info, content in members:
            info.size = len(content)
            target.addfile(info, io.BytesIO(content))
    return archive.getvalue()


def member(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, target: str = "", **attributes):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    for attribute, value in attributes.items():
        setattr(info, attribute, value)
    return info, content


PKG_INFO_MEMBER = (f"{TOP}/PKG-INFO", metadata("demo", "1.0"))


def sdist_of(*members, **options) -> bytes:
    """An sdist with ``PKG-INFO`` and these members behind it."""
    return gzip.compress(tar_of([member(*PKG_INFO_MEMBER), *members], **options), 1)


LONG = "/".join(["folder" * 10] * 8) + "/file.py"
GOOD_FILES = {
    "wheel": (WHEEL, build_wheel().content),
    "wheel with a build number": (f"{TOP}-1-py3-none-any.whl", build_wheel(build="1").content),
    "wheel named in the old way": ("Demo-1.0.0-py3-none-any.whl", build_wheel().content),
    "wheel with folders": (WHEEL, rezipped(build_wheel(), lambda target: target.writestr("demo/", b""))),
    "wheel with a member outside of ASCII": (WHEEL, build_wheel(files={"d\u00e9mo/\u6a21.txt": b""}).content),
    "wheel with an empty member": (WHEEL, build_wheel(files={"demo/__init__.py": b""}).content),
    "wheel with a stored member": (WHEEL, rezipped(build_wheel(), lambda target: target.writestr("stored.txt", b"text"))),
    "wheel with a zip64 member": (WHEEL, rezipped(build_wheel(), zip64_member)),
    "wheel with zip64 end records": (WHEEL, with_wide_end(build_wheel().content)),
    "wheel written to a pipe": (WHEEL, streamed_wheel(force_zip64=False)),
    "wheel written to a pipe as zip64": (WHEEL, streamed_wheel(force_zip64=True)),
    "wheel with a zip file's comment": (WHEEL, with_comment(build_wheel().content, b"made by hand")),
    "wheel with a zip file in it": (WHEEL, build_wheel(files={"inner.zip": zip_of({"a": b"a" * 100})}).content),
    "sdist": (SDIST, build_sdist().content),
    "sdist in a zip file": (ZIP_SDIST, build_sdist(filename=ZIP_SDIST).content),
    "sdist named in the old way": ("DEMO-1.0.tar.gz", build_sdist(top="DEMO-1.0").content),
    "sdist whose top folder is spelled differently": ("demo-1.0.0.tar.gz", build_sdist(top="Demo-1.0").content),
    "sdist with names too long for ustar": (SDIST, build_sdist(files={LONG: b"", "d\u00e9mo.py": b""}).content),
    "sdist with GNU's long names": (
        SDIST,
        sdist_of(
            member(f"{TOP}/{LONG}", b"text"),
            member(f"{TOP}/link", kind=tarfile.SYMTYPE, target=LONG),
            tar_format=tarfile.GNU_FORMAT,
        ),
    ),
    "sdist with a name in another encoding": (
        SDIST,
        sdist_of(member(f"{TOP}/d\u00e9mo.txt"), tar_format=tarfile.USTAR_FORMAT, encoding="latin-1"),
    ),
    "sdist in ustar format": (SDIST, sdist_of(member(f"{TOP}/a.py", b"a"), tar_format=tarfile.USTAR_FORMAT)),
    "sdist with a comment of git": (SDIST, sdist_of(pax_headers={"comment": "0123456789abcdef"})),
    "sdist with folders": (SDIST, sdist_of(member(f"{TOP}/docs", kind=tarfile.DIRTYPE), member(f"{TOP}/docs/a.txt", b"a"))),
    "sdist of members that begin with a dot": (
        SDIST,
        gzip.compress(tar_of([member("./", kind=tarfile.DIRTYPE), member("./" + PKG_INFO_MEMBER[0], PKG_INFO_MEMBER[1])])),
    ),
    "sdist with links that stay inside": (
        SDIST,
        sdist_of(
            member(f"{TOP}/docs/readme", kind=tarfile.SYMTYPE, target="../PKG-INFO"),
            member(f"{TOP}/docs/self", kind=tarfile.SYMTYPE, target="."),
            member(f"{TOP}/hard", kind=tarfile.LNKTYPE, target=f"{TOP}/PKG-INFO"),
        ),
    ),
}  # fmt: skip


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


# Bad zip files --------------------------------------------------------------------------------------------------


def patched(content: bytes, record: bytes, offset: int, layout: str, *values: int, which: int = 0) -> bytes:
    """``content`` with other values at an offset within its nth record of this signature."""
    start = -1
    for _ in range(which + 1):
        start = content.index(record, start + 1)
    changed = bytearray(content)
    struct.pack_into(layout, changed, start + offset, *values)
    return bytes(changed)


def entry(offset: int, layout: str, *values: int, content: bytes = b"") -> bytes:
    """The usual wheel with a change in the first entry of its central directory."""
    return patched(content or build_wheel().content, b"PK\x01\x02", offset, layout, *values)


def local(offset: int, layout: str, *values: int, content: bytes = b"") -> bytes:
    return patched(content or build_wheel().content, b"PK\x03\x04", offset, layout, *values)


def end(offset: int, layout: str, *values: int) -> bytes:
    return patched(build_wheel().content, b"PK\x05\x06", offset, layout, *values)


def wheel_with(name: str, content: bytes = b"", **attributes) -> bytes:
    """The usual wheel with one more member, of any name and attributes."""

    def add(target: zipfile.ZipFile) -> None:
        info = zipfile.ZipInfo("placeholder")
        info.filename = name
        for attribute, value in attributes.items():
            setattr(info, attribute, value)
        with warnings.catch_warnings(action="ignore"):
            target.writestr(info, content)

    return rezipped(build_wheel(), add)


def wheel_inserting(inserted: bytes) -> bytes:
    """The usual wheel with bytes between its last member and the central directory."""
    content = build_wheel().content
    offset = struct.unpack("<L", content[-6:-2])[0]
    return content[:offset] + inserted + content[offset:-6] + struct.pack("<L", offset + len(inserted)) + content[-2:]


def wheel_behind_a_script() -> bytes:
    archive = io.BytesIO()
    archive.write(b"#!/bin/sh\n")
    with zipfile.ZipFile(archive, "a") as target:
        target.writestr("demo.py", b"")
    return archive.getvalue()


def wheel_of(**files: bytes) -> bytes:
    return zip_of({path.replace("INFO", INFO): content for path, content in files.items()})


def zipped(files: dict[str, bytes]) -> bytes:
    return zip_of(files)


METADATA_FILES = {f"{INFO}/METADATA": metadata("demo", "1.0"), f"{INFO}/WHEEL": b""}
METADATA_FIRST = zip_of(METADATA_FILES)
METADATA_SIZE = len(metadata("demo", "1.0"))
