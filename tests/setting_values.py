"""A value for each kind of setting that none of them has at first: as JSON, and as a form sends it."""

from __future__ import annotations

from typing import Any

from registry.domain.settings import (
    Creators,
    Days,
    Issuers,
    Kind,
    Moment,
    OneUpstreamMode,
    OneVisibility,
    Patterns,
    Score,
    Setting,
    ShortText,
    SizeLimit,
    Switch,
    Visibilities,
    WholeNumber,
)

_VALUES: dict[type[Kind[Any]], tuple[object, object]] = {
    Creators: (0, "noone"),
    OneVisibility: ("internal", "10"),
    ShortText: ("acme-", "acme-"),
    SizeLimit: (1000, "1000"),
    Visibilities: (["public"], ["public"]),
    Days: (30, "30"),
    WholeNumber: (7, "7"),
    Moment: ("2026-01-01T00:00:00Z", "2026-01-01T00:00"),
    OneUpstreamMode: ("cache", "cache"),
    Score: (7.5, "7.5"),
    Issuers: (["https://gitlab.example.com"], "https://gitlab.example.com"),
    Patterns: (["torch*", "demo"], "torch*\ndemo"),
}


def in_json(described: Setting, before: object) -> object:
    return not before if isinstance(described.kind, Switch) else _VALUES[type(described.kind)][0]


def in_a_form(described: Setting, is_checked: bool) -> object:
    if isinstance(described.kind, Switch):
        return None if is_checked else "y"
    return _VALUES[type(described.kind)][1]
