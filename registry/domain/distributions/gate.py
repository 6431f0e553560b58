"""Every check of an upload, whether it refuses the file or only remarks on it, and why.

*Refused* is a file that is not what it claims to be, that no installer can read, that is unsafe to unpack, or that
contradicts itself. *Remarked* is any other deviation from a standard or from the rules of PyPI: the file is published,
and the remark is returned and stored. In a strict project, remarks are refusals.

The weights follow what installers do with crafted files. Tried: pip 22.3 and 26.3, uv 0.13, and installer 1.1.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from registry.errors import Problem


class Weight(enum.StrEnum):
    REFUSED = "refused"
    REMARKED = "remarked"


@enum.unique
class Check(enum.Enum):
    """The identity of a check; ``RULES`` has its weight."""

    # Names
    FILE_NAME = "file name"
    UNKNOWN_TAG = "unknown tag in the file name"
    FORM_NAME = "name in the form"
    FORM_VERSION = "version in the form"
    DIST_INFO = "number of .dist-info folders"
    DIST_INFO_NAME = "name of the .dist-info folder"
    TOP_FOLDER = "name of an sdist's top folder"

    # Content
    ARCHIVE = "archive"
    DOCUMENT_MISSING = "METADATA, WHEEL, RECORD, or PKG-INFO"
    DOCUMENT_UNREADABLE = "readable METADATA or PKG-INFO"
    LICENSE_FILE_MISSING = "license files in the archive"

    DATA_SCHEME = "known folders in the .data folder"
    DATA_FOLDER = "other .data folders"
    DATA_TARGET = "two files for one place"
    ENTRY_POINTS_UNREADABLE = "readable entry_points.txt"
    ENTRY_POINTS = "sections and lines of entry_points.txt"
    ENTRY_POINT_NAME = "names of scripts in entry_points.txt"

    # Core metadata
    NAME = "Name"
    VERSION = "Version"
    NAME_DIFFERS = "Name and the file name"
    VERSION_DIFFERS = "Version and the file name"
    REQUIREMENT = "Requires-Dist"
    PYTHON = "Requires-Python"
    PYTHON_WILDCARD = "Requires-Python with .* where it has no meaning"
    PYTHON_LINES = "Requires-Python on several lines"
    AMBIGUOUS_FIELD = "repeated fields that installers read"
    REPEATED_FIELD = "other repeated or malformed fields"
    LOST_FIELDS = "fields after a line that is not a field"
    METADATA_VERSION = "Metadata-Version"
    EARLY_FIELD = "fields newer than the Metadata-Version"
    FIELD_SYNTAX = "syntax of the other fields"
    CLASSIFIER = "known classifiers"
    DESCRIPTION = "rendering of the description"

    # WHEEL
    WHEEL_UNREADABLE = "readable WHEEL"
    WHEEL_VERSION = "Wheel-Version"
    WHEEL_VERSION_SPELLING = "Wheel-Version 1 with a minor number"
    WHEEL_AMBIGUOUS = "repeated Wheel-Version or Root-Is-Purelib"
    WHEEL_BUILD = "Build and the file name"
    WHEEL_TAG = "Tag and the file name"

    # RECORD
    RECORD_UNREADABLE = "readable RECORD"
    RECORD_COLUMNS = "columns of RECORD"
    RECORD_OUTSIDE = "paths in RECORD that lead outside"
    RECORD_PATH = "spelling of paths in RECORD"
    RECORD_TWO_DIGESTS = "two digests for a file in RECORD"
    RECORD_TWO_LINES = "two lines for a file in RECORD"
    RECORD_WITHOUT = "files that are not in RECORD"
    RECORD_ABSENT = "files that are only in RECORD"
    RECORD_DIGEST = "digest in RECORD"
    RECORD_SPELLING = "spelling of digests in RECORD"
    RECORD_NO_DIGEST = "files without a digest in RECORD"
    RECORD_ALGORITHM = "algorithm of digests in RECORD"
    RECORD_OWN_DIGEST = "digest of RECORD itself"
    RECORD_SIZE = "size in RECORD"
    RECORD_SIZE_ALONE = "size in RECORD without a digest that was compared"

    def found(self, field: str, value: str, expected: str, sentence: str = "") -> Finding:
        return Finding(self, Problem(field, value, expected, sentence))


@dataclass(frozen=True)
class Finding:
    """What a check found in a file."""

    check: Check
    problem: Problem

    @property
    def is_refused(self) -> bool:
        return RULES[self.check].weight is Weight.REFUSED


@dataclass(frozen=True)
class Rule:
    """The weight of a check.

    :ivar why: the behavior of installers that decides, or else the standard or rule of PyPI.
    """

    weight: Weight
    why: str


def _refused(why: str) -> Rule:
    return Rule(Weight.REFUSED, why)


def _remarked(why: str) -> Rule:
    return Rule(Weight.REMARKED, why)


RULES: Mapping[Check, Rule] = {
    Check.FILE_NAME: _refused("installers select files by their names"),
    Check.UNKNOWN_TAG: _remarked("PyPI refuses it; installers skip the file"),
    Check.FORM_NAME: _refused("the file is published under this name"),
    Check.FORM_VERSION: _refused("the file is published under this version"),
    Check.DIST_INFO: _refused("pip and uv refuse several, and cannot install a wheel with none"),
    Check.DIST_INFO_NAME: _refused("the file is not what its name claims; pip refuses another name"),
    Check.TOP_FOLDER: _remarked("the standard for sdists; pip and uv build from any folder"),
    Check.ARCHIVE: _refused("tools unpack it differently, or it is unsafe to unpack"),
    Check.DOCUMENT_MISSING: _refused("no installer reads a wheel without it; an sdist has no name and version"),
    Check.DOCUMENT_UNREADABLE: _refused("pip and uv refuse metadata that is not UTF-8; beyond a limit, it is not read"),
    Check.LICENSE_FILE_MISSING: _remarked("PEP 639; PyPI refuses it, and no installer looks"),
    Check.DATA_SCHEME: _refused("pip and uv refuse it"),
    Check.DATA_TARGET: _refused("pip keeps the one of the .data folder, which the registry does not read"),
    Check.DATA_FOLDER: _remarked("pip installs it as its own data, or refuses it; uv and installer keep the folder"),
    Check.ENTRY_POINTS_UNREADABLE: _refused("pip and uv refuse it"),
    Check.ENTRY_POINTS: _remarked("either pip or uv refuses it, and the other reads it or installs no scripts"),
    Check.ENTRY_POINT_NAME: _remarked("uv refuses it; pip writes the script into its own folder"),
    Check.NAME: _refused("pip and uv refuse it"),
    Check.VERSION: _refused("pip and uv refuse it"),
    Check.NAME_DIFFERS: _refused("pip and uv refuse it"),
    Check.VERSION_DIFFERS: _refused("pip and uv refuse it"),
    Check.REQUIREMENT: _refused("pip from 24.1 and uv refuse it"),
    Check.PYTHON: _refused("uv refuses it, and pip ignores it, so that every Python gets the file"),
    Check.PYTHON_WILDCARD: _remarked("pip before 24.1 and uv read it; later versions of pip ignore the field"),
    Check.PYTHON_LINES: _remarked("pip and uv read it"),
    Check.AMBIGUOUS_FIELD: _refused("the file contradicts itself"),
    Check.REPEATED_FIELD: _remarked("core metadata; pip and uv take the first value, or do not read the field"),
    Check.LOST_FIELDS: _remarked("core metadata; pip and uv do not read the fields"),
    Check.METADATA_VERSION: _remarked("core metadata; pip and uv do not read it"),
    Check.EARLY_FIELD: _remarked("core metadata; written by hatchling 1.20 to 1.26, and no installer looks"),
    Check.FIELD_SYNTAX: _remarked("core metadata; PyPI refuses it, and no installer looks"),
    Check.CLASSIFIER: _remarked("PyPI refuses it; no installer looks"),
    Check.DESCRIPTION: _remarked("PyPI refuses it; no installer looks"),
    Check.WHEEL_UNREADABLE: _refused("pip, uv, and installer refuse it"),
    Check.WHEEL_VERSION: _refused("pip, uv, and installer refuse it"),
    Check.WHEEL_VERSION_SPELLING: _remarked("uv and installer refuse it; pip reads it"),
    Check.WHEEL_AMBIGUOUS: _refused("the file contradicts itself"),
    Check.WHEEL_BUILD: _remarked("the standard for wheels; no installer looks"),
    Check.WHEEL_TAG: _remarked("the standard for wheels; pip, uv, and installer read the tags in the file name"),
    Check.RECORD_UNREADABLE: _refused(
        "no installer reads it, and pip with Python before 3.11 no NUL characters; beyond a limit, it is not read"
    ),
    Check.RECORD_COLUMNS: _remarked(
        "pip reads more or fewer than three columns, but fails at empty lines; uv reads those"
    ),
    Check.RECORD_OUTSIDE: _refused("uninstalling the wheel with pip would delete files that are not its own"),
    Check.RECORD_PATH: _remarked("the standard for RECORD; pip, uv, and installer accept it"),
    Check.RECORD_TWO_DIGESTS: _refused("the file contradicts itself, or one of two algorithms is not compared"),
    Check.RECORD_TWO_LINES: _remarked("the standard for RECORD; pip, uv, and installer accept it"),
    Check.RECORD_WITHOUT: _remarked("PyPI refuses it; pip, uv, and installer accept it"),
    Check.RECORD_ABSENT: _remarked("PyPI refuses it; pip, uv, and installer accept it"),
    Check.RECORD_DIGEST: _refused("the file contradicts itself"),
    Check.RECORD_SPELLING: _remarked("the standard for RECORD; pip and uv accept it"),
    Check.RECORD_NO_DIGEST: _remarked("the standard for RECORD; pip, uv, and installer accept it"),
    Check.RECORD_ALGORITHM: _remarked("the standard for RECORD; pip and uv accept it"),
    Check.RECORD_OWN_DIGEST: _remarked("the standard for RECORD; pip and uv accept it"),
    Check.RECORD_SIZE: _remarked("the standard for RECORD; the digest proves the content"),
    Check.RECORD_SIZE_ALONE: _refused("the file contradicts itself"),
}
