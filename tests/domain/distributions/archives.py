"""What the tests of zip files and of tar files share."""

import contextlib
import tracemalloc
from collections.abc import Callable

from hypothesis import strategies as st

from registry.errors import InvalidDistribution

MIB = 1024 * 1024
A, B = b"print('a')\n" * 9, b"print('b')\n" * 5
FILES = {"top/a.py": A, "top/b.py": B}


def peak_memory(read: Callable[[], object]) -> int:
    """The most bytes that were allocated at once while an archive was read or refused."""
    tracemalloc.start()
    with contextlib.suppress(InvalidDistribution):
        read()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


@st.composite
def mutations(draw, sources: list[bytes]) -> bytes:
    """One of ``sources`` with a few bytes overwritten, removed, repeated or inserted."""
    content = bytearray(draw(st.sampled_from(sources)))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        stop = start + draw(st.sampled_from([0, 1, 2, 4, 8, 32, 512]))
        repeated = bytes(content[start:stop]) * 2
        telling = st.sampled_from(
            [b"\xff" * 4, b"\xff" * 8, bytes(4), b"PK\x05\x06", b"PK\x01\x02", b"77777777777", b"../"]
        )
        content[start:stop] = draw(st.one_of(st.binary(max_size=8), st.just(repeated), telling))
    return bytes(content)
