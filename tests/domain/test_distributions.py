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


METADATA_FIRST = zip_of({f"{INFO}/METADATA": metadata("demo", "1.0"), f"{INFO}/WHEEL": b""})
START_OF_METADATA = len(f"{INFO}/METADATA") + 30
SYMLINK, DEVICE = stat.S_IFLNK | 0o777, stat.S_IFCHR | 0o600
LAST_SIZE = {"wheel": len(build_wheel().content)}

BAD_ZIP_FILES = {
    # The frame
    "nothing": (b"", "the file is not a zip file"),
    "text": (b"print('demo')\n" * 10, "the file is not a zip file"),
    "cut off": (build_wheel().content[:-1], "does not end with its end record"),
    "half": (build_wheel().content[:400], "the file is not a zip file"),
    "bytes behind the end": (build_wheel().content + b"\0", "does not end with its end record"),
    "comment cut off": (with_comment(build_wheel().content, b"comment")[:-1], "does not end with its end record"),
    "bytes behind the comment": (with_comment(build_wheel().content, b"comment") + b"\n", "does not end with its end record"),
    "bytes in front": (b"#!/bin/sh\n" + build_wheel().content, "does not lie right before its end record"),
    "script in front, offsets adjusted": (wheel_behind_a_script(), "has bytes in front of its first member"),
    "bytes between members": (wheel_inserting(b"hidden"), "is followed by bytes that belong to no member"),
    "member that no directory lists": (
        wheel_inserting(zip_of({"evil.py": b"evil"})[:41]), "is followed by bytes that belong to no member",
    ),
    "first of several disks": (end(4, "<H", 1), "is one part of several"),
    "directory on several disks": (end(8, "<H", 1), "is one part of several"),
    "member on another disk": (entry(34, "<H", 1), "is one part of several"),
    "fewer members than announced": (end(8, "<2H", 5, 5), "does not hold the 5 members announced"),
    "more members than announced": (end(8, "<2H", 3, 3), "does not hold the 3 members announced"),
    "directory elsewhere": (end(16, "<L", 10), "does not lie right before its end record"),
    "zip64 record elsewhere": (with_wide_end(build_wheel().content, record=1), "do not follow each other"),
    "zip64 record of another length": (with_wide_end(build_wheel().content, length=45), "do not follow each other"),
    "zip64 record that contradicts": (with_wide_end(build_wheel().content, size=1), "contradict each other"),
    "zip64 record on another disk": (with_wide_end(build_wheel().content, disk=1), "is one part of several"),
    "zip64 offset beyond all bounds": (
        with_wide_end(build_wheel().content, offset=2**64 - 1), "does not lie right before its end record",
    ),
    "too many members": (with_wide_end(build_wheel().content, count=100_001), "has more than 100000 members"),
    # Entries of the central directory
    "encrypted": (entry(8, "<H", 0x1), "'demo.py' is encrypted"),
    "strongly encrypted": (entry(8, "<H", 0x41), "'demo.py' is encrypted"),
    "patch data": (entry(8, "<H", 0x20), "uses features of zip that installers lack (flags 0x0020)"),
    "bzip2": (entry(10, "<H", 12), "is compressed by method 12; it must be 0 (stored) or 8 (deflated)"),
    "lzma": (entry(10, "<H", 14), "is compressed by method 14"),
    "stored with two sizes": (entry(10, "<H", 0), "'demo.py' is stored, but with two different sizes"),
    "folder with content": (wheel_with("demo/", b"content"), "'demo/' is a folder with content"),
    "symbolic link": (wheel_with("link", b"/etc", external_attr=SYMLINK << 16), "'link' is a link or special file"),
    "device": (wheel_with("null", external_attr=DEVICE << 16), "'null' is a link or special file"),
    "offset behind the directory": (entry(42, "<L", 5000), "has bytes in front of its first member"),
    "last offset behind the directory": (
        patched(build_wheel().content, b"PK\x01\x02", 42, "<L", 5000, which=3), "has members behind its central directory",
    ),
    "zip64 size missing": (entry(24, "<L", 0xFFFFFFFF), "lacks the zip64 sizes it refers to"),
    "extra field cut off": (wheel_with("x", extra=b"\x99\x99\x05\x00ab"), "'x' has malformed extra fields"),
    "two zip64 fields": (wheel_with("x", extra=b"\1\0\x08\0" + b"\1" * 8 + b"\1\0\x08\0" + b"\1" * 8), "malformed extra fields"),
    "second name": (wheel_with("x", extra=b"up\x06\0\1abcd/"), "'x' has a second name in its extra fields"),
    # Names
    "name twice": (wheel_with("demo.py", b"evil"), "'demo.py' occurs twice"),
    "file and folder of one name": (wheel_with("demo.py/"), "'demo.py' occurs twice"),
    "name in a roundabout way": (wheel_with("./demo.py", b"evil"), "'./demo.py' must be named by a plain path"),
    "doubled slash": (wheel_with("demo//a.py"), "'demo//a.py' must be named by a plain path"),
    "the root itself": (wheel_with("./"), "'./' must be named by a plain path"),
    "empty name": (wheel_with(""), "'' must be named by a plain path"),
    "absolute path": (wheel_with("/etc/passwd"), "'/etc/passwd' has an absolute path"),
    "drive letter": (wheel_with("C:evil.py"), "'C:evil.py' has an absolute path"),
    "backslash": (wheel_with("..\\evil.py"), r"'..\\evil.py' has a backslash in its name"),
    "parent folder": (wheel_with("demo/../../evil.py"), "'demo/../../evil.py' has .. in its path"),
    "NUL in a name": (wheel_with("demo.py\0.txt"), r"'demo.py\x00.txt' has control characters in its name"),
    "line break in a name": (wheel_with("a\nb"), r"'a\nb' has control characters in its name"),
    "name that is not UTF-8": (
        wheel_with("d\u00e9mo").replace(b"d\xc3\xa9mo", b"d\xc3\xc3mo"), r"'d\udcc3\udcc3mo' has a name that is not UTF-8",
    ),
    "very long name": (wheel_with("long/" * 1000), "has a name of more than 4096 characters"),
    # Local headers
    "local header missing": (local(0, "<L", 0), r"the zip file has no b'PK\x03\x04' record at byte 0"),
    "other name in the local header": (local(30, "<B", ord("D")), "'demo.py' has a local header that contradicts"),
    "other size in the local header": (local(22, "<L", 5), "'demo.py' has a local header that contradicts"),
    "other checksum in the local header": (local(14, "<L", 5), "'demo.py' has a local header that contradicts"),
    "other method in the local header": (local(8, "<H", 0), "'demo.py' has a local header that contradicts"),
    "encrypted by the local header": (local(6, "<H", 1), "'demo.py' has a local header that contradicts"),
    "other packed size in both headers": (
        entry(20, "<L", 10, content=local(18, "<L", 10)), "'demo.py' is followed by bytes that belong to no member",
    ),
    "larger packed size in both headers": (
        entry(20, "<L", 99, content=local(18, "<L", 99)), "'demo.py' overlaps what follows it",
    ),
    "two members in one place": (
        patched(build_wheel().content, b"PK\x01\x02", 42, "<L", 0, which=1), "overlaps what follows it",
    ),
    "data descriptor that lies": (
        streamed_wheel(force_zip64=False).replace(b"PK\x07\x08", b"PK\x07\x09", 1), "is followed by bytes that belong to no",
    ),
    # What a wheel must hold
    "no .dist-info": (zip_of({"demo.py": b""}), "must have one .dist-info folder at its top, and has 0"),
    "no members": (zip_of({}), "must have one .dist-info folder at its top, and has 0"),
    "two .dist-info": (wheel_with("other-1.0.dist-info/METADATA"), "must have one .dist-info folder at its top, and has 2"),
    "two .dist-info to Windows": (wheel_with("DEMO-1.0.DIST-INFO/METADATA"), "must have one .dist-info folder"),
    "empty second .dist-info": (wheel_with("other-1.0.dist-info/"), "must have one .dist-info folder at its top, and has 2"),
    ".dist-info of another name": (
        build_wheel("other").content, "the folder 'other-1.0.dist-info' is not that of 'demo 1.0', which the file name says",
    ),
    ".dist-info of another version": (build_wheel("demo", "1.1").content, "the folder 'demo-1.1.dist-info' is not that of"),
    "no METADATA": (zip_of({f"{INFO}/WHEEL": b""}), "the wheel has no file METADATA in 'demo-1.0.dist-info'"),
    "no WHEEL": (zip_of({f"{INFO}/METADATA": b""}), "the wheel has no file WHEEL in 'demo-1.0.dist-info'"),
    "folder METADATA": (zip_of({f"{INFO}/METADATA/": b"", f"{INFO}/WHEEL": b""}), "the wheel has no file METADATA"),
    "METADATA with another checksum": (
        entry(16, "<L", 1, content=local(14, "<L", 1, content=METADATA_FIRST)), "does not match its size and checksum",
    ),
    "METADATA with another size": (
        entry(24, "<L", 1, content=local(22, "<L", 1, content=METADATA_FIRST)), "does not match its size and checksum",
    ),
    "METADATA that is not deflated": (
        local(START_OF_METADATA, "<B", 0xFF, content=METADATA_FIRST), "is damaged: its content is not deflated",
    ),
    "METADATA that ends early": (
        local(START_OF_METADATA, "<2B", 0x03, 0x00, content=METADATA_FIRST), "does not match its size and checksum",
    ),
    "METADATA too large": (
        build_wheel(description="long\n" * (2 * MIB + 1)).content, "METADATA' is larger than 10485760 bytes",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("content", "reason"), BAD_ZIP_FILES.values(), ids=BAD_ZIP_FILES)
def test_a_bad_wheel_is_refused_with_the_reason(content, reason):
    with pytest.raises(InvalidDistribution) as refusal:
        read(content, WHEEL)

    assert reason in refusal.value.reason


BAD_ZIP_SDISTS = {
    "two top folders": (zip_of(PKG_INFO | {"evil/setup.py": b""}), "has 'evil' beside 'demo-1.0'; it must have one top folder"),
    "file at the top": (zip_of(PKG_INFO | {"setup.py": b""}), "'setup.py' lies outside a top folder"),
    "no PKG-INFO": (zip_of({f"{TOP}/setup.py": b""}), "the sdist has no file PKG-INFO in its top folder 'demo-1.0'"),
    "other top folder": (zip_of({"demo-2.0/PKG-INFO": b""}), "the top folder 'demo-2.0' is not that of 'demo 1.0'"),
    "no members": (zip_of({}), "the top folder '' is not that of 'demo 1.0'"),
}


@pytest.mark.parametrize(("content", "reason"), BAD_ZIP_SDISTS.values(), ids=BAD_ZIP_SDISTS)
def test_a_bad_sdist_in_a_zip_file_is_refused_with_the_reason(content, reason):
    with pytest.raises(InvalidDistribution) as refusal:
        read(content, ZIP_SDIST)

    assert reason in refusal.value.reason


# Bad tar files --------------------------------------------------------------------------------------------------


def raw_header(content: bytes = b"", **fields) -> bytes:
    """A tar header that ``tarfile`` would not write as part of an archive, and its content."""
    info, _ = member(**fields)
    info.size = len(content)
    return info.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % 512)


