"""The modules of the registry as syntax trees."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import registry

ROOT = Path(registry.__file__).parent.parent


@cache
def trees() -> dict[str, ast.Module]:
    """Each module by its full name; parsed when a test first asks for them."""
    return {_module_name(path): ast.parse(path.read_text()) for path in sorted((ROOT / "registry").rglob("*.py"))}


def _module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
