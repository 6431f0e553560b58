"""Reading of untrusted zip files and gzipped tar files, without unpacking anything to disk.

This module knows nothing of Python packaging. Both formats allow archives that different readers interpret differently
(members hidden after, between, or before others; contradictory headers; names that leave the folder), and installers do
differ. Archives are therefore read strictly by their standard, and every ambiguity is refused, so that any tool that
unpacks an archive later gets the files that were checked here.

Memory is bounded for any input. Refusals are an ``InvalidDistribution`` whose reason names the value.
"""

from __future__ import annotations

import io
import itertools
import re
import stat
import struct
import tarfile
import unicodedata
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from registry.domain.distributions.budget import Budget, OverBudget
from registry.errors import InvalidDistribution, quoted

MIB = 1024 * 1024
MAX_NAME_LENGTH = 4096  # PATH_MAX on Linux
MAX_DEPTH = 64  # of folders; each one is looked up among the links
MAX_EXTRA_FIELDS = 100  # of a zip member; members usually have a handful
MAX_DIRECTORY_BYTES = 32 * MIB  # of a zip file: enough for 100,000 long names
MAX_EXTENDED_HEADER_BYTES = MIB  # of a tar member: its long name, or its pax records
MAX_EXTENDED_HEADERS_BYTES = 32 * MIB  # of all members together
MAX_UNPACKED_BYTES = 32 * 1024 * MIB
# Deflate compresses constant bytes 1032 to 1. Code, text, and binaries stay below 10 and generated tables below 50, so
# a ratio beyond 100 is deliberate. It is harmless as long as the unpacked size is small.
MAX_RATIO = 100
RATIO_FLOOR_BYTES = 64 * MIB

_MAX_NORMALIZED = 255  # no system allows longer names in a folder; normalizing can take the square of the length
_CHUNK_BYTES = 256 * 1024
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f]")
_ABSOLUTE = re.compile(r"/|.:", re.DOTALL)


@dataclass(frozen=True)
class TopFolder:
    """The single folder at the top of an archive.

    :ivar content: content of the requested file, which is directly in the folder; ``None`` if the file is missing.
    :ivar files: the paths of all members except folders.
    """

    name: str
    content: bytes | None
    files: frozenset[str]


def safe_path(name: str) -> str:
    """Return the name of a member as a relative path without ``.`` and redundant slashes; empty for the root itself.

    :raises InvalidDistribution: on some system, the name could lead out of the folder that the archive is unpacked
        into; or the name contains control characters.
    """
    if len(name) > MAX_NAME_LENGTH:
        raise _bad_member(name, f"has a name of more than {MAX_NAME_LENGTH} characters")
    if _CONTROL_CHARACTERS.search(name):
        raise _bad_member(name, "has control characters in its name")
    if "\\" in name:
        raise _bad_member(name, "has a backslash in its name; folders are separated by /")
    if is_absolute(name):
        raise _bad_member(name, "has an absolute path; it must be a relative one")
    parts = _parts(name)
    if ".." in parts:
        raise _bad_member(name, "has .. in its path")
    if len(parts) > MAX_DEPTH:
        raise _bad_member(name, f"is more than {MAX_DEPTH} folders deep")
    return "/".join(parts)


def is_absolute(path: str) -> bool:
    """Return whether a path is absolute on any system, or begins with a drive."""
    return _ABSOLUTE.match(path) is not None


def leads_outside(path: str) -> bool:
    """Return whether a path is absolute or has ``..`` in it."""
    return is_absolute(path) or ".." in _parts(path)


def plain_path(path: str) -> str:
    """Return a path without ``.`` and redundant slashes."""
    return "/".join(_parts(path))


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def _refuse_outside(path: str, is_folder: bool) -> None:
    if "/" not in path and not is_folder:
        raise _bad_member(path, "is outside a top folder")


def _top_of(path: str, top: str) -> str:
    """Return the top folder of a member, which must be ``top`` unless that is still empty."""
    folder = path.partition("/")[0] or top
    if top and folder != top:
        raise InvalidDistribution(f"the archive has {quoted(folder)} beside {quoted(top)}; it must have one top folder")
    return folder


def _refuse_bomb(unpacked_size: int, packed_size: int) -> None:
    limit = min(MAX_UNPACKED_BYTES, max(RATIO_FLOOR_BYTES, MAX_RATIO * packed_size))
    if unpacked_size > limit:
        raise InvalidDistribution(
            f"the archive of {packed_size} bytes unpacks to more than the {limit} bytes allowed for its size"
        )


