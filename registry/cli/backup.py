"""``flask backup``: the whole installation in one file."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import click
from flask import current_app

from registry.cli.commands import CommandGroup, SchemaCommand, json_option, storage
from registry.cli.output import Record, print_record, print_records
from registry.database import utcnow
from registry.domain.operation import backups
from registry.domain.operation.backup_file import Manifest
from registry.domain.operation.verification import Finding
from registry.errors import BackupRefused

Thing = TypeVar("Thing")


@click.group("backup", cls=CommandGroup)
def backup_group() -> None:
    """Back up the whole installation into one file, and restore it from there."""


file_argument = click.argument("path", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path))
present_file_argument = click.argument(
    "path", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
allow_missing_option = click.option(
    "--allow-missing", is_flag=True, help="Leave out objects that are missing or damaged, and go on with all the rest."
)


@backup_group.command("create")
@file_argument
@click.option(
    "--inventory", is_flag=True, help="Only list the stored objects, without reading any: they are kept safe elsewhere."
)
@allow_missing_option
@json_option
def create_backup(path: Path, inventory: bool, allow_missing: bool, as_json: bool) -> None:
    """Write everything into FILE, a new tar archive that its owner alone can read, while the registry serves.

    It holds the rows as they are at one moment, the objects they refer to, each checked while it is copied, and the
    secret key, so keep it as safe as the registry itself. The configuration and what was deleted are not in it.

    Prints a line for every object that is missing or damaged: what is wrong with it, its key, whose it is. No backup is
    made then. A cleanup is refused meanwhile.
    """
    problems: list[Finding] = []
    with _failures_told(path, problems, as_json):
        manifest = backups.create(
            path, storage(), secret_key=current_app.config["SECRET_KEY"], now=utcnow(), tell=problems.append,
            watch=_watch, inventory=inventory, allow_missing=allow_missing,
        )  # fmt: skip
    print_record(_record(manifest, problems, path), as_json, f"Backed up {_counted(manifest)} in {path}.")


@backup_group.command("verify", cls=SchemaCommand)
@present_file_argument
@json_option
def verify_backup(path: Path, as_json: bool) -> None:
    """Read FILE to its end and compare every digest in it. Fails when something is wrong.

    Prints a line for every object that is missing or damaged. If anything else is, nothing can be restored.
    """
    problems: list[Finding] = []
    with _failures_told(path, problems, as_json):
        manifest = backups.verify(path, tell=problems.append, watch=_watch)
    print_record(_record(manifest, problems, path), as_json, f"Found {_counted(manifest)} in {path}.")
    if problems:
        raise click.ClickException(f"{len(problems)} objects are missing or damaged.")


@backup_group.command("restore", cls=SchemaCommand)
@present_file_argument
@allow_missing_option
@json_option
def restore_backup(path: Path, allow_missing: bool, as_json: bool) -> None:
    """Fill a new installation with what FILE holds, on either database, once every digest in it was checked.

    Nothing is changed in an installation that was ever started. A backup of an older registry is brought up to date; of
    one with an inventory the objects have to be in the store already. What was interrupted goes on with the same
    command; until then the registry does not start.
    """
    problems: list[Finding] = []
    with _failures_told(path, problems, as_json):
        manifest = backups.restore(
            path, storage(), secret_key=current_app.config["SECRET_KEY"],
            secret_key_file=current_app.config["SECRET_KEY_FILE"], tell=problems.append, watch=_watch,
            allow_missing=allow_missing,
        )  # fmt: skip
    print_record(_record(manifest, problems, path), as_json, f"Restored {_counted(manifest)} from {path}.")


@contextmanager
def _failures_told(path: Path, problems: list[Finding], as_json: bool) -> Iterator[None]:
    """The objects with something wrong in front of the sentence that refuses because of them."""
    try:
        yield
    except BackupRefused:
        if as_json and problems:
            print_record({"file": path, "problems": _problem_records(problems)}, as_json, "")
        raise
    except OSError as error:
        raise click.ClickException(f"{error.filename or path}: {error.strerror}.") from error
    finally:
        if not as_json:
            print_records(_problem_records(problems), as_json)


def _counted(manifest: Manifest) -> str:
    rows = sum(table.rows for table in manifest.tables.values())
    objects = manifest.objects
    if manifest.inventory:
        return f"{rows} rows and a list of {objects.listed} objects"
    return f"{rows} rows and {objects.included} of {objects.listed} objects ({objects.size_bytes} bytes)"


def _record(manifest: Manifest, problems: list[Finding], path: Path) -> Record:
    record = {"file": path, **dataclasses.asdict(manifest), "problems": _problem_records(problems)}
    del record["members"]
    return record


def _problem_records(problems: list[Finding]) -> list[Record]:
    return [{"defect": problem.defect, "key": problem.key, "files": problem.files} for problem in problems]


def _watch(what: str, total: int, things: Iterable[Thing]) -> Iterator[Thing]:
    if sys.stderr is None or not sys.stderr.isatty():
        yield from things
        return
    with click.progressbar(things, total, label=what, show_pos=True, file=sys.stderr) as bar:
        yield from bar
