"""``flask paths``: lists and frees the paths that groups, projects, and users have given up."""

from __future__ import annotations

import click

from registry.cli.commands import CommandGroup, json_option, missing
from registry.cli.output import Record, print_record, print_records
from registry.database import db, utcnow
from registry.domain import namespaces
from registry.domain.access import SHELL
from registry.models import OldPath


@click.group("paths", cls=CommandGroup)
def paths_group() -> None:
    """List and free the paths that groups, projects, and users have given up."""


@paths_group.command("list")
@json_option
def list_paths(as_json: bool) -> None:
    """List old paths, the latest first: path, path that it leads to, date until which it is kept from others."""
    print_records(map(_record, db.session.scalars(namespaces.all_old_paths())), as_json)


@paths_group.command("free")
@click.argument("path")
@json_option
def free_path(path: str, as_json: bool) -> None:
    """Free the old path PATH: it no longer leads anywhere, and others can take it."""
    with missing(f"old path {path}"):
        old = namespaces.find_old_path(path)
    record = _record(old)
    namespaces.free(old, by=SHELL)
    print_record(record, as_json, f"Freed the path {record['path']}.")


def _record(old: OldPath) -> Record:
    return {
        "path": old.path,
        "current_path": None if old.namespace is None else old.namespace.full_path,
        "kept_until": old.kept_until.date().isoformat() if old.is_kept(utcnow()) else None,
    }
