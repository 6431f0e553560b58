"""The registry as a distribution: its name, and the installed version."""

from __future__ import annotations

from functools import cache
from importlib import metadata

DISTRIBUTION = "private-pypi-registry"  # as in pyproject.toml


@cache
def installed_version() -> str:
    return metadata.version(DISTRIBUTION)
