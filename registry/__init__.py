"""The registry: ``create_app`` makes the application, ``program`` serves it."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flask import Flask


def create_app(overrides: Mapping[str, Any] | None = None, *, creates_instance: bool = True) -> Flask:
    """Create the WSGI application, as documented in ``factory``."""
    from registry import factory  # takes most of a second, which ``flask --help`` and others do without

    return factory.create_app(overrides, creates_instance=creates_instance)


def serve() -> int:
    """Serve the registry until it is stopped, as documented in ``program``; return the exit status."""
    gc.disable()  # to look for garbage again and again among all that modules consist of took a tenth of the start
    from registry import program  # takes most of a second, which commands do without

    gc.freeze()
    gc.enable()
    return program.main()
