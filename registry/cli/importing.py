"""``flask packages import``: what another index or a folder holds, published in a project."""

from __future__ import annotations

import dataclasses
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click
from flask import current_app

from registry.cli.commands import Command, find_namespace, json_option, storage
from registry.cli.output import Record, print_record, print_records
from registry.database import db
from registry.domain import instance
from registry.domain.access import SHELL
from registry.domain.importing import run
from registry.domain.importing.run import Destination, ImportOutcome, ImportResult, ImportSummary
from registry.domain.importing.sources import Folder, Index, Source
from registry.models import Project

JOBS = 4


@click.command("import", cls=Command)
@click.argument("source_name", metavar="SOURCE")
@click.option("--project", "project_path", required=True, metavar="PATH", help="The project to publish in.")
@click.option(
    "--package", "package_texts", multiple=True, metavar="NAME[==VERSION]",
    help="Only this package, or this version of it. May be given several times; by default everything.",
)  # fmt: skip
@click.option("--username", default="", help="User name for the index; of a token it often does not matter.")
@click.option(
    "--password-stdin", is_flag=True, help="Read the password or token for the index from standard input's first line."
)
@click.option(
    "--jobs", type=click.IntRange(min=1), metavar="N",
    help=f"Files received and examined at the same time: by default {JOBS}, at most REGISTRY_THREADS.",
)  # fmt: skip
@json_option
def import_packages(
    source_name: str, project_path: str, package_texts: tuple[str, ...], username: str, password_stdin: bool,
    jobs: int | None, as_json: bool,
) -> None:  # fmt: skip
    """Publish what SOURCE holds in a project: the address of a simple index, or a folder with wheels and sdists.

    Every file passes the checks of an upload, and its digest is that of the index. Upload times, yanks and the status
    of package names are kept; a folder knows none, and its files are published now. Credentials are those of --username
    and --password-stdin, of the address, or of ~/.netrc; they are sent to the index's own host and port only.

    Prints a line for every file that was not imported: result, file, reason. Files that are here already are passed
    over, so the same command goes on with an import that was interrupted. Ends with status 1 if something failed, was
    interrupted, or is here with other bytes ("conflict"). What would be refused as an upload is listed as "refused",
    and that alone is no failure.
    """
    project, wanted = find_namespace(project_path, Project), run.wanted(package_texts)
    jobs = _checked_jobs(jobs)
    source = _source(source_name, username, password_stdin, jobs)
    max_size_bytes = instance.max_file_size(current_app.config["MAX_FILE_SIZE"])
    destination = Destination(project.id, SHELL, storage(), current_app.app_context, max_size_bytes)
    db.session.rollback()  # no transaction stays open meanwhile
    with _progress_bar() as bar:
        report = _Report(bar, is_silent=as_json)
        summary = run.import_packages(source, destination, wanted, jobs=jobs, tell=report)
    if not as_json:
        print_records(report.kept, as_json)
    counts = _counts(summary)
    print_record(
        {"source": source.address, "project": project_path, **dataclasses.asdict(summary), "problems": report.kept},
        as_json,
        f"Imported {summary.imported} files ({summary.size_bytes} bytes) into {project_path}: {counts}.",
    )
    if summary.is_interrupted:
        raise click.ClickException("The import was interrupted; the same command goes on with it.")
    if not summary.is_complete:
        raise click.ClickException(f"The import is not complete: {counts}.")


def _checked_jobs(jobs: int | None) -> int:
    threads: int = current_app.config["THREADS"]  # as many connections to the database there are at least
    if jobs is not None and jobs > threads:
        raise click.UsageError(f"--jobs is {jobs}; at most REGISTRY_THREADS are accepted, which is {threads}.")
    return jobs or min(JOBS, threads)


def _source(name: str, username: str, password_stdin: bool, jobs: int) -> Source:
    if name.lower().startswith(("http://", "https://")):
        password = (sys.stdin.readline() if sys.stdin else "").rstrip("\r\n") if password_stdin else ""
        return Index(name, username=username, password=password, connections=jobs)
    if username or password_stdin:
        raise click.UsageError("--username and --password-stdin are for an index; SOURCE is a folder.")
    if not Path(name).is_dir():
        raise click.UsageError(f"{name!r} is neither the http:// or https:// address of an index nor a folder.")
    return Folder(Path(name))


class _Report:
    """What is told while an import runs: a step of the bar for every file, a line for those that were not imported.

    :ivar kept: the lines, as far as they are not printed yet, since the bar would stand in their way.
    """

    def __init__(self, bar: Any, *, is_silent: bool) -> None:
        self.kept: list[Record] = []
        self._bar, self._is_silent = bar, is_silent

    def __call__(self, outcome: ImportOutcome, remaining: int) -> None:
        if self._bar is not None:
            self._bar.length = self._bar.pos + 1 + remaining
            self._bar.update(1)
        if outcome.result in (ImportResult.IMPORTED, ImportResult.PRESENT):
            return
        record = {"result": outcome.result, "subject": outcome.subject, "reason": outcome.reason}
        if self._bar is not None or self._is_silent:
            self.kept.append(record)
        else:
            print_records([record], as_json=False)


def _progress_bar() -> Any:
    if sys.stderr is None or not sys.stderr.isatty():
        return nullcontext()
    return click.progressbar(length=1, label="Importing", show_pos=True, file=sys.stderr)


def _counts(summary: ImportSummary) -> str:
    return (
        f"{summary.present} present before, {summary.refused} refused, {summary.conflicts} conflicts, "
        f"{summary.failed} failed"
    )
