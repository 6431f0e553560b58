"""The modules of the registry as syntax trees."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import registry

ROOT = Path(registry.__file__).parent.parent


@cache
def texts() -> dict[str, str]:
    """The text of each module by its full name."""
    return {_module_name(path): path.read_text() for path in sorted((ROOT / "registry").rglob("*.py"))}


@cache
def trees() -> dict[str, ast.Module]:
    """Each module by its full name; parsed when a test first asks for them."""
    return {module: ast.parse(text) for module, text in texts().items()}


def functions(word: str) -> Iterator[tuple[str, ast.FunctionDef]]:
    """The functions of the modules that contain a word, with the name of the module."""
    for module, text in texts().items():
        if word in text:
            yield from ((module, node) for node in ast.walk(trees()[module]) if isinstance(node, ast.FunctionDef))


def _module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