def _refuse_collisions(members: Iterable[tuple[str, bool]], budget: Budget) -> None:
    """Refuse files that cannot be unpacked beside another member on every file system.

    :param members: the path of each member, and whether it is a folder.
    """
    for path, other in collisions(((path, is_folder, path) for path, is_folder in members), budget):
        raise _bad_member(other, f"cannot be unpacked beside {quoted(path)} on every system")


def collisions(members: Iterable[tuple[str, bool, str]], budget: Budget) -> Iterator[tuple[str, str]]:
    """Yield the names of two members of which some file system keeps only one.

    On Windows and macOS, paths that differ only in case are the same; on macOS also those with a composed and a
    decomposed accent, and on Windows those that differ in dots and spaces at the end. Two such folders become one,
    which harms no file.

    :param members: the path to which each is unpacked, whether it is a folder, and its name.
    """
    members = list(members)
    budget.add_names(path for path, _, _ in members)
    # A slash becomes the smallest character, so that the content of a folder follows its name immediately.
    folded = sorted((_folded(path), not is_folder, name) for path, is_folder, name in members)
    for (path, is_file, name), (other, other_is_file, other_name) in itertools.pairwise(folded):
        is_same = path == other and (is_file or other_is_file)
        if is_same or (is_file and other.startswith(f"{path}\0")):
            yield name, other_name


def _folded(path: str) -> str:
    if path.isascii() and "./" not in path and " /" not in path and not path.endswith((".", " ")):
        return path.casefold().replace("/", "\0")
    parts = [unicodedata.normalize("NFC", part) if len(part) <= _MAX_NORMALIZED else part for part in path.split("/")]
    return "\0".join(filter(None, (part.rstrip(". ") for part in parts))).casefold()


def _bad_member(name: str, fault: str) -> InvalidDistribution:
    return InvalidDistribution(f"the archive member {quoted(name)} {fault}")