def pax(content: bytes, kind: bytes = tarfile.XHDTYPE) -> bytes:
    return raw_header(content, name="pax", kind=kind)


def raw_sdist(*blocks: bytes, ending: bytes = bytes(1024)) -> bytes:
    return gzip.compress(tar_of([member(*PKG_INFO_MEMBER)])[:1024] + b"".join(blocks) + ending, 1)


def damaged(content: bytes, position: int) -> bytes:
    changed = bytearray(content)
    changed[position] ^= 0xFF
    return bytes(changed)


def linking(target: str, name: str = f"{TOP}/docs/link", kind: bytes = tarfile.SYMTYPE) -> bytes:
    return sdist_of(member(name, kind=kind, target=target))


GOOD_SDIST = build_sdist().content
PLAIN_HEADER = raw_header(name=f"{TOP}/a.py")

BAD_TAR_FILES = {
    # The frame
    "nothing": (b"", "the gzip stream is cut off"),
    "text": (b"print('demo')\n", "the file is not a gzip stream"),
    "tar without gzip": (gzip.decompress(GOOD_SDIST), "the file is not a gzip stream"),
    "cut off in the content": (GOOD_SDIST[:200], "the gzip stream is cut off"),
    "cut off in the checksum": (GOOD_SDIST[:-5], "the gzip stream is cut off"),
    "damaged content": (damaged(GOOD_SDIST, 60), "the file is not a gzip stream, or is a damaged one"),
    "other checksum": (damaged(GOOD_SDIST, -5), "the file is not a gzip stream, or is a damaged one"),
    "other length": (damaged(GOOD_SDIST, -1), "the file is not a gzip stream, or is a damaged one"),
    "bytes behind the end": (GOOD_SDIST + b"\0", "the file has bytes behind its gzip stream"),
    "far more behind the end": (GOOD_SDIST + bytes(MIB), "the file has bytes behind its gzip stream"),
    "second gzip stream": (GOOD_SDIST * 2, "the file has bytes behind its gzip stream"),
    "no tar in it": (gzip.compress(b"text" * 1000), "the tar archive has a malformed header: bad checksum"),
    "empty tar": (gzip.compress(bytes(10240)), "the top folder '' is not that of 'demo 1.0'"),
    "tar of nothing": (gzip.compress(b""), "the tar archive is cut off"),
    "tar without an end": (raw_sdist(ending=b""), "the tar archive is cut off"),
    "tar cut off in a member": (raw_sdist(PLAIN_HEADER[:300], ending=b""), "the tar archive is cut off"),
    "tar that goes on": (raw_sdist(ending=bytes(1024) + PLAIN_HEADER), "the tar archive goes on behind its end"),
    "damaged header": (raw_sdist(damaged(PLAIN_HEADER, 3)), "has a malformed header: bad checksum"),
    # Members
    "absolute path": (sdist_of(member("/etc/passwd")), "'/etc/passwd' has an absolute path"),
    "parent folder": (sdist_of(member(f"{TOP}/../evil.py")), "'demo-1.0/../evil.py' has .. in its path"),
    "control character": (sdist_of(member(f"{TOP}/a\rb")), r"'demo-1.0/a\rb' has control characters in its name"),
    "backslash": (sdist_of(member(f"{TOP}/..\\evil")), r"'demo-1.0/..\\evil' has a backslash in its name"),
    "drive letter": (sdist_of(member("C:/evil")), "'C:/evil' has an absolute path"),
    "device": (sdist_of(member(f"{TOP}/null", kind=tarfile.CHRTYPE)), "'demo-1.0/null' is a device or special file"),
    "block device": (sdist_of(member(f"{TOP}/disk", kind=tarfile.BLKTYPE)), "is a device or special file"),
    "named pipe": (sdist_of(member(f"{TOP}/pipe", kind=tarfile.FIFOTYPE)), "is a device or special file"),
    "unknown kind": (sdist_of(member(f"{TOP}/what", kind=b"Z")), "is a device or special file"),
    "sparse member of GNU": (sdist_of(member(f"{TOP}/sparse", kind=tarfile.GNUTYPE_SPARSE)), "is a device or special file"),
    "folder with content": (
        raw_sdist(raw_header(b"text", name=f"{TOP}/docs", kind=tarfile.DIRTYPE)), "is a folder or link with content",
    ),
    "file at the top": (sdist_of(member("setup.py")), "'setup.py' lies outside a top folder"),
    "two top folders": (sdist_of(member("evil/setup.py")), "has 'evil' beside 'demo-1.0'; it must have one top folder"),
    "too large a size": (raw_sdist(PLAIN_HEADER[:124] + b"x"), "the tar archive is cut off"),
    "negative size": (
        gzip.compress(member("a", size=-1)[0].tobuf(tarfile.GNU_FORMAT)), "'a' has a negative size",
    ),
    # Links
    "absolute link": (linking("/etc/passwd"), "'demo-1.0/docs/link' links to '/etc/passwd'"),
    "link to outside": (linking("../../etc"), "links to '../../etc'; a link must stay in the top folder"),
    "link to outside by a detour": (linking("a/../../../etc"), "links to 'a/../../../etc'"),
    "link that climbs where links may lead": (linking("a/../b"), "links to 'a/../b'"),
    "link to a drive": (linking("C:evil"), "links to 'C:evil'"),
    "link with a backslash": (linking("..\\..\\evil"), r"links to '..\\..\\evil'"),
    "link to nothing": (linking(""), "links to ''"),
    "link at the top": (linking("demo-1.0", name="link"), "'link' lies outside a top folder"),
    "hard link to outside": (linking("etc/passwd", kind=tarfile.LNKTYPE), "links to 'etc/passwd'"),
    "hard link to a parent": (linking("../etc/passwd", kind=tarfile.LNKTYPE), "links to '../etc/passwd'"),
    "hard link to the top folder": (linking(TOP, kind=tarfile.LNKTYPE), "links to 'demo-1.0'"),
    "member below a link": (
        sdist_of(member(f"{TOP}/a", kind=tarfile.SYMTYPE, target="."), member(f"{TOP}/a/b/c")),
        "'demo-1.0/a/b/c' would be unpacked through a link before it",
    ),
    "member in place of a link": (
        sdist_of(member(f"{TOP}/a", kind=tarfile.LNKTYPE, target=f"{TOP}/PKG-INFO"), member(f"{TOP}/a", b"evil")),
        "'demo-1.0/a' would be unpacked through a link before it",
    ),
    "too many links": (
        sdist_of(*(member(f"{TOP}/{number}", kind=tarfile.SYMTYPE, target="a") for number in range(10_001))),
        "has more than 10000 links",
    ),
    # Extended headers
    "too long a header": (raw_sdist(pax(b"x" * (MIB + 1)), PLAIN_HEADER), "'pax' is larger than 1048576 bytes"),
    "pax header without records": (raw_sdist(pax(b"path=a\n"), PLAIN_HEADER), "has a malformed pax header"),
    "pax record of a wrong length": (raw_sdist(pax(b"99 path=a\n"), PLAIN_HEADER), "has a malformed pax header"),
    "pax record too short": (raw_sdist(pax(b"3 path=a\n"), PLAIN_HEADER), "has a malformed pax header"),
    "pax record without its end": (raw_sdist(pax(b"9 path=ab"), PLAIN_HEADER), "has a malformed pax header"),
    "two paths in one header": (
        raw_sdist(pax(b"11 path=a/a\n" * 2), PLAIN_HEADER), "has a malformed pax header",
    ),
    "size that is no number": (raw_sdist(pax(b"11 size=1e9\n"), PLAIN_HEADER), "has a malformed pax header"),
    "sparse member of pax": (raw_sdist(pax(b"22 GNU.sparse.major=1\n"), PLAIN_HEADER), "has a sparse member"),
    "header that renames everything": (
        raw_sdist(pax(b"15 path=demo/a\n", tarfile.XGLTYPE), PLAIN_HEADER), "has a global header that renames",
    ),
    "name announced twice": (
        raw_sdist(raw_header(b"a\0", name="@", kind=tarfile.GNUTYPE_LONGNAME), pax(b"15 path=demo/a\n"), PLAIN_HEADER),
        "'demo/a' is announced twice, by two headers",
    ),
    # PKG-INFO
    "no PKG-INFO": (tar_gz_of({f"{TOP}/setup.py": b""}), "the sdist has no file PKG-INFO in its top folder 'demo-1.0'"),
    "PKG-INFO too deep": (tar_gz_of({f"{TOP}/demo.egg-info/PKG-INFO": b""}), "the sdist has no file PKG-INFO"),
    "PKG-INFO twice": (sdist_of(member(*PKG_INFO_MEMBER)), "'demo-1.0/PKG-INFO' must be there once, as a plain file"),
    "PKG-INFO as a link": (
        gzip.compress(tar_of([member(f"{TOP}/PKG-INFO", kind=tarfile.SYMTYPE, target="a")])),
        "'demo-1.0/PKG-INFO' must be there once, as a plain file",
    ),
    "PKG-INFO too large": (
        build_sdist(description="long\n" * (2 * MIB + 1)).content, "PKG-INFO' is larger than 10485760 bytes",
    ),
    "other name": (build_sdist("other").content, "the top folder 'other-1.0' is not that of 'demo 1.0'"),
    "other version": (build_sdist("demo", "1.1").content, "the top folder 'demo-1.1' is not that of 'demo 1.0'"),
    "top folder without a version": (build_sdist(top="demo").content, "the top folder 'demo' is not that of 'demo 1.0'"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "reason"), BAD_TAR_FILES.values(), ids=BAD_TAR_FILES)
