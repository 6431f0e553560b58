"""Which versions of a package an advisory affects, and which ones fix it (OSV schema, "affected[].ranges[]" fields)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from packaging.version import InvalidVersion, Version

# As stored: the events of a range, each with its kind and version, in the order of the record.
Events = Sequence[Sequence[str]]

INTRODUCED, FIXED, LAST_AFFECTED, LIMIT = EVENT_KINDS = ("introduced", "fixed", "last_affected", "limit")
_BEFORE_ALL = "0"  # as an ``introduced`` version
_WITHOUT_END = "*"  # as a ``limit``


@dataclass(frozen=True)
class Affected:
    """The versions of one package that an advisory affects.

    :ivar ranges: of the type ``ECOSYSTEM``, so with versions as in PEP 440; a range with others is ignored.
    :ivar versions: further versions, each on its own.
    """

    ranges: Sequence[Events] = ()
    versions: Sequence[str] = ()

    def includes(self, version: str) -> bool:
        """Return whether a version is affected. A version that is not valid is compared as text."""
        if version in self.versions:
            return True
        parsed = _parsed(version)
        if parsed is None:
            return False
        return any(_parsed(listed) == parsed for listed in self.versions) or any(
            _is_in_range(parsed, events) for events in self.ranges
        )

    @property
    def fixed_in(self) -> list[str]:
        """The versions that fix the problem, one for each branch of development, in ascending order."""
        named = {version for events in self.ranges for kind, version in events if kind == FIXED}
        return sorted((version for version in named if _parsed(version) is not None), key=Version)

    def next_fix(self, version: str) -> str:
        """Return the lowest fixing version above an affected one; empty if there is none."""
        parsed = _parsed(version)
        return next((fix for fix in self.fixed_in if parsed is None or Version(fix) > parsed), "")


def _is_in_range(version: Version, events: Events) -> bool:
    """Evaluate a range as the schema's own algorithm does ("Evaluation")."""
    limits = [text for kind, text in events if kind == LIMIT]
    turns = [(parsed, kind, text) for kind, text in events if kind != LIMIT and (parsed := _parsed(text)) is not None]
    if len(turns) + len(limits) < len(events) or not _is_within(version, limits):
        return False
    is_affected = False
    for parsed, kind, text in sorted(turns, key=_place):
        if kind == INTRODUCED:
            is_affected = is_affected or text == _BEFORE_ALL or version >= parsed
        elif kind == FIXED:
            is_affected = is_affected and version < parsed
        else:
            is_affected = is_affected and version <= parsed
    return is_affected


def _is_within(version: Version, limits: Sequence[str]) -> bool:
    """Return whether a version is below one of the limits, if there are any."""
    parsed = [_parsed(text) for text in limits]
    return not limits or _WITHOUT_END in limits or any(limit is not None and version < limit for limit in parsed)


def _place(turn: tuple[Version, str, str]) -> tuple[bool, Version]:
    """Return the key that sorts events by their versions, with the beginning of all versions first."""
    parsed, kind, text = turn
    return not (kind == INTRODUCED and text == _BEFORE_ALL), parsed


@lru_cache(maxsize=16_384)
def _parsed(text: str) -> Version | None:
    try:
        return Version(text)
    except InvalidVersion:
        return None
