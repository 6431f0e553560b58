"""Reading and validation of core metadata: the ``METADATA`` of a wheel and the ``PKG-INFO`` of an sdist.

Documents are untrusted, so reading them is bounded in memory and time. ``packaging`` implements the rules of the
standard; they are applied field by field and value by value here, so that one response lists every problem.

PyPA specifications, "Core metadata".
"""

from __future__ import annotations

import functools
import io
import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from packaging.metadata import RawMetadata, parse_email
from packaging.specifiers import SpecifierSet

from registry.domain.distributions import filenames
from registry.domain.distributions.budget import MAX_NESTING, MIB, Budget, is_nested_too_deeply
from registry.domain.distributions.fields import INTRODUCED, SYNTAX, VERSIONS
from registry.domain.distributions.gate import Check, Finding
from registry.errors import InvalidDistribution

MAX_BYTES = 10 * MIB
# Everything before the body is parsed. The parser's memory grows with the length and the number of lines, its time also
# with the number of different fields. The standard defines some 30 fields; the longest lists of requirements, and
# descriptions kept in a field, stay below 10,000 lines.
MAX_HEAD_LENGTH = 4 * MIB
MAX_HEAD_LINES = 50_000
MAX_DIFFERENT_FIELDS = 100
MAX_SYNTAX_LENGTH = 10_000  # of a value whose syntax is checked; the longest seen are requirements of some 500
_AT_MOST_LENGTH = f"at most {MAX_SYNTAX_LENGTH} characters long"

_METADATA_VERSION = re.compile(r"([12])\.([0-9]{1,2})")
# A field, or the next line of a folded one (RFC 5322, section 2.2). Installers read on behind the other two lines.
_FIELD_LINE = re.compile(r"[!-9;-~]*:|[ \t]|From ")
_READ_BY_INSTALLERS = {"name", "version", "requires-dist", "requires-python", "provides-extra"}
_OWN_CHECKS = {"metadata_version", "name", "version"}
# Fields whose key in packaging is a plural.
_REPEATED = {
    "classifiers",
    "import_names",
    "import_namespaces",
    "license_files",
    "platforms",
    "project_urls",
    "supported_platforms",
}
_SPECIFIERS = "version specifiers as in PEP 440"
# A specifier such as >=3.7.*, which packaging before 22.0 accepted.
_ORDERED_WILDCARD = re.compile(r"(^|,)\s*([<>]=?)\s*([0-9.]{1,50})\.\*\s*(?=,|$)")
# Fields that packaging 25 does not know, with their key in packaging 26.
_UNKNOWN_BEFORE_26 = {"import-name": "import_names", "import-namespace": "import_namespaces"}
# Old distutils declared 1.0 but wrote fields of 1.1; old wheels declare 2.0, which was never accepted, and mean 2.1.
_MEANT = {(1, 0): (1, 1), (2, 0): (2, 1)}
# setuptools 56 to 76 wrote License-File into Metadata-Version 2.1, three versions before it was standardized.
_EARLY_FIELDS = {"license-file"}


@dataclass(frozen=True)
class Description:
    """The long description of a distribution.

    :ivar content_type: as declared, with parameters; empty if the file declares none.
    """

    text: str
    content_type: str


@dataclass(frozen=True)
class CoreMetadata:
    """A core metadata document with its fields parsed.

    :ivar fields: as ``packaging`` returns them, without the placeholder ``UNKNOWN`` of old tools.
    :ivar malformed: known fields, in lower case, that are repeated or cannot be parsed.
    :ivar end_of_fields: a line that is neither a field nor blank, behind which there are more fields; usually empty.
    """

    document: bytes
    fields: RawMetadata
    malformed: frozenset[str]
    description: Description
    end_of_fields: str = ""

    @property
    def metadata_version(self) -> str:
        return self.fields.get("metadata_version", "")

    @property
    def name(self) -> str:
        return self.fields.get("name", "")

    @property
    def version(self) -> str:
        return self.fields.get("version", "")

    @property
    def requires_python(self) -> str:
        return self.fields.get("requires_python", "")

    @property
    def python_specifiers(self) -> str:
        """The Requires-Python on one line, without ``.*`` where current installers do not accept it.

        pip ignores a constraint that it cannot parse, and would offer the file to every Python.
        """
        return _ORDERED_WILDCARD.sub(_ordered, " ".join(self.requires_python.split()))

    @property
    def version_pair(self) -> tuple[int, int] | None:
        """The major and minor number of the Metadata-Version; ``None`` if its major version is not supported."""
        match = _METADATA_VERSION.fullmatch(self.metadata_version)
        return (int(match[1]), int(match[2])) if match else None

    @property
    def license_files(self) -> list[str]:
        """The paths of the license files that the distribution has to contain."""
        return self.fields.get("license_files", []) if (self.version_pair or (0, 0)) >= (2, 4) else []

    @property
    def is_final_in_sdist(self) -> bool:
        """Whether a build cannot change the fields that resolvers read (PEP 643)."""
        dynamic = {field.strip().lower() for field in self.fields.get("dynamic", [])}
        return (self.version_pair or (0, 0)) >= (2, 2) and dynamic.isdisjoint(_READ_BY_INSTALLERS)


