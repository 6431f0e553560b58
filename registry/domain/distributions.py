"""A wheel or an sdist, opened and understood.

Says what a file is by its name (``parse_filename``) and by what it holds (``read``), and refuses one where the two
disagree. Whether anybody may publish it is decided elsewhere.
"""

from __future__ import annotations

import enum
import io
import itertools
import re
from dataclasses import dataclass
from typing import BinaryIO

from packaging.metadata import parse_email
from packaging.utils import NormalizedName, canonicalize_name, is_normalized_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from registry.domain import archives
from registry.domain.archives import quoted
from registry.errors import InvalidDistribution

MAX_METADATA_BYTES = 10 * archives.MIB
# What stands in front of the body is parsed, and a parser's memory grows with its length and its lines, the time also
# with the number of different fields. The standard has some 30 of these; the longest lists of requirements, and
# descriptions kept in a field, stay below 10,000 lines.
MAX_HEAD_LENGTH = 4 * archives.MIB
MAX_HEAD_LINES = 50_000
MAX_DIFFERENT_FIELDS = 100
MAX_VALUE_LENGTH = 255  # of a name and of a version, as in the form of an upload

_FILENAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]{0,254}")
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_METADATA_VERSION = re.compile(r"[12]\.[0-9]{1,2}")
_FIELD_LINE = re.compile(r"[!-9;-~]+:|[ \t]")  # a field, or the next line of a folded one (RFC 5322, section 2.2)
_READ_BY_RESOLVERS = {"name", "version", "requires-dist", "requires-python", "provides-extra"}


class Kind(enum.StrEnum):
    """What a file is, in the words of an upload's ``filetype``."""

    WHEEL = "bdist_wheel"
    SDIST = "sdist"


@dataclass(frozen=True)
class ParsedFilename:
    """What a file's name says it is."""

    kind: Kind
    normalized_name: NormalizedName
    version: Version


@dataclass(frozen=True)
class Distribution:
    """What a file is, in the words of its own core metadata.

    :ivar requires_python: whole, not checked; empty if the file does not say.
    :ivar core_metadata: the ``METADATA`` or ``PKG-INFO`` document, byte for byte.
    :ivar core_metadata_is_final: the document may be announced to clients, which then do not open the file: every
        wheel's, and an sdist's if building cannot change what resolvers read in it (PEP 643, PEP 658).
    """

    filename: str
    kind: Kind
    name: str
    version: str
    normalized_name: NormalizedName
    metadata_version: str
    requires_python: str
    core_metadata: bytes
    core_metadata_is_final: bool


def read(file: BinaryIO, filename: str) -> Distribution:
    """The distribution in a seekable file; where the file stands before does not matter.

    Memory is bounded whatever the size. A tar file is decompressed once from end to end, of a zip file the headers and
    the metadata are read.

    :raises InvalidDistribution: the archive is malformed or unsafe, is no distribution, or not the one its name says.

    PyPA specifications: "Binary distribution format", "Source distribution format", "Core metadata".
    """
    claimed = parse_filename(filename)
    core_metadata = _core_metadata(file, filename, claimed)
    fields = _fields(core_metadata)
    _refuse_disagreement(fields, claimed)
    return Distribution(
        filename=filename,
        kind=claimed.kind,
        name=fields.name,
        version=fields.version,
        normalized_name=claimed.normalized_name,
        metadata_version=fields.metadata_version,
        requires_python=fields.requires_python,
        core_metadata=core_metadata,
        core_metadata_is_final=claimed.kind is Kind.WHEEL or _is_final_in_sdist(fields),
    )


@dataclass(frozen=True)
class Description:
    """What a distribution says about itself at length.

    :ivar content_type: as declared, with parameters; empty if the file does not say.
    """

    text: str
    content_type: str


def description(core_metadata: bytes) -> Description:
    """The description in a core metadata document: its body, or as older tools wrote it, a folded field.

    :raises InvalidDistribution: the document cannot be read.

    PyPA specifications, "Core metadata": Description, Description-Content-Type.
    """
    head = _head(core_metadata)
    fields, _ = parse_email(head)
    body = core_metadata.decode("utf-8")[len(head) :].strip("\r\n")
    folded = re.sub(r"\r?\n(?: {7}\| ?| {8}|\t)?", "\n", fields.get("description", ""))
    return Description(body or folded, fields.get("description_content_type", "").strip())


# File names -----------------------------------------------------------------------------------------------------


