"""``flask backup``: creates, verifies, and restores backups of the entire installation."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import click
from flask import current_app

from registry.cli.commands import CommandGroup, CreatingCommand, IndependentCommand, json_option, storage
from registry.cli.output import Record, print_record, print_records, progress_bar
from registry.database import utcnow
from registry.domain.operation import backups
from registry.domain.operation.backup_file import Manifest
from registry.domain.operation.verification import Finding
from registry.errors import BackupRefused

Item = TypeVar("Item")


@click.group("backup", cls=CommandGroup)
def backup_group() -> None:
    """Back up the entire installation to one file, and restore it."""


file_argument = click.argument("path", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path))
present_file_argument = click.argument(
    "path", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
allow_missing_option = click.option(
    "--allow-missing", is_flag=True, help="Omit objects that are missing or damaged instead of aborting."
)


@backup_group.command("create")
@file_argument
@click.option(
    "--inventory", is_flag=True, help="List the stored objects without copying them; back them up by other means."
)
@allow_missing_option
@json_option
def create_backup(path: Path, inventory: bool, allow_missing: bool, as_json: bool) -> None:
    """Write a backup to FILE, a new tar archive that only its owner can read. The registry can be running.

    The backup contains a consistent snapshot of all rows, the objects they refer to, verified while they are copied,
    and the secret key, so protect it like the registry itself. It does not contain the configuration and deleted files.

    If objects are missing or damaged, no backup is made, and each of them is listed on one line: defect, key, files.
    While a backup is being made, cleanups are refused.
    """
    problems: list[Finding] = []
    with _listing_problems(path, problems, as_json):
        manifest = backups.create(
            path, storage(), secret_key=current_app.config["SECRET_KEY"], now=utcnow(), report=problems.append,
            progress=_show_progress, inventory=inventory, allow_missing=allow_missing,
        )  # fmt: skip
    print_record(_record(manifest, problems, path), as_json, f"Backed up {_counted(manifest)} to {path}.")


@backup_group.command("verify", cls=IndependentCommand)
@present_file_argument
@json_option
def verify_backup(path: Path, as_json: bool) -> None:
    """Read the entire backup FILE and verify every digest. Fails if it finds a problem.

    Every missing or damaged object is listed on one line. A backup with any other damage cannot be restored.
    """
    problems: list[Finding] = []
    with _listing_problems(path, problems, as_json):
        manifest = backups.verify(path, report=problems.append, progress=_show_progress)
    print_record(_record(manifest, problems, path), as_json, f"Found {_counted(manifest)} in {path}.")
    if problems:
        raise click.ClickException(f"{len(problems)} objects are missing or damaged.")


@backup_group.command("restore", cls=CreatingCommand)
@present_file_argument
@allow_missing_option
@json_option
def restore_backup(path: Path, allow_missing: bool, as_json: bool) -> None:
    """Restore the backup FILE into a new installation with either database, after verifying every digest.

    An installation that was ever started is refused. A backup of an older registry is upgraded. For a backup made with
    --inventory, the objects have to be in the store already. To resume an interrupted restore, run the same command
    again; until then, the registry does not start.
    """
    problems: list[Finding] = []
    with _listing_problems(path, problems, as_json):
        manifest = backups.restore(
            path, storage(), secret_key=current_app.config["SECRET_KEY"],
            secret_key_file=current_app.config["SECRET_KEY_FILE"], report=problems.append, progress=_show_progress,
            allow_missing=allow_missing,
        )  # fmt: skip
    print_record(_record(manifest, problems, path), as_json, f"Restored {_counted(manifest)} from {path}.")


@contextmanager
def _listing_problems(path: Path, problems: list[Finding], as_json: bool) -> Iterator[None]:
    """Print the defective objects before the error message that refers to them."""
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


def _show_progress(label: str, total: int, items: Iterable[Item]) -> Iterator[Item]:
    with progress_bar(label, lambda: total) as bar:
        for item in items:
            yield item
            if bar is not None:
                bar.update(1)
