"""``flask packages import``: publishes the packages of another index, of GitLab, or of a folder to a project."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from flask import current_app

from registry.cli.commands import Command, find_namespace, json_option, storage
from registry.cli.output import Record, print_record, print_records, progress_bar
from registry.database import db
from registry.domain import instance
from registry.domain.access import SHELL
from registry.domain.importing import run
from registry.domain.importing.files import Destination, ImportOutcome, ImportResult
from registry.domain.importing.folder import Folder
from registry.domain.importing.gitlab import GitLab
from registry.domain.importing.index import Index
from registry.domain.importing.run import ImportSummary
from registry.domain.importing.selections import parse_selections
from registry.domain.importing.source import Source
from registry.models import Project

JOBS = 4
# A job has the database to itself while it writes, and gives the interpreter away with each statement. If another job
# then computes for the usual 5 ms, all of them wait for it; shorter turns cost more processor time.
TURN_SECONDS = 0.001
MAX_LINES = 1000  # of each kind, kept for the end of an import


@contextmanager
def _short_turns() -> Iterator[None]:
    """Let no thread compute for longer than ``TURN_SECONDS`` during the block while another one waits."""
    usual_seconds = sys.getswitchinterval()
    sys.setswitchinterval(TURN_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(usual_seconds)


@click.command("import", cls=Command)
@click.argument("source_name", metavar="[SOURCE]", default="")
@click.option("--project", "project_path", required=True, metavar="PATH", help="The project to publish to.")
@click.option(
    "--package", "package_texts", multiple=True, metavar="NAME[==VERSION]",
    help="Import only this package, or this version of it. Can be repeated. Default: everything.",
)  # fmt: skip
@click.option("--from-gitlab", "gitlab_url", default="", metavar="URL", help="Import from this GitLab instance.")
@click.option(
    "--project-or-group", "gitlab_namespace", default="", metavar="ID",
    help="ID or full path of the project or group on GitLab.",
)  # fmt: skip
@click.option(
    "--token-stdin",
    is_flag=True,
    help="Read the token for GitLab from the first line of standard input. Default: public packages only.",
)
@click.option("--username", default="", help="User name for the index; with a token, often any name works.")
@click.option(
    "--password-stdin",
    is_flag=True,
    help="Read the password or token for the index from the first line of standard input.",
)
@click.option(
    "--jobs", type=click.IntRange(min=1), metavar="N",
    help=f"Number of files to receive and examine in parallel. Default: {JOBS}; maximum: REGISTRY_THREADS.",
)  # fmt: skip
@click.option(
    "--accept-unverified", is_flag=True,
    help="Also import files of which the index states neither a SHA-256 digest nor a stronger one.",
)  # fmt: skip
@click.option("--remarks", "lists_remarks", is_flag=True, help="Also list the remarks on imported files.")
@json_option
def import_packages(
    source_name: str, project_path: str, package_texts: tuple[str, ...], gitlab_url: str, gitlab_namespace: str,
    token_stdin: bool, username: str, password_stdin: bool, jobs: int | None, accept_unverified: bool,
    lists_remarks: bool, as_json: bool,
) -> None:  # fmt: skip
    """Publish the packages of SOURCE to a project. SOURCE is the URL of a simple index, or a folder of wheels and
    sdists. With --from-gitlab, publish the packages of a project, or of all projects below a group, on GitLab.

    Every file passes the checks of an upload, and has to have the SHA-256 digest, or a stronger one, that the index
    states; a file without such a digest is not imported. Upload times, yanks, and the status of package names are
    preserved; files from a folder are published with the current time. Credentials are taken from --username and
    --password-stdin, from the URL, or from ~/.netrc, and sent only to the host and port of the index.

    From GitLab, PyPI packages are imported whose status is default or deprecated. The token needs the scope
    read_api, and is sent only to the host and port of the instance.

    Deviations from standards with which an upload is accepted are remarks: the summary has the number of files with
    remarks, and --remarks lists them. A project that refuses uploads with remarks refuses such files here, too.

    Files that already exist are skipped, so an interrupted import can simply be run again. Every other file that was
    not imported is listed on one line: result, file, reason. The command exits with status 1 if a file failed or exists
    with different content ("conflict"), or if the import was interrupted. Files that an upload would refuse are listed
    as "refused" and do not affect the exit status.
    """
    project, selections = find_namespace(project_path, Project), parse_selections(package_texts)
    jobs = _checked_jobs(jobs)
    if gitlab_url or gitlab_namespace or token_stdin:
        if source_name or username or password_stdin:
            raise click.UsageError("--from-gitlab excludes SOURCE, --username, and --password-stdin.")
        source = _gitlab(gitlab_url, gitlab_namespace, token_stdin, jobs)
    else:
        source = _source(source_name, username, password_stdin, jobs)
    max_size_bytes = instance.max_file_size(current_app.config["MAX_FILE_SIZE"])
    destination = Destination(project.id, SHELL, storage(), current_app.app_context, max_size_bytes, accept_unverified)
    db.session.rollback()  # do not keep a transaction open during the import
    with progress_bar("Importing", lambda: 1) as bar, _short_turns():
        report = _Report(bar, is_silent=as_json, lists_remarks=lists_remarks)
        summary = run.import_packages(source, destination, selections, jobs=jobs, report=report)
    counts = _counts(summary)
    if not as_json:
        report.print_kept()
    print_record(
        {
            "source": source.address, "project": project_path, **dataclasses.asdict(summary),
            "problems": report.problems.records, "more_problems": report.problems.left_out,
            **({"remarks": report.remarks.records, "more_remarks": report.remarks.left_out} if lists_remarks else {}),
        },
        as_json,
        f"Imported {summary.imported} files ({summary.size_bytes} bytes) into {project_path}: {counts}.",
    )  # fmt: skip
    if summary.is_interrupted:
        raise click.ClickException("The import was interrupted; run the same command again to resume it.")
    if not summary.is_complete:
        raise click.ClickException(f"The import is incomplete: {counts}.")


def _checked_jobs(jobs: int | None) -> int:
    threads: int = current_app.config["THREADS"]  # the connection pool has at least this many connections
    if jobs is not None and jobs > threads:
        raise click.UsageError(f"--jobs is {jobs}; the maximum is REGISTRY_THREADS, which is {threads}.")
    return jobs or min(JOBS, threads)


def _gitlab(url: str, namespace: str, token_stdin: bool, jobs: int) -> Source:
    if not (url and namespace):
        raise click.UsageError("--from-gitlab and --project-or-group belong together.")
    return GitLab(url, namespace.strip("/"), token=_first_line() if token_stdin else "", connections=jobs)


def _first_line() -> str:
    return (sys.stdin.readline() if sys.stdin else "").rstrip("\r\n")


def _source(name: str, username: str, password_stdin: bool, jobs: int) -> Source:
    if name.lower().startswith(("http://", "https://")):
        password = _first_line() if password_stdin else ""
        return Index(name, username=username, password=password, connections=jobs)
    if not name:
        raise click.UsageError("Specify SOURCE or --from-gitlab.")
    if username or password_stdin:
        raise click.UsageError("--username and --password-stdin are for an index; SOURCE is a folder.")
    if not Path(name).is_dir():
        raise click.UsageError(f"{name!r} is neither the http:// or https:// URL of an index nor a folder.")
    return Folder(Path(name))


class _Kept:
    """Lines to print after the import: at most ``MAX_LINES``, and the number of all others."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.left_out = 0

    def add(self, record: Record) -> None:
        if len(self.records) < MAX_LINES:
            self.records.append(record)
        else:
            self.left_out += 1


