"""Values for the sentences of refusals."""

from __future__ import annotations

from string import Formatter

from registry.errors import Code
from registry.models import Role

NUMBERS = {"maximum", "minimum", "limit", "seconds"}


def values_of(code: Code) -> dict[str, object]:
    """Some value for each name in a code's sentence."""
    names = (name.partition(".") for _, name, _, _ in Formatter().parse(code.value) if name)
    return {
        name: Role.DEVELOPER if attribute else 7 if name in NUMBERS else f"the-{name}" for name, _, attribute in names
    }