# Zip files are specified by PKWARE APPNOTE 6.3.10; section numbers below refer to it.
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

    @property
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
            raise _bad_member(path, f"is larger than {limit} bytes")
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
            raise _bad_member(path, "does not match its size and checksum")

    def read_top_folder(self, filename: str, limit: int) -> TopFolder:
        """Return the top folder with the content of one file, like ``read_tar_gz``.

        :raises InvalidDistribution: there are several top folders, or the file is damaged or larger than ``limit``
            bytes.
        """
        top = ""
        for path, entry in self.entries.items():
            _refuse_outside(path, entry.is_folder)
            top = _top_of(path, top)
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
    directory = _directory(file, size)
    entries = _entries(file, directory, budget)
    starts = _starts_of_contents(file, entries.values(), directory.offset)
    opened = Zip(file, entries, starts, budget)
    _refuse_bomb(opened.unpacked_size, size)
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
            raise _bad_member(path, "occurs twice")
        entries[path] = entry
    if position != directory.end or len(entries) != directory.count:
        raise InvalidDistribution(
            f"the zip file's central directory does not hold the {directory.count} members announced"
        )
    _refuse_collisions(((path, entry.is_folder) for path, entry in entries.items()), budget)
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
        raise _bad_member(entry.text, f"needs version {(needed & 0xFF) / 10} of the zip format; installers read 6.3")
    if disk:
        raise InvalidDistribution("the zip file is one part of several; it must be whole")
    # The upper half is a Unix mode if the archive was created on Unix, and otherwise zero.
    if stat.S_IFMT(attributes >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _bad_member(entry.text, "is a link or special file; only files and folders may be in a zip file")
    return entry, file.tell() + comment_length


def _check_entry(entry: Entry) -> None:
    if entry.flags & _ENCRYPTION_FLAGS:
        raise _bad_member(entry.text, "is encrypted")
    if entry.flags & ~_KNOWN_FLAGS:
        raise _bad_member(entry.text, f"uses features of zip that installers lack (flags {entry.flags:#06x})")
    if entry.method not in (_STORED, _DEFLATED):
        raise _bad_member(entry.text, f"is compressed by method {entry.method}; it must be 0 (stored) or 8 (deflated)")
    if entry.method == _STORED and entry.size != entry.packed_size:
        raise _bad_member(entry.text, "is stored, but with two different sizes")
    if entry.is_folder and entry.size:
        raise _bad_member(entry.text, "is a folder with content")


def _path(entry: Entry, budget: Budget) -> str:
    name = entry.text
    budget.add_path(name)
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        raise _bad_member(name, "has a name that is not UTF-8") from None
    path = safe_path(name)
    if not path or name not in (path, path + "/"):
        raise _bad_member(name, "must be named by a plain path, without . and doubled slashes")
    return path


def _widened(values: Sequence[int], extra: bytes, name: bytes) -> list[int]:
    """Return sizes and offset, replacing those too large for their field by the values in the zip64 extra (4.5.3)."""
    wide = _wide_extra(extra, name)
    if len(wide) < 8 * values.count(_SEE_WIDE):
        raise _bad_member(name.decode("cp437"), "lacks the zip64 sizes it refers to")
    numbers = struct.iter_unpack("<Q", wide[: len(wide) // 8 * 8])
    return [next(numbers)[0] if value == _SEE_WIDE else value for value in values]


def _wide_extra(extra: bytes, name: bytes) -> bytes:
    wide, position, count = b"", 0, 0
    while position + 4 <= len(extra):  # up to three trailing bytes are padding by tools that align members
        kind, length = struct.unpack_from("<2H", extra, position)
        content = extra[position + 4 : position + 4 + length]
        position, count = position + 4 + length, count + 1
        if len(content) < length or count > MAX_EXTRA_FIELDS or (kind == _WIDE_EXTRA and wide):
            raise _bad_member(name.decode("cp437"), "has malformed extra fields")
        if kind == _UNICODE_PATH_EXTRA:
            raise _bad_member(name.decode("cp437"), "has a second name in its extra fields")
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
            raise _bad_member(entry.text, "overlaps what follows it")
        file.seek(end)
        if following - end > _LONGEST_DESCRIPTOR or file.read(following - end) not in _possible_descriptors(entry):
            raise _bad_member(entry.text, "is followed by bytes that belong to no member")
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
        raise _bad_member(entry.text, "has a local header that contradicts the central directory")
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
        chunk = file.read(min(_CHUNK_BYTES, end - position))
        if not chunk:
            raise _bad_member(entry.text, "is cut off")
        position += len(chunk)
        yield chunk


def _inflated(stored: Iterable[bytes], entry: Entry) -> Iterator[bytes]:
    """Yield the content of a deflated member, at most one chunk beyond its declared size."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    size = 0
    try:
        for packed in itertools.chain(stored, [b""]):  # the empty chunk flushes the inflater
            chunk = inflater.decompress(packed, _CHUNK_BYTES)
            while chunk and size <= entry.size:
                yield chunk
                size += len(chunk)
                chunk = inflater.decompress(inflater.unconsumed_tail, _CHUNK_BYTES)
    except zlib.error:
        raise _bad_member(entry.text, "is damaged: its content is not deflated") from None
    if not inflater.eof or inflater.unused_data:
        raise _bad_member(entry.text, "does not match its size and checksum")


def _unpack(file: BinaryIO, position: int, layout: struct.Struct, signature: bytes) -> tuple[int, ...]:
    file.seek(position)
    block = file.read(layout.size)
    if len(block) < layout.size or not block.startswith(signature):
        raise InvalidDistribution(f"the zip file has no {signature!r} record at byte {position}")
    return layout.unpack(block)


# Gzipped tar files are specified by RFC 1952 and POSIX, "pax" (ustar and pax interchange formats), plus GNU long names.
_BLOCK_BYTES = tarfile.BLOCKSIZE
_PLAIN_FILES = {tarfile.REGTYPE, tarfile.AREGTYPE}
_LINKS = {tarfile.SYMTYPE, tarfile.LNKTYPE}
_MEMBERS = {*_PLAIN_FILES, *_LINKS, tarfile.DIRTYPE}
_GNU_TYPES = {tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.GNUTYPE_SPARSE}
# Name, mode, user, group, size, time, checksum, type, target, device, and prefix of the name.
_HEADER = struct.Struct("100s8s8s8s12s12s8sc100s72x8s8s155s12x")
_BINARY_NUMBERS = (0o200, 0o377)  # the first byte of numbers that are too large for octal digits, or negative (GNU)
_SEVEN_BITS = bytes(range(128))
_NUMBER = re.compile(rb" *[0-7]* *(?:\0.*)?|[\x80\xff].*", re.DOTALL)
_GNU_NAMES = {tarfile.GNUTYPE_LONGNAME: "path", tarfile.GNUTYPE_LONGLINK: "linkpath"}
_EXTENSIONS = {*_GNU_NAMES, tarfile.XHDTYPE, tarfile.XGLTYPE}
_PAX_RECORD = re.compile(rb"([1-9]\d{0,6}) ([^=\n]+)=")
_PAX_KEYS = {"path", "linkpath", "size"}
_PAX_SIZE = re.compile(r"[0-9]{1,18}")


def read_tar_gz(file: BinaryIO, filename: str, limit: int, budget: Budget | None = None) -> TopFolder:
    """Return the top folder of a gzipped tar file with the content of one file, reading the entire stream once.

    :param budget: for this file and others; by default, the file has one of its own.
    :raises InvalidDistribution: the archive has another format, is damaged, is unsafe to unpack, or has several top
        folders; or the file occurs twice, or is larger than ``limit`` bytes.
    :raises Exhausted: the budget does not suffice.
    """
    budget = budget or Budget()
    stream: BinaryIO = io.BufferedReader(_Gunzip(file), _CHUNK_BYTES)
    top, content = "", None
    files, folders = set[str](), set[str]()
    for member, path in _checked_members(stream, budget):
        top = _top_of(path, top)
        (folders if member.isdir() else files).add(path)
        if path == f"{top}/{filename}":
            if content is not None or member.type not in _PLAIN_FILES:
                raise _bad_member(path, "must be there once, as a plain file")
            content = _content(stream, member, limit)
        else:
            _skip_content(stream, member)
    _refuse_collisions([*((path, False) for path in files), *((path, True) for path in folders)], budget)
    return TopFolder(top, content, frozenset(files))


@dataclass(frozen=True, slots=True)
class TarMember:
    """One member of a tar file.

    :ivar target: of a link, as it is stated; empty for others.
    """

    path: str
    size: int
    is_folder: bool
    target: str


def tar_gz_members(file: BinaryIO, budget: Budget, most_bytes: int) -> Iterator[TarMember]:
    """Yield the members of a gzipped tar file, reading the entire stream once.

    :raises InvalidDistribution: the archive has another format, is damaged, or is unsafe to unpack.
    :raises OverBudget: the budget does not suffice, or the archive unpacks to more than ``most_bytes``.
    """
    stream: BinaryIO = io.BufferedReader(_Gunzip(file, most_bytes), _CHUNK_BYTES)
    for member, path in _checked_members(stream, budget):
        target = member.linkname if member.type in _LINKS else ""
        yield TarMember(path, member.size, member.isdir(), target)
        _skip_content(stream, member)


def read_tar_gz_member(file: BinaryIO, path: str, limit: int, budget: Budget, most_bytes: int) -> bytes | None:
    """Return the content of a plain file in a gzipped tar file, reading up to it; ``None`` if there is none.

    :raises InvalidDistribution: the content is larger than ``limit`` bytes, or the same as of ``tar_gz_members``.
    """
    stream: BinaryIO = io.BufferedReader(_Gunzip(file, most_bytes), _CHUNK_BYTES)
    for member, found in _checked_members(stream, budget):
        if found == path and member.type in _PLAIN_FILES:
            return _content(stream, member, limit)
        _skip_content(stream, member)
    return None


def _checked_members(stream: BinaryIO, budget: Budget) -> Iterator[tuple[tarfile.TarInfo, str]]:
    """Yield the members with their safe paths; the caller has to consume the content of each."""
    links = set[str]()
    for member in _members(stream, budget):
        budget.add_path(member.name)
        path = safe_path(member.name)
        _check_member(member, path, links, budget)
        yield member, path


class _Gunzip(io.RawIOBase):
    """Decompressed content of a file that must be a single gzip stream, with limits on its size and compression."""

    def __init__(self, file: BinaryIO, most_bytes: int = MAX_UNPACKED_BYTES) -> None:
        self._packed_size = file.seek(0, io.SEEK_END)
        self._most_bytes = most_bytes
        self._unpacked_size = 0
        self._inflater = zlib.decompressobj(zlib.MAX_WBITS | 16)
        self._file = file
        file.seek(0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        chunk = self._inflate(len(buffer))
        buffer[: len(chunk)] = chunk
        self._unpacked_size += len(chunk)
        _refuse_bomb(self._unpacked_size, self._packed_size)
        if self._unpacked_size > self._most_bytes:
            raise OverBudget(f"the archive unpacks to more than {self._most_bytes} bytes")
        return len(chunk)

    def _inflate(self, most: int) -> bytes:
        while not self._inflater.eof:
            packed = self._inflater.unconsumed_tail or self._file.read(_CHUNK_BYTES)
            try:
                chunk = self._inflater.decompress(packed, most)
            except zlib.error:
                raise InvalidDistribution("the file is not a gzip stream, or is a damaged one") from None
            if chunk:
                return chunk
            if not packed and not self._inflater.eof:
                raise InvalidDistribution("the gzip stream is cut off")
        if self._inflater.unused_data or self._file.read(1):
            raise InvalidDistribution("the file has bytes behind its gzip stream")
        return b""


def _members(stream: BinaryIO, budget: Budget) -> Iterator[tarfile.TarInfo]:
    """Yield the members in order; the caller has to consume the content of each before requesting the next."""
    extension: dict[str, str] = {}
    extensions_bytes, is_announced = 0, False
    while (header := _header(stream)) is not None:
        budget.add_members()
        is_announced = header.type in _EXTENSIONS
        if not is_announced:
            yield _extended(header, extension)
            extension = {}
            continue
        extensions_bytes += header.size
        if extensions_bytes > MAX_EXTENDED_HEADERS_BYTES:
            raise InvalidDistribution(
                f"the tar archive has extended headers of more than {MAX_EXTENDED_HEADERS_BYTES // MIB} MiB together"
            )
        for key, value in _extension(stream, header, budget).items():
            if key in extension:
                raise _bad_member(value, "is announced twice, by two headers")
            extension[key] = value
    if is_announced:  # Python's tarfile refuses the archive
        raise InvalidDistribution("the tar archive ends behind an extended header, without the member it announces")
    while chunk := stream.read(_CHUNK_BYTES):
        if chunk.count(0) != len(chunk):
            raise InvalidDistribution("the tar archive continues after its end")


def _header(stream: BinaryIO) -> tarfile.TarInfo | None:
    block = _exactly(stream, _BLOCK_BYTES)
    if block.count(0) == _BLOCK_BYTES:
        return None
    header = _parsed_header(block)
    if header is None:
        raise InvalidDistribution("the archive in the gzip stream is not a tar archive, or has a malformed header")
    if header.size < 0:
        raise _bad_member(header.name, "has a negative size")
    return header


def _parsed_header(block: bytes) -> tarfile.TarInfo | None:
    """Return what ``TarInfo.frombuf`` returns, without the fields that are not needed, in a third of the time.

    Returns ``None`` if the header is malformed. Of the spellings of numbers that ``frombuf`` accepts, those that Python
    alone would write, such as ``0o7``, count as malformed.
    """
    name, mode, uid, gid, size, mtime, checksum, kind, target, major, minor, prefix = _HEADER.unpack(block)
    numbers = (mode, uid, gid, size, mtime, checksum, major, minor)
    if not all(map(_NUMBER.fullmatch, numbers)) or _number(checksum) not in _checksums(block, checksum):
        return None
    header = tarfile.TarInfo(_terminated(name))
    header.size, header.type, header.linkname = _number(size), kind, _terminated(target)
    if kind == tarfile.AREGTYPE and header.name.endswith("/"):  # how tar wrote folders before POSIX
        header.type = tarfile.DIRTYPE
    if header.isdir():
        header.name = header.name.rstrip("/")
    if prefix[0] and kind not in _GNU_TYPES:
        header.name = f"{_terminated(prefix)}/{header.name}"
    return header


def _checksums(block: bytes, checksum: bytes) -> Iterator[int]:
    """Yield the checksum of a header, and then that of old programs, which took bytes as signed numbers."""
    unsigned = sum(block) - sum(checksum) + len(checksum) * ord(" ")
    yield unsigned
    high = len(block.translate(None, _SEVEN_BITS)) - len(checksum.translate(None, _SEVEN_BITS))
    yield unsigned - 256 * high


def _number(field: bytes) -> int:
    if field[0] in _BINARY_NUMBERS:
        return int.from_bytes(field[1:], "big") - (256 ** (len(field) - 1) if field[0] == 0o377 else 0)
    return int(field.partition(b"\0")[0].strip() or b"0", 8)


def _terminated(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _extension(stream: BinaryIO, header: tarfile.TarInfo, budget: Budget) -> dict[str, str]:
    """Return the ``path``, ``linkpath``, and ``size`` that an extension header defines for the next member."""
    content = _content(stream, header, MAX_EXTENDED_HEADER_BYTES)
    if header.type in _GNU_NAMES:
        return {_GNU_NAMES[header.type]: content.rstrip(b"\0").decode("utf-8", "surrogateescape")}
    budget.add_pax_records(content)
    records = _pax_records(content)
    known = {key: value for key, value in records.items() if key in _PAX_KEYS}
    if any(key.startswith("GNU.sparse") for key in records):
        raise InvalidDistribution("the tar archive has a sparse member; only plain files, folders and links may be")
    if header.type == tarfile.XGLTYPE and known:
        raise InvalidDistribution("the tar archive has a global header that renames or resizes its members")
    return known


def _pax_records(content: bytes) -> dict[str, str]:
    records: dict[str, str] = {}
    position = 0
    while position < len(content):
        match = _PAX_RECORD.match(content, position)
        end = position + int(match[1]) if match else 0
        if match is None or not match.end() < end <= len(content) or content[end - 1 : end] != b"\n":
            raise InvalidDistribution("the tar archive has a malformed pax header")
        key = match[2].decode("utf-8", "surrogateescape")
        if key in records:
            raise InvalidDistribution(f"the tar archive has a pax header with two values for {quoted(key)}")
        records[key] = content[match.end() : end - 1].decode("utf-8", "surrogateescape")
        position = end
    return records


def _extended(member: tarfile.TarInfo, extension: Mapping[str, str]) -> tarfile.TarInfo:
    member.name = extension.get("path", member.name)
    member.linkname = extension.get("linkpath", member.linkname)
    if "size" in extension:
        if not _PAX_SIZE.fullmatch(extension["size"]):
            raise _bad_member(member.name, f"has the size {quoted(extension['size'])}; it must be a number of bytes")
        member.size = int(extension["size"])
    return member


def _check_member(member: tarfile.TarInfo, path: str, links: set[str], budget: Budget) -> None:
    """Refuse members that are not allowed in an archive.

    :param links: the paths of all links so far; the member's path is added if it is a link.
    """
    if member.type not in _MEMBERS:
        raise _bad_member(member.name, "is a device or special file; only files, folders and links may be")
    if member.size and member.type not in _PLAIN_FILES:
        raise _bad_member(member.name, "is a folder or link with content")
    _refuse_outside(path, member.isdir())
    if links and not links.isdisjoint(_with_parents(path)):
        raise _bad_member(member.name, "would be unpacked through a link before it")
    if member.type in _LINKS:
        budget.add_link(member.linkname)
        _check_link(member, path)
        links.add(path)


def _with_parents(path: str) -> Iterator[str]:
    while path:
        yield path
        path = path.rpartition("/")[0]


def _check_link(member: tarfile.TarInfo, path: str) -> None:
    """Refuse a link that leads out of its top folder, directly or through other links.

    To rule out the latter, ``..`` is allowed only at the beginning of a symbolic link's target, where no other link has
    been followed yet. A hard link's target is a path from the root of the archive.
    """
    target = member.linkname
    parts = _parts(target)
    climbs = next((number for number, part in enumerate(parts) if part != ".."), len(parts))
    if member.issym():
        stays_inside = climbs < path.count("/")
    else:
        stays_inside = climbs == 0 and len(parts) > 1 and parts[0] == path.partition("/")[0]
    unsafe = not target or "\\" in target or _ABSOLUTE.match(target) or _CONTROL_CHARACTERS.search(target)
    if unsafe or ".." in parts[climbs:] or not stays_inside:
        raise _bad_member(member.name, f"links to {quoted(target)}; a link must stay in the top folder")


def _content(stream: BinaryIO, member: tarfile.TarInfo, limit: int) -> bytes:
    if member.size > limit:
        raise _bad_member(member.name, f"is larger than {limit} bytes")
    content = _exactly(stream, member.size)
    padding = _exactly(stream, -member.size % _BLOCK_BYTES)
    # Python's tarfile reads such a name up to the first NUL, beyond its stated size.
    if member.type in _GNU_NAMES and not content.endswith(b"\0") and padding.strip(b"\0"):
        raise _bad_member(member.name, "has a name that is longer than its stated size")
    return content


def _skip_content(stream: BinaryIO, member: tarfile.TarInfo) -> None:
    left = member.size + -member.size % _BLOCK_BYTES
    while left:
        left -= len(_exactly(stream, min(left, _CHUNK_BYTES)))


def _exactly(stream: BinaryIO, size: int) -> bytes:
    content = stream.read(size)
    if len(content) < size:
        raise InvalidDistribution("the tar archive is cut off")
    return content
