"""The fields of core metadata: since which version there are, and the syntax of their values.

The rules are those of ``packaging.metadata.Metadata``, and ``packaging`` decides on names, requirements, and licenses.
``Metadata`` itself is not used, so that every supported version of it gives the same results: 25.0 does not know the
fields of version 2.5, refuses the charset ``utf-8``, and uses values as format strings in its messages.

PyPA specifications, "Core metadata".
"""

from __future__ import annotations

import keyword
from collections.abc import Callable
from dataclasses import dataclass
from email.message import EmailMessage
from functools import lru_cache
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from packaging.licenses import canonicalize_license_expression
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

VERSIONS = {
    (1, 0): "metadata-version name version platform summary description keywords home-page author author-email license",
    (1, 1): "supported-platform download-url classifier requires provides obsoletes",
    (1, 2): "maintainer maintainer-email requires-dist provides-dist obsoletes-dist requires-python requires-external "
    "project-url",
    (2, 1): "description-content-type provides-extra",
    (2, 2): "dynamic",
    (2, 4): "license-expression license-file",
    (2, 5): "import-name import-namespace",
}
INTRODUCED = {field: version for version, fields in VERSIONS.items() for field in fields.split()}
_NEVER_DYNAMIC = {"metadata-version", "name", "version"}
_CONTENT_TYPES = {"text/plain", "text/x-rst", "text/markdown"}
_VARIANTS = {"GFM", "CommonMark"}
LONGEST_CONTENT_TYPE = 255  # characters; the parser takes the square of the length


@dataclass(frozen=True)
class Syntax:
    """The syntax of a field.

    :ivar expected: what ``accepts`` accepts, in words.
    """

    accepts: Callable[[str], bool]
    expected: str


def is_content_type(value: str) -> bool:
    """Return whether a description can have this content type (Core metadata, "Description-Content-Type")."""
    if len(value) > LONGEST_CONTENT_TYPE:
        return False
    message = EmailMessage()
    try:
        message["Content-Type"] = value
    except (ValueError, IndexError):  # IndexError for parameters such as "x*" (RFC 2231)
        return False
    header: Any = message["Content-Type"]
    content_type, parameters = header.content_type.lower(), header.params
    if header.defects or content_type not in _CONTENT_TYPES or content_type not in value.lower():
        return False
    is_variant = content_type != "text/markdown" or parameters.get("variant", "GFM") in _VARIANTS
    return is_variant and parameters.get("charset", "UTF-8").lower() == "utf-8"


def is_dynamic(value: str) -> bool:
    return value.lower() in INTRODUCED.keys() - _NEVER_DYNAMIC


def is_import_name(value: str) -> bool:
    name, semicolon, option = value.partition(";")
    if semicolon and option.lstrip() != "private":
        return False
    return all(part.isidentifier() and not keyword.iskeyword(part) for part in name.rstrip().split("."))


def is_license_file(value: str) -> bool:
    windows = PureWindowsPath(value)
    is_absolute = PurePosixPath(value).is_absolute() or windows.is_absolute() or bool(windows.drive)
    return not is_absolute and ".." not in value and "*" not in value and windows.as_posix() == value


def is_one_line(value: str) -> bool:
    return "\n" not in value


def is_parsed_by(parse: Callable[[str], object]) -> Callable[[str], bool]:
    """Return a function that returns whether a parser accepts a value; parsers refuse with a ``ValueError``."""

    def is_parsed(value: str) -> bool:
        try:
            parse(value)
        except (ValueError, RecursionError, MemoryError):  # the last two for parentheses nested too deeply
            return False
        return True

    return is_parsed


LONGEST_KEPT = 500  # characters


def requirement(value: str) -> Requirement:
    """Parse a requirement, or return it as parsed before: the versions of a package mostly have the same.

    :raises ValueError: it is not valid.
    """
    return _kept_requirement(value) if len(value) <= LONGEST_KEPT else Requirement(value)


@lru_cache(1024)
def _kept_requirement(value: str) -> Requirement:
    return Requirement(value)


def _valid_name(value: str) -> str:
    return canonicalize_name(value, validate=True)


_IMPORT_NAME = Syntax(is_import_name, "a dotted Python name, with '; private' behind it if it is")
SYNTAX = {
    "description-content-type": Syntax(
        is_content_type,
        "text/plain, text/x-rst or text/markdown, with charset UTF-8 and variant GFM or CommonMark if there are any",
    ),
    "dynamic": Syntax(is_dynamic, "a field of core metadata other than Name, Version and Metadata-Version"),
    "import-name": _IMPORT_NAME,
    "import-namespace": _IMPORT_NAME,
    "license-expression": Syntax(is_parsed_by(canonicalize_license_expression), "an SPDX license expression"),
    "license-file": Syntax(is_license_file, "a relative path, with / between folders and without .. and *"),
    "provides-extra": Syntax(
        is_parsed_by(_valid_name), "the name of an extra: ASCII letters, digits and . _ - between letters or digits"
    ),
    "requires-dist": Syntax(is_parsed_by(requirement), "a requirement as in PEP 508"),
    "summary": Syntax(is_one_line, "one line"),
}
