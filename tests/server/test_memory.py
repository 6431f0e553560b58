"""How the process obtains memory."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

from registry.server import memory
from tests.acceptance.servers import needs_proc

needs_glibc = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_info"), reason="another C library than glibc")
# Prints the heaps of the C library after several threads have used theirs at the same time.
_COUNT_HEAPS = """
import ctypes, re, runpy, sys, tempfile
from threading import Barrier, Thread

runpy.run_path(sys.argv[1])["use_one_heap"]()
barrier = Barrier(4)

def occupy():
    block = bytearray(100_000)
    barrier.wait()

threads = [Thread(target=occupy) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
library = ctypes.CDLL(None)
library.fdopen.restype = ctypes.c_void_p
with tempfile.TemporaryFile() as file:
    stream = ctypes.c_void_p(library.fdopen(file.fileno(), b"w"))
    library.malloc_info(0, stream)
    library.fflush(stream)
    file.seek(0)
    print(len(re.findall(rb"<heap nr=", file.read())))
"""

# Prints the resident bytes of a process with gaps in its heap, and those after it has returned them.
_RETURN_GAPS = """
import os, runpy, sys

def print_resident_bytes():
    with open("/proc/self/statm") as file:
        print(int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE"))

return_gaps = runpy.run_path(sys.argv[1])["return_gaps"]
blocks = [bytearray(b"block") * 2_000 for _ in range(5_000)]
del blocks[:-1]
print_resident_bytes()
return_gaps()
print_resident_bytes()
"""


@needs_glibc
def test_threads_share_one_heap() -> None:
    assert _printed(_COUNT_HEAPS) == [1]


@needs_glibc
@needs_proc
def test_gaps_in_the_heap_are_returned_to_the_system() -> None:
    before, after = _printed(_RETURN_GAPS)

    assert before - after > 40_000_000


def _printed(code: str) -> list[int]:
    """The numbers that a new process prints."""
    assert memory.__file__ is not None
    output = subprocess.check_output([sys.executable, "-c", code, str(Path(memory.__file__))], text=True)
    return [int(line) for line in output.splitlines()]
