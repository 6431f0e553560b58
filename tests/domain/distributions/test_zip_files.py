import contextlib
import io
import stat
import struct
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable

import pytest
from hypothesis import given, settings

from registry.domain.distributions.archives import TopFolder
from registry.domain.distributions.zip_files import open_zip
from registry.errors import InvalidDistribution
from tests.builders import zip_of
from tests.domain.distributions.archives import FILES, MIB, A, mutations, peak_memory


def read_zip(content: bytes) -> dict[str, bytes]:
    """Every file of a zip file."""
    opened = open_zip(io.BytesIO(content))
    return {path: opened.read(path, MIB) for path in opened.entries if opened.has_file(path)}


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


def zip_of_deep_folders() -> bytes:
    return zip_of({f"{number}/" + "d/" * 60 + "a": b"" for number in range(17_000)})


def zip_of_a_declared_size() -> bytes:
    return both(22, 24, "<L", 200 * MIB)


def zip_with_an_endless_directory() -> bytes:
    return bytes(33 * MIB) + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, 33 * MIB, 0, 0)


BOMBS = {
    "deep folders": (zip_of_deep_folders, "folders in all paths together, which exceeds the budget"),
    "declared size": (
        zip_of_a_declared_size, "bytes unpacks to more than the 67108864 bytes allowed for its size",
    ),
    "endless members": (lambda: with_wide_end(zip_of(FILES), count=100_001), "has more than 100000 members"),
    "endless directory": (zip_with_an_endless_directory, "central directory is larger than 33554432 bytes"),
}  # fmt: skip


@pytest.mark.parametrize(("build", "reason"), BOMBS.values(), ids=BOMBS)
def test_a_bomb_is_refused(build, reason):
    with pytest.raises(InvalidDistribution) as refusal:
        read_zip(build())

    assert reason in refusal.value.reason


@pytest.mark.slow
def test_memory_does_not_grow_with_a_declared_size():
    content = zip_of_a_declared_size()

    assert peak_memory(lambda: read_zip(content)) < 2 * MIB


@settings(max_examples=100, deadline=None)
@given(mutations([content for content, _ in GOOD_ZIP_FILES.values()]))
def test_a_zip_file_of_any_bytes_is_read_or_refused(content):
    with contextlib.suppress(InvalidDistribution):
        assert isinstance(read_zip(content), dict)
