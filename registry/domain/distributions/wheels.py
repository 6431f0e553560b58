"""Validation of the parts of a wheel beside its core metadata: the tags in its name, ``WHEEL``, and ``RECORD``.

PyPA specifications, "Binary distribution format", "Platform compatibility tags", "Recording installed projects".
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import csv
import hashlib
import io
import math
import re
from collections.abc import Collection, Iterator, Mapping
from email.parser import HeaderParser
from functools import lru_cache
from typing import Any, NamedTuple

from packaging.tags import Tag, parse_tag

from registry.domain.distributions import archives
from registry.domain.distributions.budget import MAX_MEMBERS, MAX_TAGS, MIB, Budget
from registry.domain.distributions.filenames import ParsedFilename
from registry.domain.distributions.gate import Check, Finding
from registry.domain.distributions.zip_files import Zip
from registry.errors import InvalidDistribution, Problem, quoted

MAX_WHEEL_BYTES = MIB // 8
MAX_RECORD_BYTES = 32 * MIB
LONGEST_KEPT = 500  # characters of a WHEEL whose fields are kept
# Unpacking and hashing takes some 6 s per GiB, and clients wait 10 s for a response. For a wheel that unpacks to more
# than this, only the names and sizes in RECORD are compared.
MAX_DIGESTED_BYTES = 512 * MIB

# Platforms that a wheel can be built for. PyPI refuses linux_*, as such a wheel runs only on machines like the one that
# built it; in a private registry those machines are known, so it is accepted here.
_PLATFORM = re.compile(
    r"""
    any | win32 | win_(amd64|arm64|arm32|ia64)
    | (linux | manylinux(1|2010|2014|_\d+_\d+) | musllinux_\d+_\d+ | macosx_\d+_\d+ | android_\d+)_[a-z]\w*
    | ios_\d+_\d+_[a-z]\w*_iphone(os|simulator)
    | (pyodide|pyemscripten)_\d+_\d+_wasm32 | emscripten_\d+_\d+_\d+_wasm(32|64) | wasi_\w+
    | (aix|cygwin|dragonfly|freebsd|haiku|hp_ux|java|mingw|msys|netbsd|openbsd|solaris|sunos)_\w+
    """,
    re.VERBOSE | re.ASCII,
)
_INTERPRETER = re.compile(r"[a-z]+\d[\d_]*", re.ASCII)
_ABI = re.compile(r"[a-z]\w*", re.ASCII)
_LINUX = re.compile(r"(?:linux|manylinux(?:1|2010|2014|_\d+_\d+)|musllinux_\d+_\d+)_(.+)")
_VERSION = re.compile(r"1\.\d+", re.ASCII)  # installers refuse a new major version
_VERSION_FOR_PIP = re.compile(r"[01](\.\d+)*", re.ASCII)
# A file cannot state its own digest, and signatures are made of the finished RECORD.
_UNRECORDED = {"RECORD", "RECORD.jws", "RECORD.p7s"}
_OF_ANY_LENGTH = {"shake_128", "shake_256"}
_TOO_WEAK = {"md5", "sha1", "sha224", "sha3_224"} | _OF_ANY_LENGTH
# Every algorithm by its name in small letters only, as in SHA-256 and sha3_256.
_NAMES = hashlib.algorithms_guaranteed
_ALGORITHMS = {name.replace("_", ""): name for name in _NAMES}
_HEXADECIMAL = re.compile(r"(?:[0-9A-Fa-f]{2})+")
_PUNCTUATION = re.compile(r"[^0-9a-z]+")
_SHAKE_BYTES = 32  # of a digest in a message, if that in RECORD is not true
_STRONG_DIGEST = "sha256=<digest>, or a stronger one"


def unknown_tags(claimed: ParsedFilename) -> Iterator[Finding]:
    """Yield tags in a wheel's name that denote no interpreter, ABI, or platform, so that no client would install it."""
    for part, grammar, expected in (
        ("interpreter", _INTERPRETER, "an interpreter and its version, such as py3 or cp312"),
        ("abi", _ABI, "none, abi3 or the ABI of an interpreter, such as cp312"),
        ("platform", _PLATFORM, "any or a known platform, such as win_amd64, macosx_11_0_arm64, manylinux_2_28_x86_64"),
    ):
        for tag in sorted({getattr(tag, part) for tag in claimed.tags}):
            if not grammar.fullmatch(tag):
                yield Check.UNKNOWN_TAG.found(f"{part} tag", tag, expected)


