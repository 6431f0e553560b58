"""The members of a wheel or sdist as a tree with sizes, and the content of one, for pages.

Files are read where they are stored, with bounds on what is read, unpacked, and parsed. Nothing is written to a disk,
links are not followed, and archives in archives are not opened.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, cast

from registry.domain.distributions import tar_files, zip_files
from registry.domain.distributions.budget import MIB, Budget, OverBudget
from registry.domain.distributions.filenames import kind_of
from registry.domain.distributions.zip_files import Entry
from registry.errors import InvalidDistribution

PARSING_SECONDS = 0.5  # of the budget: enough for 30,000 members, three times as many as the largest known wheels have
MOST_READ_BYTES = 128 * MIB  # of one file in the store
MOST_UNPACKED_BYTES = 512 * MIB  # of a gzipped tar file, which has to be unpacked to be listed
MOST_SECONDS = 20  # in all, however slow the store is
MOST_BYTES_OF_FOLDERS = 16 * MIB  # in memory: a few thousand members can have 200,000 folders
_BYTES_OF_MEMBER, _BYTES_OF_FOLDER = 400, 450  # in memory, besides the path


@dataclass(frozen=True, slots=True)
class Member:
    """One member of an archive.

    :ivar path: as valid text; other bytes are replaced.
    :ivar size_bytes: unpacked, as stated by the archive.
    :ivar target: of a link, as it is stated; empty for others.
    :ivar place: where the content is: an entry of a zip file, or the path in a tar file.
    """

    path: str
    size_bytes: int
    is_folder: bool
    target: str
    place: Entry | str

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def checksum(self) -> int | None:
        """The checksum of the content, if the archive states it."""
        return self.place.crc if isinstance(self.place, Entry) else None


@dataclass(slots=True)
class Folder:
    """A folder with its files and subfolders.

    :ivar size_bytes: of all files below, like ``count``, which is their number.
    """

    path: str = ""
    folders: dict[str, Folder] = field(default_factory=dict)
    files: list[Member] = field(default_factory=list)
    size_bytes: int = 0
    count: int = 0

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def children(self) -> list[Folder | Member]:
        """The folders, and then the files, each by name."""
        return [*(self.folders[name] for name in sorted(self.folders)), *sorted(self.files, key=lambda file: file.name)]

    def add(self, member: Member) -> list[Folder]:
        """Add a member below the root, with the folders above it, and return those that are new."""
        *above, name = member.path.split("/")
        folder, added = self, list[Folder]()
        for part in [*above, name] if member.is_folder else above:
            folder._count(member)
            if part not in folder.folders:
                added.append(folder._add_folder(part))
            folder = folder.folders[part]
        if not member.is_folder:
            folder._count(member)
            folder.files.append(member)
        return added

    def _count(self, member: Member) -> None:
        self.size_bytes += member.size_bytes
        self.count += not member.is_folder

    def _add_folder(self, name: str) -> Folder:
        added = self.folders[name] = Folder(f"{self.path}/{name}" if self.path else name)
        return added


@dataclass(frozen=True)
class Listing:
    """All members of an archive, by path, and the folder that contains them.

    :ivar bytes_of_folders: about how many bytes of memory the folders take.
    """

    members: Mapping[str, Member]
    root: Folder
    bytes_of_folders: int

    @property
    def weight(self) -> int:
        """About how many bytes of memory it takes."""
        return sum(_BYTES_OF_MEMBER + 2 * len(path) for path in self.members) + self.bytes_of_folders

    def folder(self, path: str) -> Folder | None:
        """Return the folder at a path, the root for an empty one."""
        folder: Folder | None = self.root
        for part in path.split("/") if path else ():
            folder = None if folder is None else folder.folders.get(part)
        return folder


def listing(file: BinaryIO, filename: str) -> Listing:
    """Return the members of a wheel or sdist: from the end of a zip file, and from all of a gzipped tar file.

    :raises InvalidDistribution: the file is no archive, or is damaged or ambiguous.
    :raises OverBudget: it has too many members or folders, or is too large.
    """
    members: dict[str, Member] = {}
    root, bytes_of_folders = Folder(), 0
    for member in _members(_bounded(file), filename):
        if member.path and member.path not in members:  # replaced bytes can make paths equal
            members[member.path] = member
            bytes_of_folders += sum(_BYTES_OF_FOLDER + 2 * len(folder.path) for folder in root.add(member))
            if bytes_of_folders > MOST_BYTES_OF_FOLDERS:
                raise OverBudget(f"the folders of the archive take more than {MOST_BYTES_OF_FOLDERS} bytes of memory")
    return Listing(members, root, bytes_of_folders)


def _members(file: BinaryIO, filename: str) -> Iterator[Member]:
    if _is_zip(filename):
        for path, entry in zip_files.read_directory(file, Budget(PARSING_SECONDS)).items():
            yield Member(path, entry.size, entry.is_folder, "", entry)
        return
    if file.seek(0, 2) > MOST_READ_BYTES:
        raise OverBudget(f"the archive has more than {MOST_READ_BYTES} bytes")
    for found in tar_files.tar_gz_members(file, Budget(PARSING_SECONDS), MOST_UNPACKED_BYTES):
        yield Member(_text(found.path), found.size, found.is_folder, _text(found.target), found.path)


def _text(path: str) -> str:
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def content(file: BinaryIO, member: Member, limit: int) -> bytes:
    """Return the content of a member that is a file, compared with its checksum if it has one.

    :raises InvalidDistribution: the content is damaged, or larger than ``limit`` bytes.
    :raises OverBudget: too much has to be read to find it.
    """
    file = _bounded(file)
    if isinstance(member.place, Entry):
        return zip_files.read_entry(file, member.path, member.place, limit)
    found = tar_files.read_tar_gz_member(file, member.place, limit, Budget(PARSING_SECONDS), MOST_UNPACKED_BYTES)
    if found is None:
        raise InvalidDistribution(f"the archive has no file {member.path}")
    return found


def start_of_interest(filename: str, size_bytes: int, member: Member | None = None) -> int:
    """Return the offset from which on a file of this size is read, for a listing or the content of a member."""
    if member is not None:
        return member.place.offset if isinstance(member.place, Entry) else 0
    return 0 if filename.endswith(".tar.gz") else max(0, size_bytes - zip_files.LONGEST_END_BYTES)


def decoded(content: bytes) -> str | None:
    """Return content as text; ``None`` if it is not text in UTF-8."""
    if b"\0" in content:
        return None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None


def _is_zip(filename: str) -> bool:
    """Return whether a file of this name is a zip file instead of a gzipped tar file.

    :raises InvalidDistribution: it is neither.
    """
    if kind_of(filename) is None:
        raise InvalidDistribution("the file is neither a wheel nor an sdist")
    return not filename.endswith(".tar.gz")


class _Bounded:
    """Reads a file until a number of bytes was read, or a time has passed."""

    def __init__(self, file: BinaryIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._file, self._clock = file, clock
        self._left, self._end = MOST_READ_BYTES, clock() + MOST_SECONDS
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        """Read like a file.

        :raises OverBudget: a bound was reached.
        """
        if self._clock() > self._end:
            raise OverBudget(f"reading the archive takes more than {MOST_SECONDS} s")
        chunk = self._file.read(size)
        self._left -= len(chunk)
        if self._left < 0:
            raise OverBudget(f"more than {MOST_READ_BYTES} bytes of the archive have to be read")
        return chunk


def _bounded(file: BinaryIO) -> BinaryIO:
    return cast(BinaryIO, _Bounded(file))


def expanded(children: Iterable[Folder | Member], most_rows: int, most_levels: int) -> frozenset[str]:
    """Return the paths of the folders that a page shows with their content, level by level until it has enough rows."""
    level = list(children)
    rows, paths = len(level), set[str]()
    for _ in range(most_levels):
        below: list[Folder | Member] = []
        for folder in level:
            if isinstance(folder, Folder) and rows + len(folder.folders) + len(folder.files) <= most_rows:
                paths.add(folder.path)
                rows += len(folder.folders) + len(folder.files)
                below += folder.folders.values()
        level = below
    return frozenset(paths)