def read(document: bytes, budget: Budget | None = None) -> CoreMetadata:
    """Parse a core metadata document.

    :param budget: of the file that contains it; by default, the document has one of its own.
    :raises InvalidDistribution: the document cannot be parsed, or exceeds a limit.
    :raises Exhausted: the budget does not suffice to parse it, or to check the syntax of its values.
    """
    budget = budget or Budget()
    head = _head(document)
    budget.add_fields(head)
    parsed, unparsed = _parsed(head)
    present = {key: _stripped(value) for key, value in parsed.items()}
    known = {key: value for key, value in present.items() if _field(key) in INTRODUCED}
    fields = {key: value for key, value in known.items() if key in _OWN_CHECKS or value not in ("", "UNKNOWN")}
    budget.add_values(_parsed_values(fields))
    malformed = frozenset(field for field in unparsed if field in INTRODUCED)
    described = _described(document, head, parsed)
    return CoreMetadata(document, cast(RawMetadata, fields), malformed, described, _end_of_fields(document, head))


def _parsed_values(fields: Mapping[str, Any]) -> set[str]:
    """Return the different values whose syntax is checked."""
    checked = [value for key, value in fields.items() if _field(key) in SYNTAX]
    return {item for value in checked for item in (value if isinstance(value, list) else [value])}


def _parsed(head: str) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """Return the parsed fields by their key in ``packaging``, and those that are repeated or cannot be parsed."""
    fields, unparsed = parse_email(head)
    parsed = dict(fields)
    for field, key in _UNKNOWN_BEFORE_26.items():
        if (values := unparsed.pop(field, None)) is not None:
            parsed[key] = [] if values == [""] else values  # empty for a distribution without names to import
    return parsed, unparsed


def description(document: bytes) -> Description:
    """Return the description in a core metadata document: its body or, from older tools, a folded field.

    :raises InvalidDistribution: the document cannot be parsed.
    """
    head = _head(document)
    fields, _ = parse_email(head)
    return _described(document, head, fields)


def _described(document: bytes, head: str, fields: Mapping[str, Any]) -> Description:
    body = document.decode("utf-8")[len(head) :].strip("\r\n")
    folded = re.sub(r"\r?\n(?: {7}\| ?| {8}|\t)?", "\n", fields.get("description", ""))
    return Description(body or folded, fields.get("description_content_type", "").strip())


def _head(document: bytes) -> str:
    """Return the fields of a core metadata document, without its body, within the limits for parsing."""
    try:
        text = document.decode("utf-8")
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


def _end_of_fields(document: bytes, head: str) -> str:
    """Return the first line behind the head, if it is not blank and known fields follow before a blank line."""
    rest = io.StringIO(document.decode("utf-8")[len(head) :][:MAX_HEAD_LENGTH], newline="")
    paragraph = itertools.islice(itertools.takewhile(str.strip, rest), MAX_HEAD_LINES)
    first = next(paragraph, "")
    is_followed = any(line.partition(":")[0].lower() in INTRODUCED for line in paragraph if ":" in line)
    return first.strip() if is_followed else ""


def _stripped(value: Any) -> Any:
    if isinstance(value, list):
        return [item.strip() for item in value]
    return value.strip() if isinstance(value, str) else value


def _ordered(wildcard: re.Match[str]) -> str:
    """Return the specifier that a specifier with ``.*`` means: ``<=3.9.*`` includes all of 3.9."""
    comma, operator, release = wildcard.groups()
    if operator in (">=", "<") or not release.rpartition(".")[2]:
        return f"{comma}{operator}{release}"
    first, dot, last = release.rpartition(".")
    return f"{comma}{'<' if operator == '<=' else '>='}{first}{dot}{int(last) + 1}"


def findings(metadata: CoreMetadata) -> Iterator[Finding]:
    """Yield every violation of the standard in a core metadata document."""
    yield from malformed_fields(metadata)
    yield from fields_behind_the_end(metadata)
    yield from wrong_metadata_version(metadata)
    yield from wrong_name(metadata)
    yield from wrong_version(metadata)
    yield from wrong_syntax(metadata)
    yield from wrong_requires_python(metadata)
    yield from fields_before_their_time(metadata)
    yield from unknown_classifiers(metadata)


def malformed_fields(metadata: CoreMetadata) -> Iterator[Finding]:
    """Yield known fields that are repeated or cannot be parsed."""
    for field in sorted(metadata.malformed):
        check = Check.AMBIGUOUS_FIELD if field in _READ_BY_INSTALLERS else Check.REPEATED_FIELD
        expected = "<label>, <address>, and each label once" if field == "project-url" else "there once, in UTF-8"
        yield check.found(_titled(field), "repeated or malformed", expected)


def fields_behind_the_end(metadata: CoreMetadata) -> Iterator[Finding]:
    """Yield a line that ends the fields, so that those behind it are lost."""
    if metadata.end_of_fields:
        yield Check.LOST_FIELDS.found("core metadata", metadata.end_of_fields, "<field>: <value>, as fields follow it")