def wrong_wheel_document(wheel: Zip, folder: str, claimed: ParsedFilename | None) -> Iterator[Finding]:
    """Yield the versions of ``WHEEL`` that installers do not read, and its contradictions in itself and with the name.

    :raises InvalidDistribution: ``WHEEL`` cannot be read.
    """
    text = _text("WHEEL", wheel.read(f"{folder}/WHEEL", MAX_WHEEL_BYTES))
    wheel.budget.add_fields(text)
    fields = _wheel_fields(text)
    yield from _contradictions(fields)
    version = fields.get("wheel-version", [""])[0]
    if not _VERSION.fullmatch(version):
        is_readable = _VERSION_FOR_PIP.fullmatch(version)
        check = Check.WHEEL_VERSION_SPELLING if is_readable else Check.WHEEL_VERSION
        yield check.found("WHEEL: Wheel-Version", version, "1.x")
    build = fields.get("build", [""])[0]
    if claimed is not None and build and build != claimed.build:
        yield Check.WHEEL_BUILD.found("WHEEL: Build", build, f"{quoted(claimed.build)} as in the file name")
    yield from _wrong_tags(fields.get("tag", []), claimed, wheel.budget)


def _wheel_fields(document: str) -> Mapping[str, list[str]]:
    """Return the values of each field, as pip reads them: those before the first line that is not a field."""
    return _kept_fields(document) if len(document) <= LONGEST_KEPT else _read_fields(document)


def _read_fields(document: str) -> Mapping[str, list[str]]:
    fields: dict[str, list[str]] = {}
    for name, value in HeaderParser().parsestr(document).items():
        fields.setdefault(name.lower(), []).append(value.strip())
    return fields


_kept_fields = lru_cache(64)(_read_fields)  # build tools write the same few lines into most wheels


def _contradictions(fields: Mapping[str, list[str]]) -> Iterator[Finding]:
    """Yield the fields that installers read and that have several values."""
    for field in ("Wheel-Version", "Root-Is-Purelib"):
        values = fields.get(field.lower(), [])
        if len({value.lower() for value in values}) > 1:
            yield Check.WHEEL_AMBIGUOUS.found(f"WHEEL: {field}", ", ".join(values), "there once")


def _wrong_tags(lines: list[str], claimed: ParsedFilename | None, budget: Budget) -> Iterator[Finding]:
    def found(value: str, expected: str) -> Finding:
        return Check.WHEEL_TAG.found("WHEEL: Tag", value, expected)

    count = sum(math.prod(part.count(".") + 1 for part in line.split("-")) for line in lines)
    if count > MAX_TAGS:
        yield found(f"more than {MAX_TAGS} tags", "one line for each tag of the file name")
        return
    budget.add_tags(count)
    parsed = {line: _parsed(line) for line in lines}
    malformed = [line for line, tags in parsed.items() if not tags]
    for line in malformed:
        yield found(line, "<python>-<abi>-<platform>")
    if not lines:
        yield found("", "one line for each tag of the file name")
    elif claimed is not None and not malformed:
        stated = ", ".join(lines)
        listed = _Tags(frozenset[Tag]().union(*parsed.values()))
        for tag in sorted(claimed.tags - listed.tags, key=str):
            if not listed.allows_renaming_to(tag):
                yield found(stated, f"one line for each tag of the file name, also {tag}")


def _parsed(line: str) -> frozenset[Tag]:
    """Return the tags in a line; none if it is malformed."""
    try:
        return parse_tag(line)
    except ValueError:
        return frozenset()


class _Tags:
    """The tags in a ``WHEEL``, and the other tags that a wheel's name can have instead.

    Wheels are renamed after the build, and tools seldom update ``WHEEL`` then: a Linux build gets the manylinux
    policies it complies with, a macOS build other versions, a build for any platform the platform of the binaries it
    contains, and an ABI tag is dropped or added. All of these are accepted; a different interpreter, ABI, or operating
    system means a different build.
    """

    def __init__(self, tags: frozenset[Tag]) -> None:
        self.tags = tags
        self._builds = {(tag.interpreter, tag.abi, _system(tag.platform)) for tag in self.tags}
        self._of_any_abi = {(interpreter, system) for interpreter, _, system in self._builds}

    def allows_renaming_to(self, tag: Tag) -> bool:
        systems = {_system(tag.platform), "any"}
        if tag.abi == "none":
            return any((tag.interpreter, system) in self._of_any_abi for system in systems)
        return any((tag.interpreter, abi, system) in self._builds for abi in (tag.abi, "none") for system in systems)


