"""The members of wheels and sdists, as pages show them: within bounds, and from nothing but the stored file."""

import gzip
import io
import struct
import tarfile

import pytest

from registry.domain.distributions import members
from registry.domain.distributions.archives import MAX_DEPTH
from registry.domain.distributions.budget import OverBudget
from registry.errors import InvalidDistribution
from tests.builders import build_sdist, build_wheel, tar_gz_of, zip_of

WHEEL, SDIST = "demo-1.0-py3-none-any.whl", "demo-1.0.tar.gz"
LIMIT = 1024


def listing(content: bytes, filename: str) -> members.Listing:
    return members.listing(io.BytesIO(content), filename)


def content(archive: bytes, filename: str, path: str) -> bytes:
    member = listing(archive, filename).members[path]
    return members.content(io.BytesIO(archive), member, LIMIT)


def tar_gz(*infos: tarfile.TarInfo) -> bytes:
    """A gzipped tar file of these members, without content."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as target:
        for info in infos:
            target.addfile(info, io.BytesIO(bytes(info.size)))
    return gzip.compress(archive.getvalue(), 1)


def link(path: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(path)
    info.type, info.linkname = kind, target
    return info


def changed(archive: bytes, signature: bytes, offset: int, value: bytes) -> bytes:
    """The same zip file with other bytes in the first header of a kind."""
    at = archive.index(signature) + offset
    return archive[:at] + value + archive[at + len(value) :]


@pytest.mark.parametrize(
    ("file", "top"),
    [(build_wheel(), ""), (build_sdist(), "demo-1.0/"), (build_sdist(filename="demo-1.0.zip"), "demo-1.0/")],
    ids=["wheel", "sdist", "zip sdist"],
)
def test_members_have_the_sizes_and_contents_of_the_archive(file, top) -> None:
    found = listing(file.content, file.filename)

    module = found.members[f"{top}demo.py"]
    assert members.content(file.open(), module, LIMIT) == b'__version__ = "1.0"\n'
    assert module.size_bytes == 20
    assert found.root.size_bytes == sum(member.size_bytes for member in found.members.values())
    assert found.root.count == len(found.members)


def test_folders_add_up_what_is_below_them_and_come_first() -> None:
    archive = zip_of({"b/c/deep.py": b"12345", "b/x.py": b"1", "a.py": b"12", "empty/": b""})

    found = listing(archive, WHEEL)

    assert [child.name for child in found.root.children] == ["b", "empty", "a.py"]
    folder = found.folder("b")
    assert folder is not None
    assert (folder.count, folder.size_bytes) == (2, 6)
    assert found.folder("b/c/nothing") is None


def test_a_page_unfolds_folders_level_by_level_until_it_is_full() -> None:
    files = {f"one/{number}.py": b"" for number in range(5)}
    children = listing(zip_of({**files, "two/a/b/c.py": b""}), WHEEL).root.children

    assert members.expanded(children, 4, 9) == {"two", "two/a"}
    assert members.expanded(children, 99, 2) == {"one", "two", "two/a"}


def test_links_are_shown_with_what_they_state_and_have_no_content() -> None:
    archive = tar_gz(tarfile.TarInfo("demo-1.0/a.py"), link("demo-1.0/b.py", "a.py"))

    found = listing(archive, SDIST)

    assert found.members["demo-1.0/b.py"].target == "a.py"
    with pytest.raises(InvalidDistribution):
        content(archive, SDIST, "demo-1.0/b.py")


def test_other_bytes_than_utf_8_in_a_name_are_replaced_and_the_member_is_found() -> None:
    raw = tar_gz_of({"demo-1.0/XX.py": b"found"})
    archive = gzip.compress(gzip.decompress(raw).replace(b"demo-1.0/XX.py", b"demo-1.0/\xff\xfe.py"))
    archive = gzip.compress(with_checksum(gzip.decompress(archive)))

    assert content(archive, SDIST, "demo-1.0/\ufffd\ufffd.py") == b"found"


def with_checksum(tar: bytes) -> bytes:
    """The same tar file with the right checksum of its first header."""
    block = tar[:148] + b" " * 8 + tar[156:512]
    return tar[:148] + f"{sum(block):06o}\0 ".encode() + tar[156:]


def bad_crc() -> bytes:
    archive = zip_of({"a.py": b"content"})
    for signature, offset in ((b"PK\x01\x02", 16), (b"PK\x03\x04", 14)):
        archive = changed(archive, signature, offset, struct.pack("<L", 1))
    return archive


def lying_size() -> bytes:
    """A member of a megabyte that states to have 9 bytes."""
    archive = zip_of({"a.py": bytes(1 << 20)})
    for signature, offset in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
        archive = changed(archive, signature, offset, struct.pack("<L", 9))
    return archive


@pytest.mark.parametrize(
    "archive",
    [
        bad_crc(),
        lying_size(),
        changed(zip_of({"a.py": b"content"}), b"PK\x01\x02", 42, struct.pack("<L", 9)),
        zip_of({"a.py": bytes(2 * LIMIT)}),
    ],
    ids=["checksum", "size", "offset", "longer than the limit"],
)
def test_a_member_that_is_not_what_the_directory_states_is_not_read(archive: bytes) -> None:
    assert list(listing(archive, WHEEL).members) == ["a.py"]
    with pytest.raises(InvalidDistribution):
        content(archive, WHEEL, "a.py")


@pytest.mark.parametrize(
    ("filename", "archive"),
    [
        (WHEEL, b"no archive"),
        (SDIST, b"no archive"),
        ("demo-1.0.egg", zip_of({"a.py": b""})),
        (SDIST, zip_of({"a.py": b""})),
        (WHEEL, changed(zip_of({"a.py": b""}), b"PK\x01\x02", 8, b"\x01\x00")),
        (WHEEL, zip_of({"../a.py": b""})),
        (WHEEL, changed(zip_of({"a/b.py": b""}), b"PK\x01\x02", 47, b"\0")),
        (WHEEL, zip_of({"/".join(["a"] * (MAX_DEPTH + 1)): b""})),
        (SDIST, tar_gz(tarfile.TarInfo("demo-1.0/../../a.py"))),
        (SDIST, tar_gz(link("demo-1.0/a.py", "../../../etc/passwd"))),
        (SDIST, tar_gz(link("demo-1.0/a", "/dev/null", tarfile.CHRTYPE))),
        (SDIST, tar_gz_of({"demo-1.0/a.py": b"cut off"})[:-20]),
    ],
    ids=["no zip", "no gzip", "another suffix", "zip named as tar", "encrypted", "parent in a zip file",
         "NUL in a name", "too deep", "parent in a tar file", "link that leads out", "device", "cut off"],
)  # fmt: skip
def test_what_could_not_be_unpacked_safely_is_not_listed(filename: str, archive: bytes) -> None:
    with pytest.raises(InvalidDistribution):
        listing(archive, filename)


def test_a_bomb_is_not_unpacked_beyond_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "MOST_UNPACKED_BYTES", 1 << 20)
    bomb = tarfile.TarInfo("demo-1.0/zeros")
    bomb.size = 3 << 20

    with pytest.raises(OverBudget):
        listing(tar_gz(bomb), SDIST)


def many_members() -> bytes:
    """A zip file of 100,000 members that share one local header, as only its directory is read."""
    directory = zip_of({"000000": b""})
    start, end = directory.index(b"PK\x01\x02"), directory.index(b"PK\x05\x06")
    entry = directory[start:end]
    entries = b"".join(entry.replace(b"000000", b"%06d" % number) for number in range(100_000))
    record = bytearray(directory[end:])
    record[8:16] = struct.pack("<2HL", 0xFFFF, 0xFFFF, len(entries))
    wide = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 100_000, 100_000, len(entries), start)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, start + len(entries), 1)
    return directory[:start] + entries + wide + locator + bytes(record)


def test_members_are_counted_before_they_are_parsed() -> None:
    with pytest.raises(OverBudget):
        listing(many_members(), WHEEL)


def test_folders_are_counted_too() -> None:
    deep = {f"{number}/{'d/' * (MAX_DEPTH - 5)}f": b"" for number in range(1000)}
    few = dict(list(deep.items())[:10])

    assert listing(zip_of(few), WHEEL).weight > 10 * (MAX_DEPTH - 5) * members._BYTES_OF_FOLDER
    with pytest.raises(OverBudget):
        listing(zip_of(deep), WHEEL)


def test_reading_ends_after_a_number_of_bytes_and_after_some_time(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([0.0, 1.0, members.MOST_SECONDS + 1.0])
    slow = members._Bounded(io.BytesIO(b"content"), lambda: next(ticks))
    assert slow.read(1) == b"c"
    with pytest.raises(OverBudget):
        slow.read(1)

    monkeypatch.setattr(members, "MOST_READ_BYTES", 1024)
    for file in (build_wheel(size_bytes=10), build_sdist(size_bytes=2000)):
        many = {f"{number:04}.py": b"" for number in range(30)}
        archive = zip_of(many) if file.filename == WHEEL else file.content
        with pytest.raises(OverBudget):
            listing(archive, file.filename)


def test_archives_in_archives_are_binary_like_all_that_is_not_text() -> None:
    nested = zip_of({"a.py": b"print()"})

    assert members.decoded(nested) is None
    assert members.decoded(b"\xff") is None
    assert members.decoded("\ufeffänderung\n".encode()) == "änderung\n"
