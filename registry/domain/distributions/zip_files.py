"""Reading of untrusted zip files, as strictly as ``archives`` explains.

They are specified by PKWARE APPNOTE 6.3.10; section numbers refer to it.
"""

from __future__ import annotations

import io
import itertools
import stat
import struct
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import BinaryIO

from registry.domain.distributions.archives import (
    CHUNK_BYTES,
    TopFolder,
    bad_member,
    refuse_bomb,
    refuse_collisions,
    refuse_outside,
    safe_path,
    top_of,
)
from registry.domain.distributions.budget import MIB, Budget
from registry.errors import InvalidDistribution

MAX_EXTRA_FIELDS = 100  # of a member; members usually have a handful
MAX_DIRECTORY_BYTES = 32 * MIB  # enough for 100,000 long names
READ_AT_ONCE_BYTES = MIB // 16  # an entire file, as each of its headers takes several system calls

_END = struct.Struct("<4s4H2LH")
_END_SIGNATURE = b"PK\x05\x06"
_WIDE_LOCATOR = struct.Struct("<4sLQL")
_WIDE_LOCATOR_SIGNATURE = b"PK\x06\x07"
_WIDE_END = struct.Struct("<4sQ2H2L4Q")
_WIDE_END_SIGNATURE = b"PK\x06\x06"
_ENTRY = struct.Struct("<4s6H3L5H2L")
_ENTRY_SIGNATURE = b"PK\x01\x02"
_LOCAL = struct.Struct("<4s5H3L2H")
_LOCAL_SIGNATURE = b"PK\x03\x04"
_DESCRIPTOR_SIGNATURE = b"PK\x07\x08"
_LONGEST_DESCRIPTOR = 24

_MAX_COMMENT_BYTES = 0xFFFF
LONGEST_END_BYTES = _END.size + _MAX_COMMENT_BYTES
_SEE_WIDE_COUNT = 0xFFFF
_SEE_WIDE = 0xFFFFFFFF
_WIDE_EXTRA = 0x0001
_UNICODE_PATH_EXTRA = 0x7075

_STORED, _DEFLATED = 0, 8
_FLAG_DESCRIPTOR, _FLAG_UTF8 = 0x0008, 0x0800
_KNOWN_FLAGS = _FLAG_DESCRIPTOR | _FLAG_UTF8 | 0x0006  # the last two bits: the compression level
_ENCRYPTION_FLAGS = 0x2041
_MAX_VERSION = 63  # of the format that is needed to unpack a member (4.4.3): 6.3, the newest that Python knows


@dataclass(frozen=True, slots=True)
class Entry:
    """One member of a zip file, as the central directory describes it (4.3.12)."""

    name: bytes
    flags: int
    method: int
    crc: int
    size: int
    packed_size: int
    offset: int

    @property
    def is_folder(self) -> bool:
        return self.name.endswith(b"/")

    @property
    def text(self) -> str:
        """The decoded name (4.4.4, bit 11); malformed bytes are escaped."""
        return self.name.decode("utf-8", "surrogateescape") if self.flags & _FLAG_UTF8 else self.name.decode("cp437")


@dataclass(frozen=True)
class Zip:
    """A zip file whose entire structure was checked, but not yet the contents of its members.

    :ivar entries: every member by its path, in the order of the central directory.
    :ivar starts: the offset of each member's content by that of the member.
    :ivar budget: counts what is parsed of its members.
    """

    file: BinaryIO
    entries: Mapping[str, Entry]
    starts: Mapping[int, int]
    budget: Budget

    @property
    def folders(self) -> set[str]:
        """The names of the top-level folders."""
        return {path.partition("/")[0] for path, entry in self.entries.items() if "/" in path or entry.is_folder}

    def has_file(self, path: str) -> bool:
        return path in self.entries and not self.entries[path].is_folder

    @cached_property
    def files(self) -> list[str]:
        """The paths of all members except folders."""
        return [path for path, entry in self.entries.items() if not entry.is_folder]

    @property
    def unpacked_size(self) -> int:
        return sum(entry.size for entry in self.entries.values())

    def read(self, path: str, limit: int) -> bytes:
        """Return the content of a member, verified against its size and checksum.

        :raises InvalidDistribution: the content is larger than ``limit`` bytes, or damaged.
        """
        entry = self.entries[path]
        if max(entry.size, entry.packed_size) > limit:
            raise bad_member(path, f"is larger than {limit} bytes")
        return b"".join(self.chunks(path))

    def chunks(self, path: str) -> Iterator[bytes]:
        """Yield the content of a member in chunks of bounded size, verifying its size and checksum at the end.

        :raises InvalidDistribution: the content is damaged; chunks already yielded must be discarded.
        """
        entry = self.entries[path]
        size = crc = 0
        packed = _stored(self.file, entry, self.starts[entry.offset])
        for chunk in _inflated(packed, entry) if entry.method == _DEFLATED else packed:
            size, crc = size + len(chunk), zlib.crc32(chunk, crc)
            yield chunk
        if size != entry.size or crc != entry.crc:
            raise bad_member(path, "does not match its size and checksum")

    def read_top_folder(self, filename: str, limit: int) -> TopFolder:
        """Return the top folder with the content of one file, like ``read_tar_gz``.

        :raises InvalidDistribution: there are several top folders, or the file is damaged or larger than ``limit``
            bytes.
        """
        top = ""
        for path, entry in self.entries.items():
            refuse_outside(path, entry.is_folder)
            top = top_of(path, top)
        path = f"{top}/{filename}"
        return TopFolder(top, self.read(path, limit) if self.has_file(path) else None, frozenset(self.files))


