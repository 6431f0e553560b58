"""JSON objects of issuers, and the values of claims."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def read_object(text: bytes | str) -> dict[str, Any]:
    """Return a JSON object without duplicate names, in which parsers differ (RFC 8725, section 2.4).

    Its texts can be encoded: half of a surrogate pair is refused (RFC 8259, section 8.2).

    :raises ValueError: the text is something else.
    """
    try:
        found = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
        json.dumps(found, ensure_ascii=False).encode()
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(found, dict):
        raise ValueError("it is not a JSON object")
    return found


def claim_text(value: object) -> str | None:
    """Return the value of a claim as text; ``None`` for a missing value, a list, or an object."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, str | int) else None


def claim_texts(claims: Mapping[str, Any]) -> dict[str, str]:
    """Return the claims whose values are texts, numbers, or truth values, as text."""
    return {name: text for name, value in claims.items() if (text := claim_text(value)) is not None}


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("it has duplicate names")
    return found


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
