"""The icons of ``static/icons.svg`` and the templates that show them."""

from __future__ import annotations

import re
from pathlib import Path

from registry.blueprints.ui import frame

ROOT = Path(frame.__file__).parents[3]
ICONS = set(re.findall(r'<symbol id="([^"]+)"', (ROOT / "static" / "icons.svg").read_text()))
LINES = [
    line
    for path in (*(ROOT / "templates").rglob("*.html"), Path(frame.__file__))
    for line in path.read_text().splitlines()
]


def test_every_icon_is_shown_somewhere():
    naming = [line for line in LINES if re.search(r"icon|page\.(empty|confirm)|gettext\(", line)]
    named = {word for line in naming for word in re.findall(r'"([a-z-]+)"', line)}

    assert ICONS - named == set()


def test_every_icon_that_is_shown_exists():
    shown = {name for line in LINES for name in re.findall(r'\bicon\("([^"]+)"\)', line)}

    assert shown - ICONS == set()
    assert shown