def parse_filename(filename: str) -> ParsedFilename:
    """What a file is by its name, in any spelling that PEP 503 and PEP 440 hold equal.

    Between name and version of an sdist stands a dash, but dashes may also stand within both. It is the first one with
    a version behind it that begins with a dotted number (``pkg-1.0-1.tar.gz`` is a post release of ``pkg`` 1.0), and
    if there is none, the last with any version behind it (``pkg-2-1.tar.gz`` is ``pkg-2``).

    :raises InvalidDistribution: it is not the name of a wheel or an sdist.
    """
    if not _FILENAME.fullmatch(filename):
        raise InvalidDistribution(
            f"the file name {quoted(filename)} must be of up to 255 ASCII letters, digits and . _ - + !, "
            "and begin with a letter or digit"
        )
    if filename.endswith(".whl"):
        return _parse_wheel_filename(filename)
    for suffix in (".tar.gz", ".zip"):
        if filename.endswith(suffix):
            return _parse_sdist_filename(filename, filename.removesuffix(suffix))
    raise InvalidDistribution(f"the file name {quoted(filename)} must end in .whl (wheel), .tar.gz or .zip (sdist)")


def _parse_wheel_filename(filename: str) -> ParsedFilename:
    name, _, rest = filename.removesuffix(".whl").partition("-")
    spelled, _, tags = rest.partition("-")
    version = _unescaped_version(spelled)
    if version is None:
        raise InvalidDistribution(
            f"the file name {quoted(filename)} has {quoted(spelled)} where a version as in PEP 440 must be"
        )
    try:
        # With the version in its normal form: older tools wrote any spelling, newer parsers take only this one.
        normalized_name = parse_wheel_filename(f"{name}-{version}-{tags}.whl")[0]
    except ValueError:
        normalized_name = NormalizedName("")
    if not is_normalized_name(normalized_name):
        raise InvalidDistribution(
            f"the file name {quoted(filename)} must be <name>-<version>-<python>-<abi>-<platform>.whl, "
            "with a build number behind the version if there is one"
        )
    return ParsedFilename(Kind.WHEEL, normalized_name, version)


def _parse_sdist_filename(filename: str, stem: str) -> ParsedFilename:
    release = _release(stem)
    if release is None:
        raise InvalidDistribution(
            f"the file name {quoted(filename)} must be <name>-<version>.tar.gz or .zip, with a version as in PEP 440"
        )
    return ParsedFilename(Kind.SDIST, *release)


def _release(stem: str) -> tuple[NormalizedName, Version] | None:
    """Name and version of ``<name>-<version>``; nothing if that is not what it is."""
    parts = stem.split("-")
    versions = {at: version for at in range(1, len(parts)) if (version := _version("-".join(parts[at:])))}
    if not versions:
        return None
    at = next((at for at in versions if "." in parts[at]), max(versions))
    name = "-".join(parts[:at])
    return (canonicalize_name(name), versions[at]) if _NAME.fullmatch(name) else None


def _version(text: str) -> Version | None:
    try:
        return Version(text) if len(text) <= MAX_VALUE_LENGTH else None
    except InvalidVersion:
        return None


def _unescaped_version(text: str) -> Version | None:
    """A version as wheels spell it in names, where ``_`` stands for ``-``."""
    return _version(text.replace("_", "-"))


# What is in the file --------------------------------------------------------------------------------------------


def _core_metadata(file: BinaryIO, filename: str, claimed: ParsedFilename) -> bytes:
    if claimed.kind is Kind.WHEEL:
        return _wheel_metadata(file, claimed)
    return _sdist_metadata(file, filename, claimed)


def _wheel_metadata(file: BinaryIO, claimed: ParsedFilename) -> bytes:
    wheel = archives.open_zip(file)
    folder = _dist_info_folder(wheel, claimed)
    for name in ("METADATA", "WHEEL"):
        if not wheel.has_file(f"{folder}/{name}"):
            raise InvalidDistribution(f"the wheel has no file {name} in {quoted(folder)}")
    return wheel.read(f"{folder}/METADATA", MAX_METADATA_BYTES)


def _dist_info_folder(wheel: archives.Zip, claimed: ParsedFilename) -> str:
    folders = sorted(folder for folder in wheel.folders if folder.lower().endswith(".dist-info"))
    if len(folders) != 1:
        raise InvalidDistribution(f"the wheel must have one .dist-info folder at its top, and has {len(folders)}")
    name, _, version = folders[0].removesuffix(".dist-info").rpartition("-")
    if (canonicalize_name(name), _unescaped_version(version)) != (claimed.normalized_name, claimed.version):
        raise _disagreement("folder", folders[0], claimed)
    return folders[0]


