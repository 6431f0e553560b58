import contextlib
import gzip
import io
import random
import stat
import struct
import tarfile
import tracemalloc
import warnings
import zipfile
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.domain.distributions.archives import TopFolder, _parsed_header, open_zip, quoted, read_tar_gz
from registry.errors import InvalidDistribution
from tests.builders import tar_gz_of, zip_of

MIB = 1024 * 1024
A, B = b"print('a')\n" * 9, b"print('b')\n" * 5
FILES = {"top/a.py": A, "top/b.py": B}


def read_zip(content: bytes) -> dict[str, bytes]:
    """Every file of a zip file."""
    opened = open_zip(io.BytesIO(content))
    return {path: opened.read(path, MIB) for path in opened.entries if opened.has_file(path)}


def read_tar(content: bytes) -> TopFolder:
    return read_tar_gz(io.BytesIO(content), "a.py", MIB)


def added(change: Callable[[zipfile.ZipFile], None]) -> bytes:
    """The usual zip file, to which ``zipfile`` added something."""
    archive = io.BytesIO(zip_of(FILES))
    with zipfile.ZipFile(archive, "a") as target:
        change(target)
    return archive.getvalue()


def with_member(name: str, content: bytes = b"", **attributes) -> bytes:
    """The usual zip file with one more member, of any name and attributes."""

    def add(target: zipfile.ZipFile) -> None:
        info = zipfile.ZipInfo("placeholder")
        info.filename = name
        for attribute, value in attributes.items():
            setattr(info, attribute, value)
        with warnings.catch_warnings(action="ignore"):
            target.writestr(info, content)

    return added(add)


def with_zip64_member(target: zipfile.ZipFile) -> None:
    with target.open("top/c.py", "w", force_zip64=True) as member:
        member.write(b"c")


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


class Pipe(io.BytesIO):
    def seekable(self):
        return False

    def tell(self):
        raise io.UnsupportedOperation

    seek = tell


def piped(*, force_zip64: bool = False) -> bytes:
    """The usual zip file as written to a pipe: sizes and checksums follow the contents."""
    archive = Pipe()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as target:
        for path, content in FILES.items():
            with target.open(path, "w", force_zip64=force_zip64) as member:
                member.write(content)
    return archive.getvalue()


GOOD_ZIP_FILES = {
    "deflated members": (zip_of(FILES), {}),
    "stored member": (added(lambda target: target.writestr("top/c.py", b"c")), {"top/c.py": b"c"}),
    "empty member": (with_member("top/c.py"), {"top/c.py": b""}),
    "folder": (with_member("top/folder/"), {}),
    "folders that differ in case": (with_member("TOP/c.py"), {"TOP/c.py": b""}),
    "names that begin alike": (with_member("top/a.py.txt"), {"top/a.py.txt": b""}),
    "name outside of ASCII": (with_member("top/d\u00e9mo/\u6a21.txt", b"c"), {"top/d\u00e9mo/\u6a21.txt": b"c"}),
    "zip file in it": (with_member("top/inner.zip", zip_of(FILES)), {"top/inner.zip": zip_of(FILES)}),
    "zip64 member": (added(with_zip64_member), {"top/c.py": b"c"}),
    "zip64 end records": (with_wide_end(zip_of(FILES)), {}),
    "written to a pipe": (piped(), {}),
    "written to a pipe as zip64": (piped(force_zip64=True), {}),
    "comment": (with_comment(zip_of(FILES), b"made by hand"), {}),
    "longest comment": (with_comment(zip_of(FILES), b"c" * 0xFFFF), {}),
    "padding in an extra field": (with_member("top/c.py", b"c", extra=b"\0\0\0"), {"top/c.py": b"c"}),
}


@pytest.mark.parametrize(("content", "more"), GOOD_ZIP_FILES.values(), ids=GOOD_ZIP_FILES)
def test_a_zip_file_is_read(content, more):
    assert read_zip(content) == FILES | more


@pytest.mark.slow
def test_a_zip_file_of_more_members_than_its_end_record_can_count_is_read():
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as target:
        for number in range(0x10000):
            target.writestr(zipfile.ZipInfo(str(number)), b"")

    assert len(open_zip(archive).entries) == 0x10000


def test_a_member_is_not_read_beyond_the_limit():
    opened = open_zip(io.BytesIO(zip_of(FILES)))

    with pytest.raises(InvalidDistribution, match="is larger than 98 bytes"):
        opened.read("top/a.py", limit=len(A) - 1)


