"""Validation of the parts of a wheel beside its core metadata: the tags in its name, ``WHEEL``, and ``RECORD``.

PyPA specifications, "Binary distribution format", "Platform compatibility tags", "Recording installed projects".
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import math
import re
from collections.abc import Iterator

from packaging.tags import Tag, parse_tag

from registry.domain.distributions import archives
from registry.domain.distributions.archives import MIB, Zip
from registry.domain.distributions.filenames import ParsedFilename
from registry.errors import InvalidDistribution, Problem, quoted

MAX_WHEEL_BYTES = MIB
MAX_TAGS = 10_000  # of a WHEEL, every combination counted; the largest seen have some 50
MAX_RECORD_BYTES = 32 * MIB
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
_VERSION = re.compile(r"[01]\.\d+", re.ASCII)  # installers refuse a new major version
# A file cannot state its own digest, and signatures are made of the finished RECORD.
_UNRECORDED = {"RECORD", "RECORD.jws", "RECORD.p7s"}
_TOO_WEAK = {"md5", "sha1", "sha224", "sha3_224", "shake_128", "shake_256"}
_DIGESTS = hashlib.algorithms_guaranteed - _TOO_WEAK


def unknown_tags(claimed: ParsedFilename) -> Iterator[Problem]:
    """Yield tags in a wheel's name that denote no interpreter, ABI, or platform, so that no client would install it."""
    for part, grammar, expected in (
        ("interpreter", _INTERPRETER, "an interpreter and its version, such as py3 or cp312"),
        ("abi", _ABI, "none, abi3 or the ABI of an interpreter, such as cp312"),
        ("platform", _PLATFORM, "any or a known platform, such as win_amd64, macosx_11_0_arm64, manylinux_2_28_x86_64"),
    ):
        for tag in sorted({getattr(tag, part) for tag in claimed.tags}):
            if not grammar.fullmatch(tag):
                yield Problem(f"{part} tag", tag, expected)


def wrong_wheel_document(wheel: Zip, folder: str, claimed: ParsedFilename | None) -> Iterator[Problem]:
    """Yield the problems for which installers refuse ``WHEEL``, and its disagreements with the file name.

    :raises InvalidDistribution: ``WHEEL`` cannot be read.
    """
    fields = _wheel_fields(wheel.read(f"{folder}/WHEEL", MAX_WHEEL_BYTES))
    version = fields.get("wheel-version", [""])[0]
    if not _VERSION.fullmatch(version):
        yield Problem("WHEEL: Wheel-Version", version, "1.x")
    build = fields.get("build", [""])[0]
    if claimed is not None and build and build != claimed.build:
        yield Problem("WHEEL: Build", build, f"{quoted(claimed.build)} as in the file name")
    yield from _wrong_tags(fields.get("tag", []), claimed)


def _wheel_fields(document: bytes) -> dict[str, list[str]]:
    fields: dict[str, list[str]] = {}
    for line in _text("WHEEL", document).splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip().lower(), []).append(value.strip())
    return fields


def _wrong_tags(lines: list[str], claimed: ParsedFilename | None) -> Iterator[Problem]:
    if sum(math.prod(part.count(".") + 1 for part in line.split("-")) for line in lines) > MAX_TAGS:
        yield Problem("WHEEL: Tag", f"more than {MAX_TAGS} tags", "one line for each tag of the file name")
        return
    parsed = {line: _parsed(line) for line in lines}
    malformed = [line for line, tags in parsed.items() if not tags]
    for line in malformed:
        yield Problem("WHEEL: Tag", line, "<python>-<abi>-<platform>")
    if not lines:
        yield Problem("WHEEL: Tag", "", "one line for each tag of the file name")
    elif claimed is not None and not malformed:
        listed = _Tags(frozenset[Tag]().union(*parsed.values()))
        for tag in sorted(claimed.tags - listed.tags, key=str):
            if not listed.allows_renaming_to(tag):
                yield Problem("WHEEL: Tag", ", ".join(lines), f"one line for each tag of the file name, also {tag}")


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


def wrong_record(wheel: Zip, folder: str) -> Iterator[Problem]:
    """Yield the differences between ``RECORD`` and the wheel's files in names, sizes, and digests.

    Reads the entire wheel.

    :raises InvalidDistribution: a file is damaged, or ``RECORD`` cannot be parsed.
    """
    unrecorded = {f"{folder}/{name}" for name in _UNRECORDED}
    recorded = _record(wheel, folder)
    present = set(wheel.files)
    for path in sorted(present - recorded.keys() - unrecorded):
        yield Problem("RECORD", f"without {path}", "a line for every file of the wheel")
    for path in sorted(recorded.keys() - present):
        yield Problem("RECORD", path, "a file of the wheel")
    is_read = wheel.unpacked_size <= MAX_DIGESTED_BYTES
    for path in sorted(recorded.keys() & present - unrecorded):
        yield from _wrong_entry(wheel, path, *recorded[path], is_read=is_read)


def _record(wheel: Zip, folder: str) -> dict[str, tuple[str, str]]:
    """Return digest and size by path, as spelled in ``RECORD``."""
    document = wheel.read(f"{folder}/RECORD", MAX_RECORD_BYTES)
    recorded: dict[str, tuple[str, str]] = {}
    try:
        for row in csv.reader(io.TextIOWrapper(io.BytesIO(document), "utf-8", newline="")):
            if not row:
                continue
            path, digest, size = row
            if recorded.setdefault(path, (digest, size)) != (digest, size):
                raise _bad_record(f"two different lines for {path}", "one line for each file")
            if len(recorded) > archives.MAX_MEMBERS:
                raise _bad_record(f"more than {archives.MAX_MEMBERS} lines", "one line for each file")
    except (csv.Error, ValueError):
        raise _bad_record("something else", "lines of <path>,<algorithm>=<digest>,<size>") from None
    return recorded


def _bad_record(found: str, expected: str) -> InvalidDistribution:
    return InvalidDistribution(Problem("RECORD", found, expected))


def _wrong_entry(wheel: Zip, path: str, digest: str, size: str, *, is_read: bool) -> Iterator[Problem]:
    if size and size != str(wheel.entries[path].size):
        yield Problem("RECORD", f"{path} of {size} bytes", f"the size of the file, {wheel.entries[path].size} bytes")
    algorithm, _, stated = digest.partition("=")
    if algorithm not in _DIGESTS:
        yield Problem("RECORD", f"{path} with {digest or 'no digest'}", "sha256=<digest>, or a stronger one")
    elif is_read and stated.rstrip("=") != (computed := _digest(wheel, path, algorithm)):
        yield Problem("RECORD", f"{path} with {digest}", f"the digest of the file, {algorithm}={computed}")


def _digest(wheel: Zip, path: str, algorithm: str) -> str:
    computed = hashlib.new(algorithm, usedforsecurity=False)
    for chunk in wheel.chunks(path):
        computed.update(chunk)
    return base64.urlsafe_b64encode(computed.digest()).rstrip(b"=").decode()


def _text(name: str, document: bytes) -> str:
    try:
        return document.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidDistribution(Problem(name, f"other bytes at {error.start}", "text in UTF-8")) from None
