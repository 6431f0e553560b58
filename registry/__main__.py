"""``pypi-registry``, or ``python -m registry``: serves the registry, and has the same commands as ``flask``."""

from __future__ import annotations

import sys

import click
from flask.cli import ScriptInfo

import registry
from registry import cli
from registry.product import DISTRIBUTION


@click.group("pypi-registry", commands=list(cli.lazy_groups()))
@click.version_option(package_name=DISTRIBUTION, message="%(version)s")
@click.pass_context
def main(context: click.Context) -> None:
    """Serve and administer a private PyPI registry.

    Its data is in ./instance, or in the folder REGISTRY_INSTANCE_PATH.
    """
    context.obj = ScriptInfo(create_app=lambda: cli.Listing(registry.create_app))


@main.command()
def serve() -> None:
    """Serve the registry until it is stopped."""
    sys.exit(registry.serve())


if __name__ == "__main__":
    main()