def test_a_member_is_read_in_pieces_however_large_it_is():
    content = bytes(50 * MIB) + A
    opened = open_zip(io.BytesIO(zip_of({"stored": b"", "deflated": content})))

    tracemalloc.start()
    size = sum(map(len, opened.chunks("deflated")))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert size == len(content)
    assert peak < 2 * MIB


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["stored", "deflated"])
def test_members_may_be_read_at_the_same_time(method):
    contents = {name: bytes([number]) * MIB for number, name in enumerate(("a", "b"))}
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", method) as target:
        for name, content in contents.items():
            target.writestr(name, content)
    opened = open_zip(archive)

    read = zip(*zip(opened.chunks("a"), opened.chunks("b"), strict=True), strict=True)

    assert [b"".join(chunks) for chunks in read] == list(contents.values())


def test_the_top_folder_of_a_zip_file_is_read():
    opened = open_zip(io.BytesIO(zip_of(FILES)))

    assert opened.read_top_folder("a.py", MIB) == TopFolder("top", A, frozenset(FILES))
    assert opened.read_top_folder("c.py", MIB) == TopFolder("top", None, frozenset(FILES))
    assert opened.folders == {"top"}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("other/c.py", "has 'other' beside 'top'; it must have one top folder"),
        ("c.py", "'c.py' is outside a top folder"),
    ],
    ids=["two folders", "file beside"],
)
def test_a_zip_file_without_a_single_top_folder_is_refused(name, reason):
    opened = open_zip(io.BytesIO(with_member(name)))

    with pytest.raises(InvalidDistribution) as refusal:
        opened.read_top_folder("a.py", MIB)

    assert reason in refusal.value.reason


def patched(content: bytes, record: bytes, offset: int, layout: str, *values: int, last: bool = False) -> bytes:
    """``content`` with other values at an offset within its first or last record of this signature."""
    start = content.rindex(record) if last else content.index(record)
    changed = bytearray(content)
    struct.pack_into(layout, changed, start + offset, *values)
    return bytes(changed)


def local(offset: int, layout: str, *values: int) -> bytes:
    """The usual zip file with a change in the local header of its first member."""
    return patched(zip_of(FILES), b"PK\x03\x04", offset, layout, *values)


def entry(offset: int, layout: str, *values: int, last: bool = False) -> bytes:
    """The usual zip file with a change in the first or last entry of its central directory."""
    return patched(zip_of(FILES), b"PK\x01\x02", offset, layout, *values, last=last)


def both(local_offset: int, entry_offset: int, layout: str, *values: int) -> bytes:
    """The usual zip file with the same change in both headers of its first member."""
    return patched(local(local_offset, layout, *values), b"PK\x01\x02", entry_offset, layout, *values)


def end(offset: int, layout: str, *values: int) -> bytes:
    return patched(zip_of(FILES), b"PK\x05\x06", offset, layout, *values)


def with_bytes_before_the_directory(inserted: bytes) -> bytes:
    content = zip_of(FILES)
    offset = struct.unpack("<L", content[-6:-2])[0]
    return content[:offset] + inserted + content[offset:-6] + struct.pack("<L", offset + len(inserted)) + content[-2:]


def behind_a_script() -> bytes:
    archive = io.BytesIO(b"#!/bin/sh\n")
    with zipfile.ZipFile(archive, "a") as target:
        target.writestr("top/a.py", A)
    return archive.getvalue()


def with_first_content(*values: int) -> bytes:
    """The usual zip file, the deflated bytes of its first member overwritten."""
    return local(30 + len("top/a.py"), f"<{len(values)}B", *values)


UNLISTED = zip_of({"evil.py": b""})[: 30 + len("evil.py") + 2]
SYMLINK, DEVICE = (stat.S_IFLNK | 0o777) << 16, (stat.S_IFCHR | 0o600) << 16
CONTRADICTION = "'top/a.py' has a local header that contradicts the central directory"


def with_bytes_behind_the_deflated_ones() -> bytes:
    """A zip file of one member, whose compressed size counts bytes that follow the end of the deflated stream."""
    hidden, name = b"hidden", b"top/a.py"
    usual = zip_of({name.decode(): A})
    *_, compressed, _, _, _ = LOCAL_HEADER.unpack_from(usual)
    end = LOCAL_HEADER.size + len(name) + compressed
    longer = bytearray(usual[:end] + hidden + usual[end:])
    directory = end + len(hidden)
    for place in (18, directory + 20):  # the compressed size in the local header and in the central directory
        struct.pack_into("<L", longer, place, compressed + len(hidden))
    struct.pack_into("<L", longer, len(longer) - 6, directory)  # where the directory starts, in the end record
    return bytes(longer)