def _system(platform: str) -> str:
    """Return the part of a platform that renaming must preserve: on Linux the architecture, on macOS only its name."""
    if match := _LINUX.fullmatch(platform):
        return f"linux_{match[1]}"
    return "macosx" if platform.startswith("macosx_") else platform


class _Line(NamedTuple):
    """What ``RECORD`` states about a file.

    :ivar digest: with its algorithm; empty if it is missing, like the size.
    :ivar number: the number of the line.
    :ivar has_path: whether the path is beyond doubt, as the line has three columns.
    """

    digest: str
    size: str
    number: int
    has_path: bool

    @property
    def algorithm(self) -> str:
        """The name of the algorithm in ``hashlib``, whatever its spelling; empty if it is unknown."""
        spelled = self.digest.partition("=")[0]
        return spelled if spelled in _NAMES else _ALGORITHMS.get(_PUNCTUATION.sub("", spelled.lower()), "")

    @property
    def stated(self) -> str:
        """The digest without its algorithm."""
        return self.digest.partition("=")[2].strip()

    def has_digest_of(self, other: _Line) -> bool:
        """Return whether both lines state the same digest, whatever its spelling."""
        return self.algorithm == other.algorithm and not _readings(self.stated).isdisjoint(_readings(other.stated))


def wrong_record(wheel: Zip, folder: str) -> Iterator[Finding]:
    """Yield the faults of ``RECORD``, and its differences from the wheel's files in names, sizes, and digests.

    Reads the entire wheel.

    :raises InvalidDistribution: a file is damaged.
    """
    unrecorded = {f"{folder}/{name}" for name in _UNRECORDED}
    recorded: dict[str, _Line] = {}
    document = wheel.read(f"{folder}/RECORD", MAX_RECORD_BYTES)
    wheel.budget.add_record(document)
    yield from _read_lines(document, recorded)
    own = recorded.get(f"{folder}/RECORD")
    if own is not None and own.digest:
        yield Check.RECORD_OWN_DIGEST.found("RECORD", f"RECORD with {own.digest}", "no digest of itself")
    present = set(wheel.files)
    for path in sorted(present - recorded.keys() - unrecorded):
        yield Check.RECORD_WITHOUT.found("RECORD", f"without {path}", "a line for every file of the wheel")
    for path in sorted(recorded.keys() - present):
        if recorded[path].has_path:
            yield Check.RECORD_ABSENT.found("RECORD", path, "a file of the wheel")
    is_read = wheel.unpacked_size <= MAX_DIGESTED_BYTES
    for path in sorted(recorded.keys() & present - unrecorded):
        yield from _wrong_line(wheel, path, recorded[path], is_read=is_read)


def _read_lines(document: bytes, recorded: dict[str, _Line]) -> Iterator[Finding]:
    """Add the lines of ``RECORD`` to ``recorded`` by path, and yield their faults.

    :raises InvalidDistribution: ``RECORD`` is not a table in UTF-8, or has too many lines.
    """
    for number, row in _rows(document):
        if len(row) != 3:
            value = f"line {number}: {','.join(row) or 'empty'}"
            expected = "<path>,<algorithm>=<digest>,<size>, with the path in quotes if it contains a comma"
            yield Check.RECORD_COLUMNS.found("RECORD", value, expected)
        if row:
            yield from _add_line(*_three_columns(row, number), recorded)