def open_zip(file: BinaryIO, budget: Budget | None = None) -> Zip:
    """Open a seekable file as a zip file and check every header.

    :param budget: for this file and others; by default, the file has one of its own.
    :raises InvalidDistribution: the file is not a zip file, or one that is ambiguous or dangerous to unpack.
    :raises Exhausted: the budget does not suffice.
    """
    budget = budget or Budget()
    size = file.seek(0, io.SEEK_END)
    if size <= READ_AT_ONCE_BYTES:
        file.seek(0)
        file = io.BytesIO(file.read(size))
    directory = _directory(file, size)
    entries = _entries(file, directory, budget)
    starts = _starts_of_contents(file, entries.values(), directory.offset)
    opened = Zip(file, entries, starts, budget)
    refuse_bomb(opened.unpacked_size, size)
    return opened


def read_directory(file: BinaryIO, budget: Budget) -> dict[str, Entry]:
    """Return the members of a seekable zip file by path, reading nothing but its end.

    What the central directory states about them is not compared with the members.

    :raises InvalidDistribution: the file is not a zip file, or its directory is ambiguous or names unsafe paths.
    :raises OverBudget: the budget does not suffice.
    """
    return _entries(file, _directory(file, file.seek(0, io.SEEK_END)), budget)


def read_entry(file: BinaryIO, path: str, entry: Entry, limit: int) -> bytes:
    """Return the content of one member of a zip file, reading only the member, and verify its size and checksum.

    :raises InvalidDistribution: the content is larger than ``limit`` bytes, or damaged.
    """
    start = _start_of_content(file, entry)
    return Zip(file, {path: entry}, {entry.offset: start}, Budget()).read(path, limit)


@dataclass(frozen=True)
class _Directory:
    """The location of the central directory, and of the record that has to follow it (``end``)."""

    count: int
    size: int
    offset: int
    end: int


def _directory(file: BinaryIO, size: int) -> _Directory:
    end, record = _end_record(file, size)
    _, disk, first_disk, count_here, count, length, offset, _ = record
    narrow = _Directory(count, length, offset, end)
    directory = _wide_directory(file, narrow) or narrow
    if disk or first_disk or count_here != count:
        raise InvalidDistribution("the zip file is one part of several; it must be whole")
    if directory.offset + directory.size != directory.end:
        raise InvalidDistribution("the zip file's central directory does not lie right before its end record")
    if directory.size > MAX_DIRECTORY_BYTES:
        raise InvalidDistribution(f"the zip file's central directory is larger than {MAX_DIRECTORY_BYTES} bytes")
    return directory


def _end_record(file: BinaryIO, size: int) -> tuple[int, tuple[int, ...]]:
    """Return the offset and the fields of the end record."""
    file.seek(max(0, size - LONGEST_END_BYTES))
    tail = file.read(LONGEST_END_BYTES)
    # The signature can also occur by chance within the record; it counts only where an entire record fits.
    start = tail.rfind(_END_SIGNATURE, 0, max(0, len(tail) - _END.size + len(_END_SIGNATURE)))
    if start < 0:
        raise InvalidDistribution("the file is not a zip file: it has no end record")
    comment_length = int.from_bytes(tail[start + _END.size - 2 : start + _END.size], "little")
    if start + _END.size + comment_length != len(tail):
        raise InvalidDistribution("the zip file does not end with its end record and the comment announced there")
    return size - len(tail) + start, _END.unpack_from(tail, start)