def test_a_bad_sdist_is_refused_with_the_reason(content, reason):
    with pytest.raises(InvalidDistribution) as refusal:
        read(content, SDIST)

    assert reason in refusal.value.reason


# Bad core metadata ----------------------------------------------------------------------------------------------

BAD_METADATA = {
    "nothing": (b"\n", "the core metadata field Metadata-Version is missing; it must be 1.x or 2.x"),
    "not UTF-8": (metadata("demo", "1.0", summary="d\u00e9mo").replace(b"\xc3", b"\xff"), "is not UTF-8 at byte 55"),
    "body only": (b"\n" + metadata("demo", "1.0"), "Metadata-Version is missing"),
    "no metadata version": (b"Name: demo\nVersion: 1.0\n", "Metadata-Version is missing"),
    "unknown metadata version": (metadata("demo", "1.0", metadata_version="3.0"), "Metadata-Version is '3.0'"),
    "no name": (b"Metadata-Version: 2.1\nVersion: 1.0\n", "the core metadata field Name is missing"),
    "two names": (metadata("demo", "1.0", headers=["Name: other"]), "has the field Name more than once"),
    "malformed name": (metadata("demo!", "1.0"), "the core metadata field Name is 'demo!'; it must be ASCII letters"),
    "very long name": (metadata("demo" * 100, "1.0"), "it must be ASCII letters"),
    "other name": (metadata("other", "1.0"), "the core metadata field Name is 'other'; it must be 'demo' as in the file name"),
    "no version": (b"Metadata-Version: 2.1\nName: demo\n", "the core metadata field Version is missing"),
    "two versions": (metadata("demo", "1.0", headers=["version: 2.0"]), "has the field Version more than once"),
    "malformed version": (metadata("demo", "latest"), "Version is 'latest'; it must be a version as in PEP 440"),
    "very long version": (metadata("demo", "1" + ".0" * 200), "it must be a version as in PEP 440"),
    "other version": (metadata("demo", "1.1"), "Version is '1.1'; it must be '1.0' as in the file name"),
    "control characters": (metadata("demo", "1.0", requires_python=">=3\0"), r"Requires-Python is '>=3\x00'; it must be one line"),
    "too many fields": (metadata("demo", "1.0", headers=["Classifier: x"] * 50_000), "has more than 50000 lines of fields"),
    "too many different fields": (
        metadata("demo", "1.0", headers=[f"X-{number}: x" for number in range(100)]), "has more than 100 different fields",
    ),
    "nested messages": (
        metadata("demo", "1.0", headers=["Content-Type: multipart/mixed; boundary=b", "--b"] * 5000) + b"Name: other\n",
        "",
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


# Size -----------------------------------------------------------------------------------------------------------


def compressed_zeros(size: int, wbits: int) -> bytes:
    deflater = zlib.compressobj(1, zlib.DEFLATED, wbits)
    return b"".join([*(deflater.compress(bytes(MIB)) for _ in range(size // MIB)), deflater.flush()])


def peak_memory(content: bytes, filename: str) -> int:
    file = io.BytesIO(content)
    tracemalloc.start()
    try:
        distributions.read(file, filename)
    except InvalidDistribution:
        pass
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return peak
