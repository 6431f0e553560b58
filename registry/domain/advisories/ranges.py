"""Which versions of a package an advisory affects, and which ones fix it (OSV schema, "affected[].ranges[]" fields)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

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
        return parsed in self._listed or any(each.includes(parsed) for each in self._evaluable)

    @cached_property
    def _listed(self) -> frozenset[Version | None]:
        return frozenset(map(_parsed, self.versions))

    @cached_property
    def _evaluable(self) -> list[_Range]:
        return [found for events in self.ranges if (found := _range(events)) is not None]

    @property
    def fixed_in(self) -> list[str]:
        """The versions that fix the problem, one for each branch of development, in ascending order."""
        named = {version for events in self.ranges for kind, version in events if kind == FIXED}
        return sorted((version for version in named if _parsed(version) is not None), key=Version)

    def next_fix(self, version: str) -> str:
        """Return the lowest fixing version above an affected one; empty if there is none."""
        parsed = _parsed(version)
        return next((fix for fix in self.fixed_in if parsed is None or Version(fix) > parsed), "")


@dataclass(frozen=True)
class _Range:
    """A range whose versions are parsed, so that many versions can be looked for.

    :ivar turns: the events but limits: version, kind, and text, in the order of the versions.
    :ivar limits: the versions below one of which it ends; ``None`` if it ends nowhere.
    """

    turns: Sequence[tuple[Version, str, str]]
    limits: Sequence[Version] | None

    def includes(self, version: Version) -> bool:
        """Evaluate the range as the schema's own algorithm does ("Evaluation")."""
        if self.limits is not None and not any(version < limit for limit in self.limits):
            return False
        is_affected = False
        for parsed, kind, text in self.turns:
            if kind == INTRODUCED:
                is_affected = is_affected or text == _BEFORE_ALL or version >= parsed
            elif kind == FIXED:
                is_affected = is_affected and version < parsed
            else:
                is_affected = is_affected and version <= parsed
        return is_affected


def _range(events: Events) -> _Range | None:
    """Return a range to evaluate; ``None`` if an event but a limit has a version that is not valid."""
    limits = [text for kind, text in events if kind == LIMIT]
    turns = [(parsed, kind, text) for kind, text in events if kind != LIMIT and (parsed := _parsed(text)) is not None]
    if len(turns) + len(limits) < len(events):
        return None
    ends = (
        None if not limits or _WITHOUT_END in limits else [limit for limit in map(_parsed, limits) if limit is not None]
    )
    return _Range(sorted(turns, key=_place), ends)


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
