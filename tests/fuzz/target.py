"""The shape of a fuzz target: a function that takes any bytes, and fails only if the registry breaks a promise."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Target:
    """Something that reads untrusted bytes.

    :ivar check: raises an exception if the registry raises an undocumented one, or disagrees with another reader.
    :ivar seeds: valid inputs, from which the others are made.
    :ivar pieces: what the format gives a meaning to, and chance would seldom find.
    """

    name: str
    check: Callable[[bytes], object]
    seeds: tuple[bytes, ...]
    pieces: tuple[bytes, ...] = field(default=())


def words(*texts: str | bytes) -> tuple[bytes, ...]:
    return tuple(text.encode() if isinstance(text, str) else text for text in texts)


def lines(texts: Iterable[str]) -> bytes:
    """The texts as the lines of a head in HTTP."""
    return b"".join(f"{text}\r\n".encode("latin-1") for text in texts)