def _sdist_metadata(file: BinaryIO, filename: str, claimed: ParsedFilename) -> bytes:
    if filename.endswith(".zip"):
        top = archives.open_zip(file).read_top_folder("PKG-INFO", MAX_METADATA_BYTES)
    else:
        top = archives.read_tar_gz(file, "PKG-INFO", MAX_METADATA_BYTES)
    if _release(top.name) != (claimed.normalized_name, claimed.version):
        raise _disagreement("top folder", top.name, claimed)
    if top.content is None:
        raise InvalidDistribution(f"the sdist has no file PKG-INFO in its top folder {quoted(top.name)}")
    return top.content


def _disagreement(what: str, value: str, claimed: ParsedFilename) -> InvalidDistribution:
    expected = f"{claimed.normalized_name} {claimed.version}"
    return InvalidDistribution(
        f"the {what} {quoted(value)} is not that of {quoted(expected)}, which the file name says"
    )


# Core metadata --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Fields:
    metadata_version: str
    name: str
    version: str
    requires_python: str
    dynamic: frozenset[str]


def _fields(core_metadata: bytes) -> _Fields:
    parsed, unparsed = parse_email(_head(core_metadata))
    for field in ("metadata-version", "name", "version", "requires-python"):
        if field in unparsed:
            raise InvalidDistribution(f"the core metadata has the field {field.title()} more than once")
    return _Fields(
        metadata_version=parsed.get("metadata_version", "").strip(),
        name=parsed.get("name", "").strip(),
        version=parsed.get("version", "").strip(),
        requires_python=parsed.get("requires_python", "").strip(),
        dynamic=frozenset(field.strip().lower() for field in parsed.get("dynamic", ())),
    )


def _head(core_metadata: bytes) -> str:
    """The fields of a core metadata document without its body, and few enough of them to be parsed."""
    try:
        text = core_metadata.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidDistribution(f"the core metadata is not UTF-8 at byte {error.start}") from None
    lines = itertools.takewhile(_FIELD_LINE.match, io.StringIO(text[:MAX_HEAD_LENGTH], newline=""))
    head = list(itertools.islice(lines, MAX_HEAD_LINES + 1))
    if len(head) > MAX_HEAD_LINES or sum(map(len, head)) == MAX_HEAD_LENGTH:
        raise InvalidDistribution(
            f"the core metadata has over {MAX_HEAD_LINES} lines or {MAX_HEAD_LENGTH} characters in front of its body"
        )
    if len({line.partition(":")[0] for line in head if not line[0].isspace()}) > MAX_DIFFERENT_FIELDS:
        raise InvalidDistribution(f"the core metadata has more than {MAX_DIFFERENT_FIELDS} different fields")
    return "".join(head)


def _refuse_disagreement(fields: _Fields, claimed: ParsedFilename) -> None:
    """Refuse core metadata that is malformed, or is not about what the file name says."""
    if not _METADATA_VERSION.fullmatch(fields.metadata_version):
        raise _wrong_field("Metadata-Version", fields.metadata_version, "1.x or 2.x")
    if not _NAME.fullmatch(fields.name) or len(fields.name) > MAX_VALUE_LENGTH:
        raise _wrong_field("Name", fields.name, "ASCII letters, digits and . _ - between letters or digits")
    if canonicalize_name(fields.name) != claimed.normalized_name:
        raise _wrong_field("Name", fields.name, f"{quoted(claimed.normalized_name)} as in the file name")
    version = _version(fields.version)
    if version is None:
        raise _wrong_field("Version", fields.version, "a version as in PEP 440")
    if version != claimed.version:
        raise _wrong_field("Version", fields.version, f"{quoted(str(claimed.version))} as in the file name")
    if not fields.requires_python.isprintable():
        raise _wrong_field("Requires-Python", fields.requires_python, "one line of printable characters")


def _wrong_field(field: str, value: str, expected: str) -> InvalidDistribution:
    found = quoted(value) if value else "missing"
    return InvalidDistribution(f"the core metadata field {field} is {found}; it must be {expected}")


def _is_final_in_sdist(fields: _Fields) -> bool:
    major, minor = map(int, fields.metadata_version.split("."))
    return (major, minor) >= (2, 2) and fields.dynamic.isdisjoint(_READ_BY_RESOLVERS)
