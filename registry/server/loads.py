"""How many connections each worker has, in memory that all of them see, so that they get about equally many."""

from __future__ import annotations

import mmap
from array import array

WORKERS = 512  # with those that were replaced and finish; further ones do not take part
LEAD_SHARE = 8  # a worker accepts connections until it has an eighth more than another one
_ABSENT = -1


class Loads:
    """The loads of all workers. Has to be created before the first worker is forked."""

    def __init__(self) -> None:
        absent = array("i", [_ABSENT]) * WORKERS
        memory = mmap.mmap(-1, len(absent) * absent.itemsize)
        memory.write(absent)
        self._counts = memoryview(memory).cast("i")
        self._free = list(range(WORKERS))

    def add(self) -> Load | None:
        """Return the load of a new worker, which takes part once it has shared a number."""
        return Load(self._counts, self._free.pop()) if self._free else None

    def remove(self, load: Load | None) -> None:
        """Forget a worker that has ended."""
        if load is not None:
            load.leave()
            self._free.append(load.place)


class Load:
    """The load of one worker.

    All workers on a listening socket wake for a new connection, and whichever accepts first has it. Without regard to
    the others, of eight connections that arrive together one worker often gets six, and a processor is idle.

    :ivar place: the index of its number.
    """

    def __init__(self, counts: memoryview[int], place: int) -> None:
        self.place = place
        self._counts = counts
        self._left_to: list[int] | None = None

    def share(self, count: int) -> None:
        """Let the others see how many connections this worker has."""
        self._counts[self.place] = count

    def leave(self) -> None:
        """Take no part any more."""
        self.share(_ABSENT)

    def leaves_next(self) -> bool:
        """Return whether another worker should accept the next connection, as it has fewer.

        Not if the last one was left to the others as well, and none of them has more or fewer connections since: they
        could be stuck.
        """
        own = self._counts[self.place]
        others = self._counts.tolist()
        others[self.place] = _ABSENT
        least = min((count for count in others if count != _ABSENT), default=own)
        leaves = own > least + own // LEAD_SHARE and others != self._left_to
        self._left_to = others if leaves else None
        return leaves
