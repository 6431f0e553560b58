"""How much of a file one examination parses.

Every bound is checked before what it bounds is parsed, and combines number, length, and nesting. Together they allow
about 2 s of processor time beside reading, unpacking, and digesting; well-known packages need less than a tenth of it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from registry.errors import InvalidDistribution

MIB = 1024 * 1024

# Archives. A member takes some 15 µs, and a folder in its path less than one.
MAX_MEMBERS = 100_000
MAX_LINKS = 10_000
MAX_PATHS_LENGTH = 32 * MIB  # of all members together
MAX_FOLDERS = 1_000_000  # in the paths of all members and the targets of all links, or of all lines of RECORD
MAX_NORMALIZED_LENGTH = MIB  # of all paths with other characters than ASCII; half a microsecond each
MAX_PAX_RECORDS = 500_000  # of all members of a tar file

# Core metadata. A character takes up to 1.6 µs in a requirement of many parentheses, and a third of that in others.
MAX_SYNTAX_CHARACTERS = 512 * 1024  # of all values whose syntax is checked, equal ones counted once
MAX_NESTING = 20  # of parentheses in a value

# Tags take some 2 µs each. Every combination counts; the largest seen have some 50.
MAX_TAGS = 10_000  # of a WHEEL
MAX_FILENAME_TAGS = 1000


class Paths:
    """The paths in an archive, as they are read: their number, length, and depth."""

    def __init__(self) -> None:
        self._members = self._links = self._folders = self._length = self._records = 0

    def add_member(self) -> None:
        """Count a member, or an extended header of a tar file.

        :raises InvalidDistribution: there are too many.
        """
        self._members += 1
        refuse_members(self._members)

    def add(self, path: str) -> None:
        """Count a path that is about to be parsed.

        :raises InvalidDistribution: the paths are too long or too deep together.
        """
        self._length += len(path)
        self._folders += path.count("/")
        if self._length > MAX_PATHS_LENGTH:
            raise _over_budget(f"the archive has paths of more than {MAX_PATHS_LENGTH} characters together")
        if self._folders > MAX_FOLDERS:
            raise _over_budget(f"the archive has more than {MAX_FOLDERS} folders in all paths together")

    def add_link(self, target: str) -> None:
        """Count a link; its own path is added before.

        :raises InvalidDistribution: there are too many, or the paths are too long or too deep together.
        """
        self._links += 1
        if self._links > MAX_LINKS:
            raise _over_budget(f"the archive has more than {MAX_LINKS} links")
        self.add(target)

    def add_pax_records(self, content: bytes) -> None:
        """Count the records in an extended header of a tar file; each ends with a line break.

        :raises InvalidDistribution: there are too many.
        """
        self._records += content.count(b"\n")
        if self._records > MAX_PAX_RECORDS:
            raise _over_budget(f"the tar archive has more than {MAX_PAX_RECORDS} records in extended headers")


def refuse_members(count: int) -> None:
    """Refuse an archive with too many members.

    :raises InvalidDistribution: there are too many.
    """
    if count > MAX_MEMBERS:
        raise _over_budget(f"the archive has more than {MAX_MEMBERS} members")


def refuse_names(paths: Iterable[str]) -> None:
    """Refuse an archive with too long paths beyond ASCII, which have to be normalized.

    :raises InvalidDistribution: the paths are too long together.
    """
    if sum(len(path) for path in paths if not path.isascii()) > MAX_NORMALIZED_LENGTH:
        raise _over_budget(
            f"the archive has paths beyond ASCII of more than {MAX_NORMALIZED_LENGTH} characters together"
        )


def refuse_record(document: bytes) -> None:
    """Refuse a ``RECORD`` with too many columns, or too many folders in its paths.

    :raises InvalidDistribution: there are too many.
    """
    if document.count(b"/") + document.count(b"\\") > MAX_FOLDERS or document.count(b",") > 10 * MAX_MEMBERS:
        raise _over_budget(f"RECORD has more than {MAX_FOLDERS} folders or {10 * MAX_MEMBERS} commas")


def refuse_values(values: Iterable[str]) -> None:
    """Refuse core metadata with too many or too long values whose syntax is checked.

    :param values: different ones.
    :raises InvalidDistribution: it would take too long to parse them.
    """
    if sum(map(len, values)) > MAX_SYNTAX_CHARACTERS:
        found = f"the core metadata has over {MAX_SYNTAX_CHARACTERS} characters in requirements and other parsed values"
        raise _over_budget(found)


def is_nested_too_deeply(value: str) -> bool:
    """Return whether more than ``MAX_NESTING`` parentheses are open at once in a value."""
    if value.count("(") <= MAX_NESTING:
        return False
    depths = itertools.accumulate((character == "(") - (character == ")") for character in value)
    return max(depths) > MAX_NESTING


def _over_budget(found: str) -> InvalidDistribution:
    return InvalidDistribution(f"{found}, which exceeds the budget of an examination")
