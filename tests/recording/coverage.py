"""The routes of the application that no step has requested."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote

from werkzeug.exceptions import HTTPException
from werkzeug.routing import MapAdapter, RequestRedirect, Rule

from registry import create_app


def uncovered(sent: Iterable[tuple[str, str]]) -> list[str]:
    """A line for each method of a route that was not requested, as in ``GET /explore``."""
    with tempfile.TemporaryDirectory() as folder:
        app = create_app({"INSTANCE_PATH": Path(folder), "SECRET_KEY": "a key for nothing, long enough to pass"})
        adapter = app.url_map.bind("localhost")
        asked = {route for method, path in set(sent) if (route := _route(adapter, method, path))}
        known = {
            (method, _plain(rule)) for rule in app.url_map.iter_rules() for method in (rule.methods or set())
            if method not in ("HEAD", "OPTIONS")
        }  # fmt: skip
    return [f"{method} {rule}" for method, rule in sorted(known - asked, key=lambda route: route[::-1])]


def _route(adapter: MapAdapter, method: str, path: str) -> tuple[str, str] | None:
    if path.startswith("/api/"):
        path = path.replace("%2F", "\x1f").replace("%2f", "\x1f").rstrip("/")
    try:
        rule, _ = adapter.match(unquote(path), method, return_rule=True)
    except (HTTPException, RequestRedirect):
        return None
    return method, _plain(rule)


def _plain(rule: Rule) -> str:
    """The rule without a slash at its end."""
    return rule.rule.rstrip("/") or "/"
