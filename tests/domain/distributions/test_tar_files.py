import contextlib
import gzip
import io
import random
import tarfile
import zlib

import pytest
from hypothesis import given, settings

from registry.domain.distributions.archives import TopFolder
from registry.domain.distributions.tar_files import _parsed_header, read_tar_gz
from registry.errors import InvalidDistribution
from tests.builders import tar_gz_of
from tests.domain.distributions.archives import FILES, MIB, A, B, mutations, peak_memory


def read_tar(content: bytes) -> TopFolder:
    return read_tar_gz(io.BytesIO(content), "a.py", MIB)


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


def tar_of_deep_folders() -> bytes:
    return raw_tar(raw("top/" + "d/" * 40 + "a.py") * 25_000)


def tar_of_deep_links() -> bytes:
    return tar_with(*(symlink(f"top/{number}", "a/" * 2000) for number in range(600)))


def tar_of_many_pax_records() -> bytes:
    return raw_tar((pax(b"".join(b"11 %06d=\n" % number for number in range(40_000))) + PLAIN) * 13)


BOMBS = {
    "zeros": (tar_of_zeros, "allowed for its size"),
    "zeros behind its end": (tar_with_zeros_behind_its_end, "allowed for its size"),
    "endless members": (lambda: raw_tar(PLAIN * 100_001), "has more than 100000 members"),
    "deep folders": (tar_of_deep_folders, "folders in all paths together, which exceeds the budget"),
    "deep links": (tar_of_deep_links, "folders in all paths together, which exceeds the budget"),
    "many pax records": (
        tar_of_many_pax_records, "more than 500000 records in extended headers, which exceeds the budget",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("build", "reason"), BOMBS.values(), ids=BOMBS)
def test_a_bomb_is_refused(build, reason):
    with pytest.raises(InvalidDistribution) as refusal:
        read_tar(build())

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
    "a large member": lambda: raw_tar(raw("top/b.bin", bytes(50 * MIB))),
    "many members": lambda: raw_tar(PLAIN * 20_000),
    "many pax headers": lambda: raw_tar((pax(b"12 comment=\n") + PLAIN) * 5000),
    "zeros": tar_of_zeros,
    "an endless name": lambda: raw_tar(raw("@", kind=tarfile.GNUTYPE_LONGNAME, size=60 * MIB), bytes(60 * MIB)),
}


@pytest.mark.parametrize(
    "build",
    [
        pytest.param(build, id=name, marks=pytest.mark.slow if name in {"zeros", "an endless name"} else ())
        for name, build in ARCHIVES_OF_ANY_SIZE.items()
    ],
)
def test_memory_does_not_grow_with_the_archive(build):
    content = build()

    assert peak_memory(lambda: read_tar(content)) < 2 * MIB


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
