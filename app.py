"""Entry point: ``python app.py`` serves the registry, and ``flask <group> <command>`` loads the application here."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    import signal

    signal.signal(signal.SIGINT, signal.SIG_DFL)  # as ``registry.serve`` does, which is called after the imports

import click
from flask import Flask
from flask.cli import FlaskGroup

import registry
from registry import cli
from registry.errors import OperatorError, RegistryError


def create_app() -> Flask:
    """Create the application for the ``flask`` command; exit with one sentence instead of a traceback on errors."""
    if _only_finds_commands():
        return cli.Listing(registry.create_app)
    try:
        return registry.create_app(creates_instance=False)
    except (OperatorError, RegistryError) as error:
        sys.exit(f"Error: {error.sentence}")


def main() -> int:
    """Serve the registry; returns the exit status."""
    return registry.serve()


def _only_finds_commands() -> bool:
    """Return whether ``flask`` needs the application only for the groups of commands."""
    context = click.get_current_context(silent=True)
    return context is not None and isinstance(context.command, FlaskGroup)


if __name__ == "__main__":
    sys.exit(main())