LOCAL_HEADER = struct.Struct("<4s5HL2L2H")
BAD_ZIP_FILES = {
    # The frame
    "nothing": (b"", "the file is not a zip file: it has no end record"),
    "text": (b"print('demo')\n" * 10, "the file is not a zip file"),
    "half": (zip_of(FILES)[:100], "the file is not a zip file"),
    "cut off": (zip_of(FILES)[:-1], "the file is not a zip file"),
    "bytes behind the end": (zip_of(FILES) + b"\0", "does not end with its end record and the comment announced there"),
    "far more behind the end": (zip_of(FILES) + bytes(MIB), "the file is not a zip file"),
    "comment cut off": (with_comment(zip_of(FILES), b"comment")[:-1], "does not end with its end record"),
    "bytes behind the comment": (with_comment(zip_of(FILES), b"comment") + b"\n", "does not end with its end record"),
    "bytes in front": (b"#!/bin/sh\n" + zip_of(FILES), "does not lie right before its end record"),
    "script in front, offsets adjusted": (behind_a_script(), "has bytes in front of its first member"),
    "bytes between members": (
        with_bytes_before_the_directory(b"hidden"), "'top/b.py' is followed by bytes that belong to no member",
    ),
    "member that no directory lists": (with_bytes_before_the_directory(UNLISTED), "bytes that belong to no member"),
    "first of several disks": (end(4, "<H", 1), "is one part of several"),
    "directory on several disks": (end(8, "<H", 1), "is one part of several"),
    "member on another disk": (entry(34, "<H", 1), "is one part of several"),
    "fewer members than announced": (end(8, "<2H", 3, 3), "does not hold the 3 members announced"),
    "more members than announced": (end(8, "<2H", 1, 1), "does not hold the 1 members announced"),
    "directory elsewhere": (end(16, "<L", 10), "does not lie right before its end record"),
    "zip64 record elsewhere": (with_wide_end(zip_of(FILES), record=1), "do not follow each other"),
    "zip64 record of another length": (with_wide_end(zip_of(FILES), length=45), "do not follow each other"),
    "zip64 record that contradicts": (with_wide_end(zip_of(FILES), size=1), "two end records contradict each other"),
    "zip64 record on another disk": (with_wide_end(zip_of(FILES), disk=1), "is one part of several"),
    "zip64 offset beyond all bounds": (with_wide_end(zip_of(FILES), offset=2**64 - 1), "does not lie right before"),
    # Entries of the central directory
    "encrypted": (entry(8, "<H", 0x1), "'top/a.py' is encrypted"),
    "strongly encrypted": (entry(8, "<H", 0x41), "'top/a.py' is encrypted"),
    "patch data": (entry(8, "<H", 0x20), "'top/a.py' uses features of zip that installers lack (flags 0x0020)"),
    "newer format": (entry(6, "<H", 64), "'top/a.py' needs version 6.4 of the zip format; installers read 6.3"),
    "bzip2": (entry(10, "<H", 12), "is compressed by method 12; it must be 0 (stored) or 8 (deflated)"),
    "lzma": (entry(10, "<H", 14), "is compressed by method 14"),
    "stored with two sizes": (entry(10, "<H", 0), "'top/a.py' is stored, but with two different sizes"),
    "folder with content": (with_member("top/c/", b"c"), "'top/c/' is a folder with content"),
    "symbolic link": (with_member("link", b"/etc", external_attr=SYMLINK), "'link' is a link or special file"),
    "device": (with_member("null", external_attr=DEVICE), "'null' is a link or special file"),
    "all behind the directory": (entry(42, "<L", 5000), "has bytes in front of its first member"),
    "member behind the directory": (entry(42, "<L", 5000, last=True), "has members behind its central directory"),
    "zip64 size missing": (entry(24, "<L", 0xFFFFFFFF), "'top/a.py' lacks the zip64 sizes it refers to"),
    "more extra fields than any tool writes": (
        with_member("c", extra=b"\x99\x99\0\0" * 101),
        "'c' has malformed extra fields",
    ),
    "deeper than folders go": (added(lambda zip_: zip_.writestr("d/" * 64 + "c", b"")), "more than 64 folders deep"),
    "extra field cut off": (with_member("c", extra=b"\x99\x99\x05\x00ab"), "'c' has malformed extra fields"),
    "two zip64 fields": (with_member("c", extra=(b"\1\0\x08\0" + bytes(8)) * 2), "'c' has malformed extra fields"),
    "second name": (with_member("c", extra=b"up\x06\0\1abcd/"), "'c' has a second name in its extra fields"),
    # Names
    "name twice": (with_member("top/a.py", b"evil"), "'top/a.py' occurs twice"),
    "file and folder of one name": (with_member("top/a.py/"), "'top/a.py' occurs twice"),
    "names that differ in case": (with_member("Top/A.py"), "'top/a.py' cannot be unpacked beside 'Top/A.py'"),
    "file and folder that differ in case": (with_member("top/A.py/"), "'top/a.py' cannot be unpacked beside"),
    "names that differ in a dot": (with_member("top/a.py."), "'top/a.py.' cannot be unpacked beside 'top/a.py'"),
    "names that differ in spaces": (with_member("top /a.py"), "cannot be unpacked beside"),
    "a name of dots in a file": (with_member("top/a.py/..."), "cannot be unpacked beside"),
    "names that differ in the composition of accents": (
        zip_of({"top/\xe9/a": b"", "top/e\u0301/A": b""}), "cannot be unpacked beside",
    ),
    "file in a file": (with_member("top/a.py/b"), "'top/a.py/b' cannot be unpacked beside 'top/a.py'"),
    "file in a file that differs in case": (with_member("TOP/A.py/b"), "'TOP/A.py/b' cannot be unpacked beside"),
    "name in a roundabout way": (with_member("./top/a.py", b"evil"), "'./top/a.py' must be named by a plain path"),
    "doubled slash": (with_member("top//c.py"), "'top//c.py' must be named by a plain path"),
    "the root itself": (with_member("./"), "'./' must be named by a plain path"),
    "empty name": (with_member(""), "'' must be named by a plain path"),
    "absolute path": (with_member("/etc/passwd"), "'/etc/passwd' has an absolute path; it must be a relative one"),
    "drive letter": (with_member("C:evil.py"), "'C:evil.py' has an absolute path"),
    "backslash": (with_member("..\\evil.py"), r"'..\\evil.py' has a backslash in its name"),
    "parent folder": (with_member("top/../../evil.py"), "'top/../../evil.py' has .. in its path"),
    "NUL in a name": (with_member("a.py\0.txt"), r"'a.py\x00.txt' has control characters in its name"),
    "line break in a name": (with_member("a\nb"), r"'a\nb' has control characters in its name"),
    "name that is not UTF-8": (
        with_member("d\u00e9").replace(b"d\xc3\xa9", b"d\xc3\xc3"), r"'d\udcc3\udcc3' has a name that is not UTF-8",
    ),
    "very long name": (with_member("long/" * 1000), "has a name of more than 4096 characters"),
    # Local headers
    "no local header": (local(0, "<L", 0), r"the zip file has no b'PK\x03\x04' record at byte 0"),
    "other name in the local header": (local(30, "<B", ord("T")), CONTRADICTION),
    "other size in the local header": (local(22, "<L", 5), CONTRADICTION),
    "other checksum in the local header": (local(14, "<L", 5), CONTRADICTION),
    "other method in the local header": (local(8, "<H", 0), CONTRADICTION),
    "encrypted by the local header": (local(6, "<H", 1), CONTRADICTION),
    "too small a packed size": (both(18, 20, "<L", 10), "'top/a.py' is followed by bytes that belong to no member"),
    "too large a packed size": (both(18, 20, "<L", 99), "'top/a.py' overlaps what follows it"),
    "two members in one place": (entry(42, "<L", 0, last=True), "overlaps what follows it"),
    "descriptor of another checksum": (
        patched(piped(), b"PK\x07\x08", 4, "<L", 1), "'top/a.py' is followed by bytes that belong to no member",
    ),
    # Contents
    "other checksum": (both(14, 16, "<L", 1), "'top/a.py' does not match its size and checksum"),
    "too small a size": (both(22, 24, "<L", len(A) - 1), "'top/a.py' does not match its size and checksum"),
    "too large a size": (both(22, 24, "<L", len(A) + 1), "'top/a.py' does not match its size and checksum"),
    "bytes behind the deflated ones": (
        with_bytes_behind_the_deflated_ones(), "'top/a.py' does not match its size and checksum",
    ),
    "content that is not deflated": (with_first_content(0xFF), "'top/a.py' is damaged: its content is not deflated"),
    "content that ends early": (with_first_content(3, 0), "'top/a.py' does not match its size and checksum"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "reason"), BAD_ZIP_FILES.values(), ids=BAD_ZIP_FILES)
