"""Reading of OSV's export: a zip file of JSON documents, one per record.

The file is untrusted, and has hundreds of thousands of members: it is read with the memory of its directory and of one
member. Sizes, numbers, and checksums are verified; a member that is damaged, encrypted, or too large has no content.

``zipfile`` keeps several hundred bytes of each member, and ``distributions.zip_files``, which refuses whatever another
tool could unpack differently, refuses a file for one such member.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from registry.errors import SourceError

MIB = 1 << 20
MAX_FILE_BYTES = 1024 * MIB
MAX_RECORDS = 1_000_000
MAX_DIRECTORY_BYTES = 128 * MIB
MAX_RECORD_BYTES = 4 * MIB  # unpacked
MAX_UNPACKED_BYTES = 8192 * MIB  # of all records together

# PKWARE APPNOTE 6.3.10, sections 4.3.7, 4.3.12, and 4.3.14 to 4.3.16.
_END = struct.Struct("<4s4H2LH")
_WIDE_LOCATOR = struct.Struct("<4sLQL")
_WIDE_END = struct.Struct("<4sQ2H2L4Q")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_MAX_COMMENT_BYTES = 0xFFFF
_STORED, _DEFLATED = 0, 8
_ENCRYPTED = 0x2041


@dataclass(frozen=True)
class Member:
    """One member of the export.

    :ivar content: ``None`` if it is damaged or too large.
    """

    name: str
    content: bytes | None


def members(file: BinaryIO) -> Iterator[Member]:
    """Yield the JSON documents of an export in the order of its directory.

    :raises SourceError: the file is not a complete zip file, or exceeds one of the limits.
    """
    directory, count = _directory(file)
    position = unpacked = 0
    for _ in range(count):
        if position + _ENTRY.size > len(directory):
            raise SourceError("The export is damaged: the directory of the zip file ends too early.")
        fields = _ENTRY.unpack_from(directory, position)
        signature, _, _, flags, method, _, _, crc, packed, size, name_length, extra, comment, *_, offset = fields
        if signature != b"PK\x01\x02":
            raise SourceError("The export is damaged: the directory of the zip file has an invalid entry.")
        start = position + _ENTRY.size
        name = directory[start : start + name_length].decode("utf-8", "replace")
        position = start + name_length + extra + comment
        if not name.endswith(".json"):
            continue
        unpacked += size
        if unpacked > MAX_UNPACKED_BYTES:
            raise SourceError(f"The export unpacks to more than {MAX_UNPACKED_BYTES} bytes.")
        is_readable = max(size, packed) <= MAX_RECORD_BYTES and not flags & _ENCRYPTED
        yield Member(name, _content(file, offset, method, packed, size, crc) if is_readable else None)


def _directory(file: BinaryIO) -> tuple[bytes, int]:
    """Return the central directory and the number of its entries."""
    file_size = file.seek(0, io.SEEK_END)
    if file_size > MAX_FILE_BYTES:
        raise SourceError(f"The export is larger than {MAX_FILE_BYTES} bytes.")
    tail_start = file.seek(max(0, file_size - _END.size - _MAX_COMMENT_BYTES))
    tail = file.read()
    end = tail.rfind(b"PK\x05\x06", 0, max(0, len(tail) - _END.size + 4))
    if end < 0:
        raise SourceError("The export is not a zip file, or not a complete one.")
    _, _, _, _, count, size, offset, _ = _END.unpack_from(tail, end)
    if count == 0xFFFF or offset == 0xFFFFFFFF:
        count, size, offset = _wide_end(file, tail_start + end)
    if count > MAX_RECORDS or size > MAX_DIRECTORY_BYTES:
        raise SourceError(f"The export has more than {MAX_RECORDS} records.")
    file.seek(offset)
    directory = file.read(size)
    if len(directory) < size:
        raise SourceError("The export is not a complete zip file.")
    return directory, count


def _wide_end(file: BinaryIO, end: int) -> tuple[int, int, int]:
    """Return number, size, and offset of the directory of a file with more than 65,534 members."""
    file.seek(max(0, end - _WIDE_LOCATOR.size))
    locator = file.read(_WIDE_LOCATOR.size)
    if len(locator) == _WIDE_LOCATOR.size and locator.startswith(b"PK\x06\x07"):
        _, _, position, _ = _WIDE_LOCATOR.unpack(locator)
        file.seek(min(position, end))
        record = file.read(_WIDE_END.size)
        if len(record) == _WIDE_END.size and record.startswith(b"PK\x06\x06"):
            *_, count, size, offset = _WIDE_END.unpack(record)
            return count, size, min(offset, end)
    raise SourceError("The export is damaged: the directory of the zip file is missing.")


def _content(file: BinaryIO, offset: int, method: int, packed_size: int, size: int, crc: int) -> bytes | None:
    file.seek(offset)
    header = file.read(_LOCAL.size)
    if len(header) < _LOCAL.size or not header.startswith(b"PK\x03\x04"):
        return None
    *_, name_length, extra_length = _LOCAL.unpack(header)
    file.seek(name_length + extra_length, io.SEEK_CUR)
    content = _unpacked(file.read(packed_size), method, size)
    return content if content is not None and len(content) == size and zlib.crc32(content) == crc else None


def _unpacked(packed: bytes, method: int, size: int) -> bytes | None:
    if method == _STORED:
        return packed
    if method != _DEFLATED:
        return None
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, size + 1)
    except zlib.error:
        return None
