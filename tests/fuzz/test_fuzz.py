"""Any bytes at all, made from valid inputs: see ``python -m tests.fuzz`` for longer runs."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(600)]
FUZZ = settings(deadline=None, suppress_health_check=list(HealthCheck))


@st.composite
def inputs(draw: st.DrawFn, target: Target) -> bytes:
    """A seed with parts overwritten, removed, repeated, or inserted; rarely bytes of any kind."""
    content = bytearray(draw(st.sampled_from(target.seeds)))
    for _ in range(draw(st.integers(1, 5))):
        start = draw(st.integers(0, len(content)))
        stop = start + draw(st.sampled_from([0, 0, 1, 2, 4, 8, 32, 512]))
        repeated = st.just(bytes(content[start:stop]) * 2)
        content[start:stop] = draw(st.one_of(st.sampled_from(target.pieces), st.binary(max_size=8), repeated))
    return bytes(content)


@pytest.mark.parametrize("name", TARGETS)
def test_any_bytes_are_read_rightly_or_refused(name: str, pytestconfig: pytest.Config) -> None:
    target = TARGETS[name]

    @settings(FUZZ, max_examples=pytestconfig.getoption("fuzz_examples"))
    @given(inputs(target))
    def check(data: bytes) -> None:
        target.check(data)

    check()
