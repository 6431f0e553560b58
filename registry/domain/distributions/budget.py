"""How much of a file one examination parses.

Everything that is parsed is counted before it is, at its usual price in processor time on one core, and an examination
spends at most ``SECONDS`` altogether. Bounds on number, length, and nesting keep single parts far from that, and memory
small. Reading, unpacking, and digesting are not counted. Well-known packages need less than a tenth of the budget.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable

from registry.errors import InvalidDistribution

MIB = 1024 * 1024
SECONDS = 2.0

# Archives.
MAX_MEMBERS = 100_000
MAX_LINKS = 10_000
MAX_PATHS_LENGTH = 32 * MIB  # of all members together
MAX_FOLDERS = 1_000_000  # in the paths of all members and the targets of all links, or of all lines of RECORD
MAX_NORMALIZED_LENGTH = MIB  # of all paths with other characters than ASCII
MAX_PAX_RECORDS = 500_000  # of all members of a tar file

# Core metadata.
MAX_SYNTAX_CHARACTERS = 512 * 1024  # of all values whose syntax is checked, equal ones counted once
MAX_NESTING = 20  # of parentheses in a value

# Tags. Every combination counts; the largest seen have some 50.
MAX_TAGS = 10_000  # of a WHEEL
MAX_FILENAME_TAGS = 1000

# Prices in microseconds.
_MEMBER = 14.0
_RECORD_LINE = 10.0  # with the digest of its file
_FOLDER = 0.5
_PAX_RECORD = 1.0
_NORMALIZED_CHARACTER = 0.5
_SYNTAX_CHARACTER, _PARENTHESIS = 1.0, 4.0
_FIELD_LINE, _FIELD_CHARACTER = 3.0, 0.02
_TAG = 2.0


class OverBudget(InvalidDistribution):
    """The file has more, or longer, parts than are parsed of any file."""


class Exhausted(OverBudget):
    """The next part would exceed the rest of the budget."""

    def __init__(self) -> None:
        super().__init__(
            f"the file has more to parse than takes {SECONDS:g} s, which exceeds the budget of an examination"
        )


class Budget:
    """The rest of the budget of one examination, and the costs counted so far.

    Every method raises ``Exhausted`` if it counts more than is left.
    """

    def __init__(self, seconds: float = SECONDS) -> None:
        self._left = seconds * 1_000_000  # microseconds
        self._members = self._links = self._folders = self._length = self._records = 0

    def add_members(self, count: int = 1) -> None:
        """Count members, or extended headers of a tar file.

        :raises OverBudget: there are too many.
        """
        self._members += count
        if self._members > MAX_MEMBERS:
            raise _over_budget(f"the archive has more than {MAX_MEMBERS} members")
        self._spend(count * _MEMBER)

    def add_path(self, path: str) -> None:
        """Count a path that is about to be parsed.

        :raises OverBudget: the paths are too long or too deep together.
        """
        folders = path.count("/")
        self._length += len(path)
        self._folders += folders
        if self._length > MAX_PATHS_LENGTH:
            raise _over_budget(f"the archive has paths of more than {MAX_PATHS_LENGTH} characters together")
        if self._folders > MAX_FOLDERS:
            raise _over_budget(f"the archive has more than {MAX_FOLDERS} folders in all paths together")
        self._spend(folders * _FOLDER)

    def add_link(self, target: str) -> None:
        """Count a link; its own path is added before.

        :raises OverBudget: there are too many, or the paths are too long or too deep together.
        """
        self._links += 1
        if self._links > MAX_LINKS:
            raise _over_budget(f"the archive has more than {MAX_LINKS} links")
        self.add_path(target)

    def add_pax_records(self, content: bytes) -> None:
        """Count the records in an extended header of a tar file; each ends with a line break.

        :raises OverBudget: there are too many.
        """
        records = content.count(b"\n")
        self._records += records
        if self._records > MAX_PAX_RECORDS:
            raise _over_budget(f"the tar archive has more than {MAX_PAX_RECORDS} records in extended headers")
        self._spend(records * _PAX_RECORD)

    def add_names(self, paths: Iterable[str]) -> None:
        """Count paths beyond ASCII, which have to be normalized.

        :raises OverBudget: they are too long together.
        """
        length = sum(len(path) for path in paths if not path.isascii())
        if length > MAX_NORMALIZED_LENGTH:
            raise _over_budget(
                f"the archive has paths beyond ASCII of more than {MAX_NORMALIZED_LENGTH} characters together"
            )
        self._spend(length * _NORMALIZED_CHARACTER)

    def add_record(self, document: bytes) -> None:
        """Count the lines of a ``RECORD``, and the folders in its paths.

        :raises OverBudget: there are too many columns or folders.
        """
        folders = document.count(b"/") + document.count(b"\\")
        if folders > MAX_FOLDERS or document.count(b",") > 10 * MAX_MEMBERS:
            raise _over_budget(f"RECORD has more than {MAX_FOLDERS} folders or {10 * MAX_MEMBERS} commas")
        lines = min(MAX_MEMBERS, document.count(b"\n"))
        self._spend(lines * _RECORD_LINE + folders * _FOLDER)

    def add_fields(self, text: str) -> None:
        """Count the lines of a document of fields."""
        self._spend(text.count("\n") * _FIELD_LINE + len(text) * _FIELD_CHARACTER)

    def add_values(self, values: Collection[str]) -> None:
        """Count the values in core metadata whose syntax is checked.

        :param values: different ones.
        :raises OverBudget: they are too long together.
        """
        length = sum(map(len, values))
        if length > MAX_SYNTAX_CHARACTERS:
            raise _over_budget(
                f"the core metadata has over {MAX_SYNTAX_CHARACTERS} characters in requirements and other parsed values"
            )
        self._spend(length * _SYNTAX_CHARACTER + sum(value.count("(") for value in values) * _PARENTHESIS)

    def add_tags(self, count: int) -> None:
        """Count the tags of a ``WHEEL``, of which the caller refuses more than ``MAX_TAGS``."""
        self._spend(count * _TAG)

    def _spend(self, microseconds: float) -> None:
        if microseconds > self._left:
            raise Exhausted
        self._left -= microseconds


def is_nested_too_deeply(value: str) -> bool:
    """Return whether more than ``MAX_NESTING`` parentheses are open at once in a value."""
    if value.count("(") <= MAX_NESTING:
        return False
    depths = itertools.accumulate((character == "(") - (character == ")") for character in value)
    return max(depths) > MAX_NESTING


def _over_budget(found: str) -> OverBudget:
    return OverBudget(f"{found}, which exceeds the budget of an examination")