def test_a_bad_zip_file_is_refused_with_the_reason(content, reason):
    with pytest.raises(InvalidDistribution) as refusal:
        read_zip(content)

    assert reason in refusal.value.reason


def member(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, target: str = ""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, target, len(content)
    return info, content


def folder(name: str):
    return member(name, kind=tarfile.DIRTYPE)


def symlink(name: str, target: str):
    return member(name, kind=tarfile.SYMTYPE, target=target)


def hard_link(name: str, target: str):
    return member(name, kind=tarfile.LNKTYPE, target=target)


def tar_with(*members, first: str = "top/a.py", tar_format: int = tarfile.PAX_FORMAT, **options) -> bytes:
    """A gzipped tar file of the usual member and these behind it, as ``tarfile`` writes it."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tar_format, **options) as target:
        for info, content in [member(first, A), *members]:
            target.addfile(info, io.BytesIO(content))
    return gzip.compress(archive.getvalue(), 1)


LONG = "/".join(["folder" * 10] * 8) + "/c.py"
GOOD_TAR_FILES = {
    "pax": tar_with(member("top/b.py", B)),
    "ustar": tar_with(member("top/b.py", B), tar_format=tarfile.USTAR_FORMAT),
    "GNU": tar_with(member("top/b.py", B), tar_format=tarfile.GNU_FORMAT),
    "pax with names long and foreign": tar_with(member(f"top/{LONG}"), symlink("top/d\u00e9mo", LONG)),
    "GNU with names long and foreign": tar_with(
        member(f"top/{LONG}"), symlink("top/d\u00e9mo", LONG), tar_format=tarfile.GNU_FORMAT
    ),
    "a name in another encoding": tar_with(
        member("top/d\u00e9mo"), tar_format=tarfile.USTAR_FORMAT, encoding="latin-1"
    ),
    "a comment as git leaves it": tar_with(pax_headers={"comment": "0123456789abcdef"}),
    "folders": tar_with(folder("top"), folder("top/b"), member("top/b/c.py", b"c")),
    "folders of the oldest format": tar_with(member("top/b/", kind=tarfile.AREGTYPE), tar_format=tarfile.USTAR_FORMAT),
    "a name twice": tar_with(member("top/b.py", B), member("top/b.py", B)),
    "folders that differ in case": tar_with(folder("top/c"), member("top/C/a.py")),
    "names that begin with a dot": tar_with(folder("./"), folder("./top"), member("./top/b.py"), first="./top/a.py"),
    "symbolic links that stay inside": tar_with(symlink("top/b/up", "../a.py"), symlink("top/b/here", ".")),
    "a hard link that stays inside": tar_with(hard_link("top/b", "top/a.py")),
}


@pytest.mark.parametrize("content", GOOD_TAR_FILES.values(), ids=GOOD_TAR_FILES)
def test_the_top_folder_of_a_tar_file_is_read(content):
    assert read_tar(content).content == A


def test_the_file_asked_for_need_not_be_there():
    content = tar_gz_of({"top/folder/a.py": A})

    assert read_tar(content) == TopFolder("top", None, frozenset({"top/folder/a.py"}))


def raw(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, *, size: int | None = None) -> bytes:
    """A header as ``tarfile`` would not write it as part of an archive, and its content."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(content) if size is None else size
    return info.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % 512)


