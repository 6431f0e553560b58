"""The registry: ``create_app`` makes the application, ``program`` serves it."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flask import Flask


def create_app(overrides: Mapping[str, Any] | None = None, *, creates_instance: bool = True) -> Flask:
    """Create the WSGI application, as documented in ``factory``."""
    from registry import factory  # takes most of a second, which ``flask --help`` and others do without

    return factory.create_app(overrides, creates_instance=creates_instance)


def serve() -> int:
    """Serve the registry until it is stopped, as documented in ``program``; return the exit status.

    Until it serves, Ctrl-C ends the process at once, as SIGTERM does, and without Python's traceback.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _open_closed_streams()
    gc.disable()  # to look for garbage again and again among all that modules consist of took a tenth of the start
    from registry import program  # takes most of a second, which commands do without

    gc.freeze()
    gc.enable()
    return program.main()


def _open_closed_streams() -> None:
    """Open the standard streams that the process was started without, so that no other file gets their descriptors.

    A library that writes an error there would write it into that file, such as the database.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - stays open