class _Report:
    """Reports progress: advances the progress bar for every file, and prints a line for those that were not imported.

    :ivar problems: the lines to print after the import, as they would disturb the progress bar or the JSON output.
    :ivar remarks: the same for the remarks on imported files, if they are listed.
    """

    def __init__(self, bar: Any, *, is_silent: bool, lists_remarks: bool) -> None:
        self.problems, self.remarks = _Kept(), _Kept()
        self._bar, self._is_silent, self._lists_remarks = bar, is_silent, lists_remarks

    def __call__(self, outcome: ImportOutcome, remaining: int) -> None:
        if self._bar is not None:
            self._bar.length = self._bar.pos + 1 + remaining
            self._bar.update(1)
        if outcome.result not in (ImportResult.IMPORTED, ImportResult.PRESENT):
            self._add(self.problems, outcome.result, outcome.subject, outcome.reason)
        if self._lists_remarks:
            for remark in outcome.remarks:
                self._add(self.remarks, "remark", outcome.subject, str(remark))

    def print_kept(self) -> None:
        for kept, noun in ((self.remarks, "remarks"), (self.problems, "files that were not imported")):
            print_records(kept.records, as_json=False)
            if kept.left_out:
                click.echo(f"{kept.left_out} more {noun}")

    def _add(self, kept: _Kept, result: str, subject: str, reason: str) -> None:
        record = {"result": result, "subject": subject, "reason": reason}
        if self._bar is None and not self._is_silent:
            print_records([record], as_json=False)
        else:
            kept.add(record)


def _counts(summary: ImportSummary) -> str:
    return (
        f"{summary.present} already present, {summary.refused} refused, {summary.conflicts} conflicts, "
        f"{summary.failed} failed" + (f", {summary.remarked} imported with remarks" if summary.remarked else "")
    )
