"""What is in the files of packages: the tree of their members, and the text of one.

Files are read in the threads of requests, by ``READERS`` of them at a time, one of each caller.
"""

from __future__ import annotations

import enum
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, TypeVar

from registry.domain.distributions import members
from registry.domain.distributions.budget import OverBudget
from registry.domain.distributions.examinations import Turns
from registry.domain.distributions.members import Listing, Member
from registry.domain.packages.index import DownloadableFile
from registry.errors import InvalidDistribution
from registry.storage import ObjectDamaged, ObjectMissing, Storage, object_key

READERS = 2
WAITING = 2
PATIENCE_SECONDS = 5
LONGEST_TEXT_BYTES = 256 * 1024
MOST_KEPT_BYTES = 16 << 20  # of listings in memory

Result = TypeVar("Result")

logger = logging.getLogger(__name__)


class Obstacle(enum.Enum):
    """Why something in a file is not shown."""

    TOO_MUCH = "the file has too many members, or is too large"
    INVALID = "the file is damaged, or cannot be read unambiguously"
    MISSING = "the file is not in the store"
    LINK = "the member is a link, which is not followed"
    LONG = "the member is longer than the part that is shown"
    BINARY = "the member is not text in UTF-8"


class NotShown(Exception):
    """The contents of a file cannot be shown."""

    def __init__(self, obstacle: Obstacle) -> None:
        super().__init__(obstacle.value)
        self.obstacle = obstacle


@dataclass(frozen=True)
class Text:
    """The text of a member, or why it is not shown."""

    member: Member
    text: str = ""
    obstacle: Obstacle | None = None


class Contents:
    """The contents of the files in a store; the listings used last are kept in memory, by digest."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._turns = Turns(READERS, WAITING, PATIENCE_SECONDS)
        self._kept = _Listings()

    def listing(self, file: DownloadableFile, caller: str) -> Listing:
        """Return the members of a file.

        :param caller: each caller has one file read at a time.
        :raises NotShown: it cannot be read within the bounds, or not unambiguously.
        :raises Unavailable: too many files are being read, or the store is not available.
        """
        kept = self._kept.get(file.sha256)
        if kept is not None:
            return kept
        start = members.start_of_interest(file.filename, file.size_bytes)
        with self._turns.taken(caller):
            found = self._read(file, start, lambda opened: members.listing(opened, file.filename))
        self._kept.add(file.sha256, found)
        return found

    def text(self, file: DownloadableFile, member: Member, caller: str) -> Text:
        """Return the text of a member of the file's listing, which is not a folder.

        :raises NotShown: the file cannot be read within the bounds, or not unambiguously.
        :raises Unavailable: too many files are being read, or the store is not available.
        """
        if member.target:
            return Text(member, obstacle=Obstacle.LINK)
        if member.size_bytes > LONGEST_TEXT_BYTES:
            return Text(member, obstacle=Obstacle.LONG)
        start = members.start_of_interest(file.filename, file.size_bytes, member)
        with self._turns.taken(caller):
            content = self._read(file, start, lambda opened: members.content(opened, member, LONGEST_TEXT_BYTES))
        text = members.decoded(content)
        return Text(member, obstacle=Obstacle.BINARY) if text is None else Text(member, text)

    def _read(self, file: DownloadableFile, start: int, read: Callable[[BinaryIO], Result]) -> Result:
        try:
            with self._storage.open(object_key(file.sha256), start) as opened:
                return read(opened)
        except OverBudget as error:
            raise NotShown(Obstacle.TOO_MUCH) from error
        except (InvalidDistribution, ObjectDamaged) as error:
            raise NotShown(Obstacle.INVALID) from error
        except ObjectMissing as error:
            logger.error("The object of a listed file is not in the store: %s", file.sha256)
            raise NotShown(Obstacle.MISSING) from error


class _Listings:
    """The listings that were used last, bounded by the memory they take."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listings = OrderedDict[str, Listing]()
        self._bytes = 0

    def get(self, sha256: str) -> Listing | None:
        with self._lock:
            if sha256 in self._listings:
                self._listings.move_to_end(sha256)
            return self._listings.get(sha256)

    def add(self, sha256: str, listing: Listing) -> None:
        """Keep a listing in place of those that have not been used for longest, unless it is too large itself."""
        weight = listing.weight
        with self._lock:
            if sha256 in self._listings or weight > MOST_KEPT_BYTES:
                return
            self._listings[sha256] = listing
            self._bytes += weight
            while self._bytes > MOST_KEPT_BYTES:
                self._bytes -= self._listings.popitem(last=False)[1].weight
