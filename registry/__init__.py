"""The registry: ``create_app`` makes the application, ``program`` serves it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flask import Flask


def create_app(overrides: Mapping[str, Any] | None = None, *, creates_instance: bool = True) -> Flask:
    """Create the WSGI application, as documented in ``factory``."""
    from registry import factory  # takes most of a second, which ``flask --help`` and others do without

    return factory.create_app(overrides, creates_instance=creates_instance)
