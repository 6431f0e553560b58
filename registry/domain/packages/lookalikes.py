"""Which package names are easily mistaken for each other: by characters that look alike, and by one edit."""

from __future__ import annotations

from collections.abc import Iterable

from registry.domain.patterns import Pattern

_LOOK_ALIKE = str.maketrans({"0": "o", "1": "i", "l": "i"})  # characters that are easily confused with each other
_SKELETON = _LOOK_ALIKE | {ord("-"): ""}
_IN_SKELETONS = "abcdefghijkmnopqrstuvwxyz23456789"
LONGEST_COMPARED = 64  # characters of a skeleton; there are about 70 neighbors for each
SHORTEST_PREFIX = 3  # with which names are compared: of shorter ones, nearly all names are one edit away


def skeleton(normalized_name: str) -> str:
    """Return a name without hyphens, with characters that look alike replaced by the same one."""
    return normalized_name.translate(_SKELETON)


def neighbors(of_skeleton: str) -> set[str]:
    """Return a skeleton with all that differ from it by one insertion, deletion, replacement, or swap."""
    splits = [(of_skeleton[:place], of_skeleton[place:]) for place in range(len(of_skeleton) + 1)]
    shorter = [(before, after[1:]) for before, after in splits if after]
    found = {of_skeleton, *(before + after for before, after in shorter)}
    found.update([before + after[1] + after[0] + after[2:] for before, after in splits if len(after) > 1])
    # Most of them: comprehensions take half the time of generators.
    found.update([character.join(halves) for halves in splits for character in _IN_SKELETONS])
    found.update([character.join(halves) for halves in shorter for character in _IN_SKELETONS])
    return found


def nearly_matched(normalized_name: str, patterns: Iterable[Pattern]) -> Pattern | None:
    """Return the first pattern of reserved names that a name misses by one edit; ``None`` if it matches one.

    Names are compared by their skeletons, and prefixes with the beginning of the name, of which the hyphens count.
    """
    nearest = None
    own, folded = skeleton(normalized_name), normalized_name.translate(_LOOK_ALIKE)
    for pattern in patterns:
        if pattern.matches_name(normalized_name):
            return None
        if nearest is not None:
            continue
        if pattern.is_prefix:
            prefix = pattern.name.translate(_LOOK_ALIKE)
            lengths = range(len(prefix) - 1, len(prefix) + 2) if len(prefix) >= SHORTEST_PREFIX else ()
            is_near = any(_differ_by_one_edit(folded[:length], prefix) for length in lengths)
        else:
            is_near = _differ_by_one_edit(own, skeleton(pattern.name))
        nearest = pattern if is_near else None
    return nearest


def _differ_by_one_edit(one: str, other: str) -> bool:
    """Return whether texts differ by at most one insertion, deletion, replacement, or swap of neighbors."""
    if abs(len(one) - len(other)) > 1:
        return False
    start = _common_length(one, other)
    end = _common_length(one[start:][::-1], other[start:][::-1])
    one, other = one[start : len(one) - end], other[start : len(other) - end]
    return max(len(one), len(other)) <= 1 or (len(one) == 2 and one == other[::-1])


def _common_length(one: str, other: str) -> int:
    """Return how many characters two texts have in common at their beginning."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (mine, theirs) in pairs if mine != theirs), min(len(one), len(other)))
