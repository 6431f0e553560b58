"""The packages and versions to import, as the caller names them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version

from registry.domain.distributions import filenames
from registry.errors import SourceError

_SELECTION = re.compile(r"(?P<name>[^=\s]+)(?:==(?P<version>[^=\s]+))?")


@dataclass(frozen=True)
class Selection:
    """A package name, and its versions to import; empty for all versions."""

    name: NormalizedName
    versions: frozenset[Version] = frozenset()


def parse_selections(texts: Iterable[str]) -> list[Selection]:
    """Parse texts of the form ``name`` and ``name==version`` into one selection per name.

    A name without a version selects all of its versions.

    :raises SourceError: a text has neither form.
    """
    found: dict[NormalizedName, set[Version]] = {}
    whole: set[NormalizedName] = set()
    for text in texts:
        match = _SELECTION.fullmatch("".join(text.split()))
        version = filenames.version(match["version"]) if match and match["version"] else None
        if match is None or not filenames.is_valid_name(match["name"]) or (match["version"] and version is None):
            raise SourceError(f"{text[:300]!r} is neither a package name nor a name and version such as demo==1.0")
        name = canonicalize_name(match["name"])
        found.setdefault(name, set()).update({version} if version else ())
        whole.update(() if version else {name})
    return [Selection(name, frozenset() if name in whole else frozenset(versions)) for name, versions in found.items()]
