"""What holds for members of every archive, and what may be unpacked from one at all.

Zip files (``zip_files``) and gzipped tar files (``tar_files``) are read without unpacking anything to disk, and without
knowing anything of Python packaging. Both formats allow archives that different readers interpret differently (members
hidden after, between, or before others; contradictory headers; names that leave the folder), and installers do differ.
Archives are therefore read strictly by their standard, and every ambiguity is refused, so that any tool that unpacks an
archive later gets the files that were checked here.

Memory is bounded for any input. Refusals are an ``InvalidDistribution`` whose reason names the value.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from registry.domain.distributions.budget import MIB, Budget
from registry.errors import InvalidDistribution, quoted

MAX_NAME_LENGTH = 4096  # PATH_MAX on Linux
MAX_DEPTH = 64  # of folders; each one is looked up among the links
MAX_UNPACKED_BYTES = 32 * 1024 * MIB
# Deflate compresses constant bytes 1032 to 1. Code, text, and binaries stay below 10 and generated tables below 50, so
# a ratio beyond 100 is deliberate. It is harmless as long as the unpacked size is small.
MAX_RATIO = 100
RATIO_FLOOR_BYTES = 64 * MIB
CHUNK_BYTES = 256 * 1024  # that are read, or unpacked, at once

CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f]")
_ABSOLUTE = re.compile(r"/|.:", re.DOTALL)
_MAX_NORMALIZED = 255  # no system allows longer names in a folder; normalizing can take the square of the length


@dataclass(frozen=True)
class TopFolder:
    """The single folder at the top of an archive.

    :ivar content: content of the requested file, which is directly in the folder; ``None`` if the file is missing.
    :ivar files: the paths of all members except folders.
    """

    name: str
    content: bytes | None
    files: frozenset[str]


def safe_path(name: str) -> str:
    """Return the name of a member as a relative path without ``.`` and redundant slashes; empty for the root itself.

    :raises InvalidDistribution: on some system, the name could lead out of the folder that the archive is unpacked
        into; or the name contains control characters.
    """
    if len(name) > MAX_NAME_LENGTH:
        raise bad_member(name, f"has a name of more than {MAX_NAME_LENGTH} characters")
    if CONTROL_CHARACTERS.search(name):
        raise bad_member(name, "has control characters in its name")
    if "\\" in name:
        raise bad_member(name, "has a backslash in its name; folders are separated by /")
    if is_absolute(name):
        raise bad_member(name, "has an absolute path; it must be a relative one")
    parts = parts_of(name)
    if ".." in parts:
        raise bad_member(name, "has .. in its path")
    if len(parts) > MAX_DEPTH:
        raise bad_member(name, f"is more than {MAX_DEPTH} folders deep")
    return "/".join(parts)


def is_absolute(path: str) -> bool:
    """Return whether a path is absolute on any system, or begins with a drive."""
    return _ABSOLUTE.match(path) is not None


def leads_outside(path: str) -> bool:
    """Return whether a path is absolute or has ``..`` in it."""
    return is_absolute(path) or ".." in parts_of(path)


def plain_path(path: str) -> str:
    """Return a path without ``.`` and redundant slashes."""
    return "/".join(parts_of(path))


def parts_of(path: str) -> list[str]:
    """Return the names that a path consists of, without ``.``, and none for redundant slashes."""
    return [part for part in path.split("/") if part not in ("", ".")]


def refuse_outside(path: str, is_folder: bool) -> None:
    """Refuse a member that is neither a top folder nor in one.

    :param path: a safe one.
    :raises InvalidDistribution: the member is such a one.
    """
    if "/" not in path and not is_folder:
        raise bad_member(path, "is outside a top folder")


def top_of(path: str, top: str) -> str:
    """Return the top folder of a member, and ``top`` for the root itself.

    :param path: a safe one.
    :param top: the top folder of the members before it; empty if there are none.
    :raises InvalidDistribution: the member is in another top folder.
    """
    folder = path.partition("/")[0] or top
    if top and folder != top:
        raise InvalidDistribution(f"the archive has {quoted(folder)} beside {quoted(top)}; it must have one top folder")
    return folder


def refuse_bomb(unpacked_size: int, packed_size: int) -> None:
    """Refuse an archive of which too many bytes are, or would be, unpacked.

    :raises InvalidDistribution: there are more than ``MAX_UNPACKED_BYTES``; or more than ``RATIO_FLOOR_BYTES`` and
        ``MAX_RATIO`` times the bytes of the archive.
    """
    limit = min(MAX_UNPACKED_BYTES, max(RATIO_FLOOR_BYTES, MAX_RATIO * packed_size))
    if unpacked_size > limit:
        raise InvalidDistribution(
            f"the archive of {packed_size} bytes unpacks to more than the {limit} bytes allowed for its size"
        )


def refuse_collisions(members: Iterable[tuple[str, bool]], budget: Budget) -> None:
    """Refuse files that cannot be unpacked beside another member on every file system.

    :param members: the path of each member, and whether it is a folder.
    :raises InvalidDistribution: there is such a file.
    :raises OverBudget: the budget does not suffice.
    """
    for path, other in collisions(((path, is_folder, path) for path, is_folder in members), budget):
        raise bad_member(other, f"cannot be unpacked beside {quoted(path)} on every system")


def collisions(members: Iterable[tuple[str, bool, str]], budget: Budget) -> Iterator[tuple[str, str]]:
    """Yield the names of two members of which some file system keeps only one.

    On Windows and macOS, paths that differ only in case are the same; on macOS also those with a composed and a
    decomposed accent, and on Windows those that differ in dots and spaces at the end. Two such folders become one,
    which harms no file.

    :param members: the path to which each is unpacked, whether it is a folder, and its name.
    :raises OverBudget: the budget does not suffice.
    """
    members = list(members)
    budget.add_names(path for path, _, _ in members)
    # A slash becomes the smallest character, so that the content of a folder follows its name immediately.
    folded = sorted((_folded(path), not is_folder, name) for path, is_folder, name in members)
    for (path, is_file, name), (other, other_is_file, other_name) in itertools.pairwise(folded):
        is_same = path == other and (is_file or other_is_file)
        if is_same or (is_file and other.startswith(f"{path}\0")):
            yield name, other_name


def _folded(path: str) -> str:
    if path.isascii() and "./" not in path and " /" not in path and not path.endswith((".", " ")):
        return path.casefold().replace("/", "\0")
    parts = [unicodedata.normalize("NFC", part) if len(part) <= _MAX_NORMALIZED else part for part in path.split("/")]
    return "\0".join(filter(None, (part.rstrip(". ") for part in parts))).casefold()


def bad_member(name: str, fault: str) -> InvalidDistribution:
    """Return the refusal of an archive for one of its members.

    :param fault: what is wrong with it, as the rest of a sentence.
    """
    return InvalidDistribution(f"the archive member {quoted(name)} {fault}")