def pax(records: bytes, kind: bytes = tarfile.XHDTYPE) -> bytes:
    return raw("pax", records, kind)


def raw_tar(*blocks: bytes, end: bytes = bytes(1024)) -> bytes:
    return gzip.compress(raw("top/a.py", A) + b"".join(blocks) + end, 1)


def damaged(content: bytes, position: int) -> bytes:
    changed = bytearray(content)
    changed[position] ^= 0xFF
    return bytes(changed)


TAR = tar_gz_of(FILES)
PLAIN = raw("top/b.py")
OUTSIDE = "a link must stay in the top folder"

BAD_TAR_FILES = {
    "names that differ in case": (tar_with(member("top/A.py")), "'top/a.py' cannot be unpacked beside 'top/A.py'"),
    "a file and a folder": (tar_with(folder("top/A.py")), "'top/a.py' cannot be unpacked beside 'top/A.py'"),
    "a file in a file": (tar_with(member("top/a.py/b")), "'top/a.py/b' cannot be unpacked beside 'top/a.py'"),
    # The frame
    "nothing": (b"", "the gzip stream is cut off"),
    "text": (b"print('demo')\n", "the file is not a gzip stream"),
    "tar without gzip": (gzip.decompress(TAR), "the file is not a gzip stream"),
    "cut off in the content": (TAR[:100], "the gzip stream is cut off"),
    "cut off in the checksum": (TAR[:-5], "the gzip stream is cut off"),
    "damaged content": (damaged(TAR, 60), "the file is not a gzip stream, or is a damaged one"),
    "other checksum": (damaged(TAR, -5), "the file is not a gzip stream, or is a damaged one"),
    "other length": (damaged(TAR, -1), "the file is not a gzip stream, or is a damaged one"),
    "bytes behind the end": (TAR + b"\0", "the file has bytes behind its gzip stream"),
    "far more behind the end": (TAR + bytes(MIB), "the file has bytes behind its gzip stream"),
    "second gzip stream": (TAR * 2, "the file has bytes behind its gzip stream"),
    "no tar in it": (gzip.compress(b"text" * 1000), "is not a tar archive, or has a malformed header"),
    "empty gzip stream": (gzip.compress(b""), "the tar archive is cut off"),
    "no end": (raw_tar(end=b""), "the tar archive is cut off"),
    "cut off in a header": (raw_tar(PLAIN[:300], end=b""), "the tar archive is cut off"),
    "cut off in a content": (raw_tar(raw("top/b.py", B)[:600], end=b""), "the tar archive is cut off"),
    "members behind the end": (raw_tar(end=bytes(1024) + PLAIN), "the tar archive continues after its end"),
    "damaged header": (raw_tar(damaged(PLAIN, 3)), "has a malformed header"),
    # Members
    "absolute path": (tar_with(member("/etc/passwd")), "'/etc/passwd' has an absolute path"),
    "parent folder": (tar_with(member("top/../evil.py")), "'top/../evil.py' has .. in its path"),
    "control character": (tar_with(member("top/a\rb")), r"'top/a\rb' has control characters in its name"),
    "backslash": (tar_with(member("top/..\\evil")), r"'top/..\\evil' has a backslash in its name"),
    "drive letter": (tar_with(member("C:/evil")), "'C:/evil' has an absolute path"),
    "device": (tar_with(member("top/null", kind=tarfile.CHRTYPE)), "'top/null' is a device or special file"),
    "block device": (tar_with(member("top/disk", kind=tarfile.BLKTYPE)), "is a device or special file"),
    "named pipe": (tar_with(member("top/pipe", kind=tarfile.FIFOTYPE)), "is a device or special file"),
    "unknown kind": (tar_with(member("top/what", kind=b"Z")), "is a device or special file"),
    "sparse member of GNU": (tar_with(member("top/b", kind=tarfile.GNUTYPE_SPARSE)), "is a device or special file"),
    "folder with content": (raw_tar(raw("top/b", b"b", tarfile.DIRTYPE)), "'top/b' is a folder or link with content"),
    "file at the top": (tar_with(member("setup.py")), "'setup.py' is outside a top folder"),
    "two top folders": (tar_with(member("evil/b.py")), "has 'evil' beside 'top'; it must have one top folder"),
    "size beyond the end": (raw_tar(raw("top/b.py", size=10**12)), "the tar archive is cut off"),
    "negative size": (raw_tar(raw("top/b.py", size=-1)), "'top/b.py' has a negative size"),
    "the file asked for twice": (tar_with(member("top/a.py", A)), "'top/a.py' must be there once, as a plain file"),
    "the file asked for as a link": (tar_with(symlink("top/a.py", "b"), first="top/b"), "must be there once"),
    # Links
    "absolute link": (tar_with(symlink("top/b", "/etc/passwd")), f"'top/b' links to '/etc/passwd'; {OUTSIDE}"),
    "link to outside": (tar_with(symlink("top/b/c", "../../etc")), f"'top/b/c' links to '../../etc'; {OUTSIDE}"),
    "link to beside the top": (tar_with(symlink("top/b", "../etc")), OUTSIDE),
    "link to outside by a detour": (tar_with(symlink("top/b/c", "d/../../../etc")), OUTSIDE),
    "link that climbs behind other links": (tar_with(symlink("top/b/c", "d/../e")), OUTSIDE),
    "link to a drive": (tar_with(symlink("top/b", "C:evil")), OUTSIDE),
    "link with a backslash": (tar_with(symlink("top/b/c", "..\\..\\evil")), OUTSIDE),
    "link to nothing": (tar_with(symlink("top/b", "")), OUTSIDE),
    "link at the top": (tar_with(symlink("b", "top")), "'b' is outside a top folder"),
    "hard link to outside": (tar_with(hard_link("top/b", "etc/passwd")), OUTSIDE),
    "hard link to a parent": (tar_with(hard_link("top/b", "../etc/passwd")), OUTSIDE),
    "hard link to the top folder": (tar_with(hard_link("top/b", "top")), OUTSIDE),
    "member below a link": (
        tar_with(symlink("top/b", "."), member("top/b/c/d")), "'top/b/c/d' would be unpacked through a link before it",
    ),
    "member in place of a link": (
        tar_with(hard_link("top/b", "top/a.py"), member("top/b", b"evil")), "'top/b' would be unpacked through a link",
    ),
    "too many links": (
        tar_with(*(symlink(f"top/{number}", "a.py") for number in range(10_001))), "has more than 10000 links",
    ),
    # Headers that are no members
    "long name that is longer than its size": (
        raw_tar(raw("@", kind=tarfile.GNUTYPE_LONGNAME, size=5), b"top/abc".ljust(512, b"\0"), PLAIN),
        "'@' has a name that is longer than its stated size",
    ),
    "too long a header": (raw_tar(pax(b"x" * (MIB + 1)), PLAIN), "'pax' is larger than 1048576 bytes"),
    "pax header without records": (raw_tar(pax(b"path=a\n"), PLAIN), "has a malformed pax header"),
    "too long a pax record": (raw_tar(pax(b"99 path=a\n"), PLAIN), "has a malformed pax header"),
    "too short a pax record": (raw_tar(pax(b"3 path=a\n"), PLAIN), "has a malformed pax header"),
    "pax record without its end": (raw_tar(pax(b"9 path=ab"), PLAIN), "has a malformed pax header"),
    "two paths in one header": (raw_tar(pax(b"12 path=a/a\n" * 2), PLAIN), "pax header with two values for 'path'"),
    "size that is no number": (raw_tar(pax(b"12 size=1e9\n"), PLAIN), "has the size '1e9'; it must be a number"),
    "sparse member of pax": (raw_tar(pax(b"22 GNU.sparse.major=1\n"), PLAIN), "has a sparse member"),
    "header that renames everything": (
        raw_tar(pax(b"14 path=top/c\n", tarfile.XGLTYPE), PLAIN), "has a global header that renames or resizes",
    ),
    "name announced twice": (
        raw_tar(raw("@", b"top/b\0", tarfile.GNUTYPE_LONGNAME), pax(b"14 path=top/c\n"), PLAIN),
        "'top/c' is announced twice, by two headers",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("content", "reason"), BAD_TAR_FILES.values(), ids=BAD_TAR_FILES)
def test_a_bad_tar_file_is_refused_with_the_reason(content, reason):
    with pytest.raises(InvalidDistribution) as refusal:
        read_tar(content)

    assert reason in refusal.value.reason


def test_extended_headers_are_bounded_together():
    comment = b"%d comment=%s\n" % (1_000_000, b"x" * (1_000_000 - len(b"1000000 comment=\n")))
    content = raw_tar(*(block for number in range(34) for block in (pax(comment), raw(f"top/{number}"))))

    with pytest.raises(InvalidDistribution, match="extended headers"):
        read_tar(content)


def gzipped_with_zeros(content: bytes, zeros: int) -> bytes:
    deflater = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    chunks = [deflater.compress(content), *(deflater.compress(bytes(MIB)) for _ in range(zeros // MIB))]
    return b"".join([*chunks, deflater.flush()])


def tar_of_zeros() -> bytes:
    return gzipped_with_zeros(raw("top/a.py", A) + raw("top/b.py", size=200 * MIB), 201 * MIB)


def tar_with_zeros_behind_its_end() -> bytes:
    return gzipped_with_zeros(raw("top/a.py", A) + bytes(1024), 200 * MIB)


def zip_of_deep_folders() -> bytes:
    return zip_of({f"{number}/" + "d/" * 60 + "a": b"" for number in range(17_000)})


def tar_of_deep_folders() -> bytes:
    return raw_tar(raw("top/" + "d/" * 40 + "a.py") * 25_000)


def tar_of_deep_links() -> bytes:
    return tar_with(*(symlink(f"top/{number}", "a/" * 2000) for number in range(600)))


def tar_of_many_pax_records() -> bytes:
    return raw_tar((pax(b"".join(b"11 %06d=\n" % number for number in range(40_000))) + PLAIN) * 13)


def zip_of_a_declared_size() -> bytes:
    return both(22, 24, "<L", 200 * MIB)


def zip_with_an_endless_directory() -> bytes:
    return bytes(33 * MIB) + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, 33 * MIB, 0, 0)


BOMBS = {
    "tar of zeros": (read_tar, tar_of_zeros, "allowed for its size"),
    "tar with zeros behind its end": (read_tar, tar_with_zeros_behind_its_end, "allowed for its size"),
    "tar with endless members": (read_tar, lambda: raw_tar(PLAIN * 100_001), "has more than 100000 members"),
    "zip of deep folders": (read_zip, zip_of_deep_folders, "folders in all paths together, which exceeds the budget"),
    "tar of deep folders": (read_tar, tar_of_deep_folders, "folders in all paths together, which exceeds the budget"),
    "tar of deep links": (read_tar, tar_of_deep_links, "folders in all paths together, which exceeds the budget"),
    "tar of many pax records": (
        read_tar, tar_of_many_pax_records, "more than 500000 records in extended headers, which exceeds the budget",
    ),
    "zip of a declared size": (
        read_zip, zip_of_a_declared_size, "bytes unpacks to more than the 67108864 bytes allowed for its size",
    ),
    "zip with endless members": (
        read_zip, lambda: with_wide_end(zip_of(FILES), count=100_001), "has more than 100000 members",
    ),
    "zip with an endless directory": (
        read_zip, zip_with_an_endless_directory, "central directory is larger than 33554432 bytes",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("reader", "build", "reason"), BOMBS.values(), ids=BOMBS)
def test_a_bomb_is_refused(reader, build, reason):
    with pytest.raises(InvalidDistribution) as refusal:
        reader(build())

    assert reason in refusal.value.reason


def test_a_header_of_a_tar_file_is_read_as_by_tarfile_or_refused():
    chance = random.Random(1)
    refused = 0
    for kind in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.GNUTYPE_LONGNAME, b"7"):
        for name in ("top/a.py", "top/é/", "top/" * 40 + "a.py"):
            info, _ = member(name, kind=kind, target="b/c")
            has_prefix = len(name) > 100
            if not has_prefix:
                info.size, info.mtime = chance.choice([0, 8**11 - 1, 8**11]), chance.choice([0, -5, 2**33])
            block = info.tobuf(tarfile.USTAR_FORMAT if has_prefix else tarfile.GNU_FORMAT)
            for _ in range(100):
                changed = bytearray(block)
                for _ in range(chance.randrange(3)):
                    changed[chance.randrange(100, 160)] = chance.choice(b"\0 07\x80\xff+_o")
                changed[148:156] = b" " * 8
                changed[148:156] = b"%06o\0 " % sum(changed)
                read = _parsed_header(bytes(changed))
                if read is None:
                    refused += 1
                    continue
                expected = tarfile.TarInfo.frombuf(bytes(changed), "utf-8", "surrogateescape")
                for attribute in ("name", "type", "size", "linkname"):
                    assert getattr(read, attribute) == getattr(expected, attribute)
    assert 0 < refused < 900


def test_zeros_are_no_bomb_while_they_are_few():
    content = raw_tar(raw("top/b.bin", bytes(50 * MIB)))

    assert read_tar(content).content == A


ARCHIVES_OF_ANY_SIZE = {
    "tar with a large member": (read_tar, lambda: raw_tar(raw("top/b.bin", bytes(50 * MIB)))),
    "tar of zeros": (read_tar, tar_of_zeros),
    "tar with many members": (read_tar, lambda: raw_tar(PLAIN * 20_000)),
    "tar with many pax headers": (read_tar, lambda: raw_tar((pax(b"12 comment=\n") + PLAIN) * 5000)),
    "tar that announces an endless name": (
        read_tar, lambda: raw_tar(raw("@", kind=tarfile.GNUTYPE_LONGNAME, size=60 * MIB), bytes(60 * MIB)),
    ),
    "zip of a declared size": (read_zip, zip_of_a_declared_size),
}  # fmt: skip


@pytest.mark.parametrize(
    ("reader", "build"),
    [
        pytest.param(*values, id=name, marks=() if name.startswith("tar with") else pytest.mark.slow)
        for name, values in ARCHIVES_OF_ANY_SIZE.items()
    ],
)
def test_memory_does_not_grow_with_the_archive(reader, build):
    content = build()

    tracemalloc.start()
    with contextlib.suppress(InvalidDistribution):
        reader(content)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 2 * MIB


@st.composite
def mutations(draw, sources: list[bytes]) -> bytes:
    """One of ``sources`` with a few bytes overwritten, removed, repeated or inserted."""
    content = bytearray(draw(st.sampled_from(sources)))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        stop = start + draw(st.sampled_from([0, 1, 2, 4, 8, 32, 512]))
        repeated = bytes(content[start:stop]) * 2
        telling = st.sampled_from(
            [b"\xff" * 4, b"\xff" * 8, bytes(4), b"PK\x05\x06", b"PK\x01\x02", b"77777777777", b"../"]
        )
        content[start:stop] = draw(st.one_of(st.binary(max_size=8), st.just(repeated), telling))
    return bytes(content)


@settings(max_examples=100, deadline=None)
@given(mutations([content for content, _ in GOOD_ZIP_FILES.values()]))
def test_a_zip_file_of_any_bytes_is_read_or_refused(content):
    with contextlib.suppress(InvalidDistribution):
        assert isinstance(read_zip(content), dict)


@settings(max_examples=100, deadline=None)
@given(mutations([gzip.decompress(content) for content in GOOD_TAR_FILES.values()]))
def test_a_tar_file_of_any_bytes_is_read_or_refused(content):
    with contextlib.suppress(InvalidDistribution):
        assert isinstance(read_tar(gzip.compress(content, 1)), TopFolder)


@settings(max_examples=100, deadline=None)
@given(mutations([TAR]))
def test_a_gzip_stream_of_any_bytes_is_read_or_refused(content):
    with contextlib.suppress(InvalidDistribution):
        assert isinstance(read_tar(content), TopFolder)


@settings(max_examples=30, deadline=None)
@given(st.text())
def test_a_value_of_the_uploader_is_quoted_in_one_short_line_of_ascii(value):
    assert quoted(value).isascii()
    assert quoted(value).isprintable()
    assert len(quoted(value)) <= 104