def wrong_metadata_version(metadata: CoreMetadata) -> Iterator[Finding]:
    """Yield an unsupported Metadata-Version.

    Newer minor versions are backward compatible by definition and accepted.
    """
    if metadata.version_pair is None and "metadata-version" not in metadata.malformed:
        yield Check.METADATA_VERSION.found("Metadata-Version", metadata.metadata_version, "1.x or 2.x")


def wrong_name(metadata: CoreMetadata) -> Iterator[Finding]:
    if not filenames.is_valid_name(metadata.name) and "name" not in metadata.malformed:
        expected = "up to 255 ASCII letters, digits and . _ - between letters or digits"
        yield Check.NAME.found("Name", metadata.name, expected)


def wrong_version(metadata: CoreMetadata) -> Iterator[Finding]:
    """Yield a version that is not valid (PEP 440).

    Local versions are accepted: PyPI refuses them, but they are meant for private registries.
    """
    if filenames.version(metadata.version) is None and "version" not in metadata.malformed:
        yield Check.VERSION.found("Version", metadata.version, "a version as in PEP 440")


def wrong_requires_python(metadata: CoreMetadata) -> Iterator[Finding]:
    """Yield a Requires-Python that installers do not read, or only some of them."""
    stated, meant = metadata.requires_python, metadata.python_specifiers
    if len(stated) > MAX_SYNTAX_LENGTH:
        yield Check.PYTHON.found("Requires-Python", stated, _AT_MOST_LENGTH)
    elif not meant.isprintable():  # simple pages contain it
        yield Check.PYTHON.found("Requires-Python", stated, "one line of printable characters")
    elif not _are_specifiers(meant):
        yield Check.PYTHON.found("Requires-Python", stated, _SPECIFIERS)
    elif not _are_specifiers(stated):
        yield Check.PYTHON_WILDCARD.found("Requires-Python", stated, f"{_SPECIFIERS}: .* only after == and !=")
    elif not stated.isprintable():
        yield Check.PYTHON_LINES.found("Requires-Python", stated, "one line of printable characters")


def _are_specifiers(text: str) -> bool:
    try:
        SpecifierSet(text)
    except ValueError:  # an InvalidSpecifier, or a number of too many digits
        return False
    return True


def wrong_syntax(metadata: CoreMetadata) -> Iterator[Finding]:
    """Yield values that do not have the syntax of their field.

    Requirements with a direct reference are accepted: PyPI refuses them, but private packages use them. Any Dynamic is
    accepted in a metadata version newer than those listed here, as that version can define new fields.
    """
    values: dict[str, Any] = dict(sorted(metadata.fields.items()))
    is_newer = (metadata.version_pair or (0, 0)) > max(VERSIONS)
    for key, value in values.items():
        field, items = _field(key), value if isinstance(value, list) else [value]
        is_checked = field in SYNTAX and not (field == "dynamic" and is_newer)
        check = Check.REQUIREMENT if field == "requires-dist" else Check.FIELD_SYNTAX
        for item in dict.fromkeys(items) if is_checked else ():
            if len(item) > MAX_SYNTAX_LENGTH:
                yield check.found(_titled(field), item, _AT_MOST_LENGTH)
            elif is_nested_too_deeply(item):
                yield check.found(_titled(field), item, f"at most {MAX_NESTING} nested parentheses")
            elif not SYNTAX[field].accepts(item):
                yield check.found(_titled(field), item, SYNTAX[field].expected)


def fields_before_their_time(metadata: CoreMetadata) -> Iterator[Finding]:
    """Yield fields that were introduced after the document's own Metadata-Version.

    Two deviations of older tools that PyPI accepts are allowed: see ``_MEANT`` and ``_EARLY_FIELDS``.
    """
    stated = metadata.version_pair
    if stated is None:
        return
    for field in sorted(map(_field, metadata.fields)):
        if INTRODUCED[field] > _MEANT.get(stated, stated) and field not in _EARLY_FIELDS:
            needed = f"{_dotted(INTRODUCED[field])} or later, for there is a field {_titled(field)}"
            yield Check.EARLY_FIELD.found("Metadata-Version", metadata.metadata_version, needed)


def unknown_classifiers(metadata: CoreMetadata) -> Iterator[Finding]:
    """Yield classifiers that PyPI does not know.

    Those that begin with ``Private ::`` are accepted: they keep a package from being published on PyPI by accident.
    """
    for classifier in metadata.fields.get("classifiers", []):
        if not classifier.startswith("Private ::") and classifier not in _classifiers():
            yield Check.CLASSIFIER.found("Classifier", classifier, "one of https://pypi.org/classifiers/")


@functools.cache
def _classifiers() -> frozenset[str]:
    from trove_classifiers import all_classifiers  # only files with classifiers need the list

    return frozenset(all_classifiers)


def _field(key: str) -> str:
    """Return the name of the field, in lower case, that ``packaging`` stores under ``key``."""
    return (key.removesuffix("s") if key in _REPEATED else key).replace("_", "-")


def _titled(field: str) -> str:
    return field.title().replace("-Url", "-URL")


def _dotted(version: tuple[int, int]) -> str:
    return "{}.{}".format(*version)
