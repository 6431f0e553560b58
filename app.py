"""Entry point: ``python app.py`` serves the registry, and ``flask <group> <command>`` loads the application here."""

from __future__ import annotations

import sys

import click
from flask import Flask
from flask.cli import FlaskGroup

from registry import __main__ as shell
from registry import cli


def create_app() -> Flask:
    """Create the application for the ``flask`` command; without its parts if they are only listed."""
    if _only_lists_commands():
        return cli.listing()
    return shell.create_app()


def main() -> int:
    """Serve the registry; returns the exit status."""
    from registry import program

    return program.main()


def _only_lists_commands() -> bool:
    """Return whether ``flask`` was called without a command, as with ``--help``."""
    context = click.get_current_context(silent=True)
    commands = {*cli.GROUPS, "routes", "run", "shell"}
    return context is not None and isinstance(context.command, FlaskGroup) and not commands.intersection(sys.argv)


if __name__ == "__main__":
    sys.exit(main())