def _wide_directory(file: BinaryIO, narrow: _Directory) -> _Directory | None:
    """Return the location of the central directory from the zip64 records, if there are any (4.3.14, 4.3.15)."""
    locator = narrow.end - _WIDE_LOCATOR.size
    record = locator - _WIDE_END.size
    file.seek(max(0, locator))
    if record < 0 or file.read(4) != _WIDE_LOCATOR_SIGNATURE:
        return None
    _, located_disk, located_record, disks = _unpack(file, locator, _WIDE_LOCATOR, _WIDE_LOCATOR_SIGNATURE)
    _, length, _, _, disk, first_disk, count_here, count, size, offset = _unpack(
        file, record, _WIDE_END, _WIDE_END_SIGNATURE
    )
    if located_disk or disks > 1 or disk or first_disk or count_here != count:
        raise InvalidDistribution("the zip file is one part of several; it must be whole")
    if located_record != record or length != _WIDE_END.size - 12:
        raise InvalidDistribution("the zip file's zip64 records do not follow each other")
    if (
        narrow.count not in (count, _SEE_WIDE_COUNT)
        or narrow.size not in (size, _SEE_WIDE)
        or narrow.offset not in (offset, _SEE_WIDE)
    ):
        raise InvalidDistribution("the zip file's two end records contradict each other")
    return _Directory(count, size, offset, record)


def _entries(file: BinaryIO, directory: _Directory, budget: Budget) -> dict[str, Entry]:
    budget.add_members(directory.count)
    entries: dict[str, Entry] = {}
    position = directory.offset
    while position < directory.end and len(entries) < directory.count:
        entry, position = _entry(file, position)
        path = _path(entry, budget)
        if path in entries:
            raise bad_member(path, "occurs twice")
        entries[path] = entry
    if position != directory.end or len(entries) != directory.count:
        raise InvalidDistribution(
            f"the zip file's central directory does not hold the {directory.count} members announced"
        )
    refuse_collisions(((path, entry.is_folder) for path, entry in entries.items()), budget)
    return entries