def _rows(document: bytes) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of ``RECORD`` with the number of the line at which each ends."""
    if b"\0" in document:
        number = document[: document.index(b"\0")].count(b"\n") + 1
        raise _bad_record(f"a NUL character in line {number}", "text without NUL characters")
    rows = csv.reader(io.TextIOWrapper(io.BytesIO(document), "utf-8", newline=""))
    try:
        for count, row in enumerate(rows, 1):
            if count > MAX_MEMBERS:
                raise _bad_record(f"more than {MAX_MEMBERS} lines", "one line for each file")
            yield rows.line_num, row
    except UnicodeDecodeError:
        _text("RECORD", document)  # raises the refusal
    except csv.Error:
        found = f"something else behind line {rows.line_num}"
        raise _bad_record(found, "lines of <path>,<algorithm>=<digest>,<size>") from None


def _bad_record(found: str, expected: str) -> InvalidDistribution:
    return InvalidDistribution(Problem("RECORD", found, expected))


def _three_columns(row: list[str], number: int) -> tuple[str, _Line]:
    """Return the path and the rest of a row; excess commas belong to the path, as digests and sizes have none."""
    path, digest, size = (",".join(row[:-2]), *row[-2:]) if len(row) > 3 else [*row, "", ""][:3]
    return path, _Line(digest, size, number, has_path=len(row) == 3)


def _add_line(spelled: str, line: _Line, recorded: dict[str, _Line]) -> Iterator[Finding]:
    slashed = spelled.replace("\\", "/")
    if archives.leads_outside(slashed):
        yield Check.RECORD_OUTSIDE.found("RECORD", spelled, "a path within the wheel")
        return
    path = archives.plain_path(slashed)
    if path != spelled.removesuffix("/"):
        yield Check.RECORD_PATH.found("RECORD", spelled, "a plain relative path, with / between folders")
    known = recorded.setdefault(path, line)
    if (known.digest, known.size) == (line.digest, line.size):
        return
    yield _two_lines(path, known, line)
    if not known.digest:
        recorded[path] = line


def _two_lines(path: str, known: _Line, line: _Line) -> Finding:
    contradicts = known.digest and line.digest and not known.has_digest_of(line)
    check = Check.RECORD_TWO_DIGESTS if contradicts else Check.RECORD_TWO_LINES
    value = f"line {line.number}: {path},{line.digest},{line.size}"
    return check.found(
        "RECORD", value, f"{quoted(f'{known.digest},{known.size}')} as in line {known.number}, or no line"
    )


def _wrong_line(wheel: Zip, path: str, line: _Line, *, is_read: bool) -> Iterator[Finding]:
    """Yield the differences between a line of ``RECORD`` and the file.

    :param is_read: whether the content is compared with the digest.
    """
    algorithm, stated = line.algorithm, line.stated
    value = f"{path} with {line.digest or 'no digest'}"
    if not stated:
        yield Check.RECORD_NO_DIGEST.found("RECORD", value, _STRONG_DIGEST)
    elif not algorithm or algorithm in _TOO_WEAK:
        yield Check.RECORD_ALGORITHM.found("RECORD", value, _STRONG_DIGEST)
    is_compared = bool(stated and algorithm) and is_read
    if is_compared:
        readings = _readings(stated)
        true = _digest_in(readings, wheel, path, algorithm)
        canonical = f"{algorithm}={_encoded(true)}"
        if true not in readings:
            yield Check.RECORD_DIGEST.found("RECORD", value, f"the digest of the file, {canonical}")
        elif line.digest != canonical:
            yield Check.RECORD_SPELLING.found("RECORD", value, f"the same digest spelled {canonical}")
    size = wheel.entries[path].size
    if line.size and line.size != str(size):
        check = Check.RECORD_SIZE if is_compared else Check.RECORD_SIZE_ALONE
        yield check.found("RECORD", f"{path} of {line.size} bytes", f"the size of the file, {size} bytes")


def _digest_in(readings: Collection[bytes], wheel: Zip, path: str, algorithm: str) -> bytes:
    """Return the digest of a file; of those of any length, the one in ``readings``, if one of them is true."""
    computed: Any = hashlib.new(algorithm, usedforsecurity=False)
    for chunk in wheel.chunks(path):
        computed.update(chunk)
    if algorithm not in _OF_ANY_LENGTH:
        return bytes(computed.digest())
    digests: list[bytes] = [computed.digest(len(reading)) for reading in readings if reading]
    return next((digest for digest in digests if digest in readings), computed.digest(_SHAKE_BYTES))


def _encoded(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _readings(stated: str) -> set[bytes]:
    """Return what a text means as a digest: in base64, of either alphabet and padded or not, or in hexadecimal."""
    standard = stated.rstrip("=").replace("-", "+").replace("_", "/")
    readings = set()
    with contextlib.suppress(ValueError):
        readings.add(binascii.a2b_base64(standard + "=" * (-len(standard) % 4), strict_mode=True))
    if _HEXADECIMAL.fullmatch(stated):
        readings.add(bytes.fromhex(stated))
    return readings


def _text(name: str, document: bytes) -> str:
    try:
        return document.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidDistribution(Problem(name, f"other bytes at {error.start}", "text in UTF-8")) from None
