"""How the process obtains memory from the system."""

from __future__ import annotations

import ctypes
from contextlib import suppress

_ARENA_MAX = -8  # M_ARENA_MAX


def use_one_heap() -> None:
    """Have all threads that start from now on share one heap (mallopt(3), ``M_ARENA_MAX``), with glibc only.

    Otherwise each of them gets its own, up to eight for each processor. A response that one thread made and another one
    removed from the cache leaves a gap that only the first one can fill, so the gaps grow to as much as is cached.
    """
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).mallopt(_ARENA_MAX, 1)


def return_gaps() -> None:
    """Return the memory of gaps in the heap to the system (malloc_trim(3)), with glibc only.

    By itself, the library returns only what is free at the end of the heap. A thread that needs memory meanwhile waits:
    10 MB take 5 ms.
    """
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