def _entry(file: BinaryIO, position: int) -> tuple[Entry, int]:
    """Return the entry of the central directory at ``position``, and the position of the next one."""
    (
        _, _, needed, flags, method, _, _, crc, packed_size, size,
        name_length, extra_length, comment_length, disk, _, attributes, offset,
    ) = _unpack(file, position, _ENTRY, _ENTRY_SIGNATURE)  # fmt: skip
    name, extra = file.read(name_length), file.read(extra_length)
    entry = Entry(name, flags, method, crc, *_widened((size, packed_size, offset), extra, name))
    _check_entry(entry)
    if needed & 0xFF > _MAX_VERSION:
        raise bad_member(entry.text, f"needs version {(needed & 0xFF) / 10} of the zip format; installers read 6.3")
    if disk:
        raise InvalidDistribution("the zip file is one part of several; it must be whole")
    # The upper half is a Unix mode if the archive was created on Unix, and otherwise zero.
    if stat.S_IFMT(attributes >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise bad_member(entry.text, "is a link or special file; only files and folders may be in a zip file")
    return entry, file.tell() + comment_length


def _check_entry(entry: Entry) -> None:
    if entry.flags & _ENCRYPTION_FLAGS:
        raise bad_member(entry.text, "is encrypted")
    if entry.flags & ~_KNOWN_FLAGS:
        raise bad_member(entry.text, f"uses features of zip that installers lack (flags {entry.flags:#06x})")
    if entry.method not in (_STORED, _DEFLATED):
        raise bad_member(entry.text, f"is compressed by method {entry.method}; it must be 0 (stored) or 8 (deflated)")
    if entry.method == _STORED and entry.size != entry.packed_size:
        raise bad_member(entry.text, "is stored, but with two different sizes")
    if entry.is_folder and entry.size:
        raise bad_member(entry.text, "is a folder with content")


def _path(entry: Entry, budget: Budget) -> str:
    name = entry.text
    budget.add_path(name)
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        raise bad_member(name, "has a name that is not UTF-8") from None
    path = safe_path(name)
    if not path or name not in (path, path + "/"):
        raise bad_member(name, "must be named by a plain path, without . and doubled slashes")
    return path


def _widened(values: Sequence[int], extra: bytes, name: bytes) -> list[int]:
    """Return sizes and offset, replacing those too large for their field by the values in the zip64 extra (4.5.3)."""
    if not extra and _SEE_WIDE not in values:
        return list(values)
    wide = _wide_extra(extra, name)
    if len(wide) < 8 * values.count(_SEE_WIDE):
        raise bad_member(name.decode("cp437"), "lacks the zip64 sizes it refers to")
    numbers = struct.iter_unpack("<Q", wide[: len(wide) // 8 * 8])
    return [next(numbers)[0] if value == _SEE_WIDE else value for value in values]


def _wide_extra(extra: bytes, name: bytes) -> bytes:
    wide, position, count = b"", 0, 0
    while position + 4 <= len(extra):  # up to three trailing bytes are padding by tools that align members
        kind, length = struct.unpack_from("<2H", extra, position)
        content = extra[position + 4 : position + 4 + length]
        position, count = position + 4 + length, count + 1
        if len(content) < length or count > MAX_EXTRA_FIELDS or (kind == _WIDE_EXTRA and wide):
            raise bad_member(name.decode("cp437"), "has malformed extra fields")
        if kind == _UNICODE_PATH_EXTRA:
            raise bad_member(name.decode("cp437"), "has a second name in its extra fields")
        if kind == _WIDE_EXTRA:
            wide = content
    return wide


def _starts_of_contents(file: BinaryIO, entries: Collection[Entry], directory_offset: int) -> dict[int, int]:
    """Return the offset of each member's content by that of the member.

    Gaps and overlaps between the members are refused, as streaming readers interpret them differently.

    :raises InvalidDistribution: the members do not cover everything from the first byte to the central directory.
    """
    ordered = sorted(entries, key=lambda entry: entry.offset)
    starts = [entry.offset for entry in ordered] + [directory_offset]
    if starts[0] != 0:
        raise InvalidDistribution("the zip file has bytes in front of its first member")
    if max(starts) != directory_offset:
        raise InvalidDistribution("the zip file has members behind its central directory")
    contents = {}
    for entry, following in zip(ordered, starts[1:], strict=True):
        contents[entry.offset] = _start_of_content(file, entry)
        end = contents[entry.offset] + entry.packed_size
        if end > following:
            raise bad_member(entry.text, "overlaps what follows it")
        file.seek(end)
        if following - end > _LONGEST_DESCRIPTOR or file.read(following - end) not in _possible_descriptors(entry):
            raise bad_member(entry.text, "is followed by bytes that belong to no member")
    return contents


def _start_of_content(file: BinaryIO, entry: Entry) -> int:
    """Return the offset of a member's content, after comparing its local header (4.3.7) with the central directory."""
    _, _, flags, method, _, _, crc, packed_size, size, name_length, extra_length = _unpack(
        file, entry.offset, _LOCAL, _LOCAL_SIGNATURE
    )
    name, extra = file.read(name_length), file.read(extra_length)
    start = file.tell()
    found = (crc, *_widened((size, packed_size), extra, name))
    expected = (entry.crc, entry.size, entry.packed_size)
    if entry.flags & _FLAG_DESCRIPTOR:  # the numbers follow the content; the header can contain zeros
        found = tuple(given or number for given, number in zip(found, expected, strict=True))
    if (name, flags, method, found) != (entry.name, entry.flags, entry.method, expected):
        raise bad_member(entry.text, "has a local header that contradicts the central directory")
    return start


def _possible_descriptors(entry: Entry) -> set[bytes]:
    """Return the bytes allowed after a member's content: none, or its data descriptor if flagged (4.3.9)."""
    if not entry.flags & _FLAG_DESCRIPTOR:
        return {b""}
    bodies = [struct.pack("<L2Q", entry.crc, entry.packed_size, entry.size)]
    if max(entry.packed_size, entry.size) < _SEE_WIDE:
        bodies.append(struct.pack("<3L", entry.crc, entry.packed_size, entry.size))
    return {signature + body for signature in (b"", _DESCRIPTOR_SIGNATURE) for body in bodies}


def _stored(file: BinaryIO, entry: Entry, position: int) -> Iterator[bytes]:
    """Yield the bytes of a member as they are stored in the file from ``position`` on."""
    end = position + entry.packed_size
    while position < end:
        file.seek(position)  # another reader of the file may have moved its position
        chunk = file.read(min(CHUNK_BYTES, end - position))
        if not chunk:
            raise bad_member(entry.text, "is cut off")
        position += len(chunk)
        yield chunk


def _inflated(stored: Iterable[bytes], entry: Entry) -> Iterator[bytes]:
    """Yield the content of a deflated member, at most one chunk beyond its declared size."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    size = 0
    try:
        for packed in itertools.chain(stored, [b""]):  # the empty chunk flushes the inflater
            chunk = inflater.decompress(packed, CHUNK_BYTES)
            while chunk and size <= entry.size:
                yield chunk
                size += len(chunk)
                chunk = inflater.decompress(inflater.unconsumed_tail, CHUNK_BYTES)
    except zlib.error:
        raise bad_member(entry.text, "is damaged: its content is not deflated") from None
    if not inflater.eof or inflater.unused_data:
        raise bad_member(entry.text, "does not match its size and checksum")


def _unpack(file: BinaryIO, position: int, layout: struct.Struct, signature: bytes) -> tuple[int, ...]:
    file.seek(position)
    block = file.read(layout.size)
    if len(block) < layout.size or not block.startswith(signature):
        raise InvalidDistribution(f"the zip file has no {signature!r} record at byte {position}")
    return layout.unpack(block)
