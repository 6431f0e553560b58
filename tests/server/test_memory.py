"""How the process obtains memory."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

from registry.server import memory

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


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_info"), reason="another C library than glibc")
def test_threads_share_one_heap() -> None:
    assert memory.__file__ is not None

    output = subprocess.check_output([sys.executable, "-c", _COUNT_HEAPS, str(Path(memory.__file__))], text=True)

    assert output.strip() == "1"
