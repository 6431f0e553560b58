"""``flask packages``: lists, yanks, and deletes packages, and maintains the store."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import click

from registry.cli.commands import (
    CommandGroup,
    find_namespace,
    is_terminal,
    json_option,
    missing,
    namespace_options,
    project_or_group,
    storage,
)
from registry.cli.output import Record, print_record, print_records
from registry.database import AdvisoryLock, db, transaction, utcnow
from registry.domain.access import SHELL
from registry.domain.distributions import inspection
from registry.domain.distributions.inspection import Examination
from registry.domain.operation import cleanup, verification
from registry.domain.operation.verification import Finding
from registry.domain.packages import deletion, lists, names, releases, requirements, reserved
from registry.domain.packages.lists import PackageFilter
from registry.models import Namespace, NameStatus, Package, PackageFile, PackageName, Project, ReservedName


@click.group("packages", cls=CommandGroup)
def packages_group() -> None:
    """List, yank, and delete packages, set the status of package names, and maintain the stored files."""


@packages_group.command("list")
@namespace_options("List the packages")
@json_option
def list_packages(project_path: str | None, group_path: str | None, as_json: bool) -> None:
    """List the packages of a project, or of a group and all its subgroups.

    Columns: id, project, name, version, status, time of the first upload.
    """
    namespace = project_or_group(project_path, group_path, "--project or --group")
    listing = lists.packages(namespace, SHELL, PackageFilter())
    listing = lists.ordered(listing, "project_path" if group_path else "name", descending=False)
    print_records(map(_package_record, db.session.scalars(listing)), as_json)


project_option = click.option(
    "--project", "project_path", required=True, metavar="PATH", help="The project of the package."
)
file_option = click.option("--file", "filename", metavar="NAME", help="Apply only to this file of the version.")
reason_option = click.option("--reason", default="", help="Reason shown to users who install or view the package.")


@packages_group.command("delete")
@click.argument("name")
@click.argument("version")
@project_option
@click.option("--yes", is_flag=True, help="Delete without confirmation.")
@click.option("--release-name", is_flag=True, help="Release the reserved name if nothing of it is left.")
@json_option
def delete_package(name: str, version: str, project_path: str, yes: bool, release_name: bool, as_json: bool) -> None:
    """Delete a VERSION of the package NAME with all its files.

    The version can no longer be installed. The next cleanup frees the disk space. The name stays reserved.
    """
    project = find_namespace(project_path, Project)
    packages = _packages_named(project, name, version)
    if not yes:
        if not is_terminal():
            raise click.ClickException("Standard input is not a terminal; use --yes to confirm the deletion.")
        click.confirm(f"Delete {name} {version} from {project.full_path}?", abort=True, err=True)
    _delete(packages, project, release_name)
    record = {"project": project.full_path, "name": packages[0].name, "version": version}
    print_record(record, as_json, f"Deleted {record['name']} {version} from {project.full_path}.")


def _delete(packages: Iterable[Package], project: Project, release_name: bool) -> None:
    """Delete all of these packages or none; takes ``AdvisoryLock.TREE`` to release the name."""
    with transaction(lock=AdvisoryLock.TREE if release_name else None, changes_answers=False):
        for package in packages:
            deletion.delete_package(package, project, by=SHELL, release_name=release_name)


top_option = click.option(
    "--group",
    "top_path",
    required=True,
    metavar="PATH",
    help="The top-level group, or the user name.",
)


@packages_group.command("reserved")
@top_option
@json_option
def list_reserved(top_path: str, as_json: bool) -> None:
    """List the reserved names of a top-level group, which are never asked for on the public index.

    Columns: name, project or group that holds it, "used" or "unused", time of the first publication.
    """
    top = find_namespace(top_path, Namespace)
    rows = db.session.scalars(reserved.names_in(top)).all()
    used = reserved.names_in_use(top)
    print_records([_reserved_record(row, row.normalized_name in used) for row in rows], as_json)


@packages_group.command("release")
@click.argument("name")
@top_option
@json_option
def release_name(name: str, top_path: str, as_json: bool) -> None:
    """Release the reserved NAME, of which nothing is left, so that it can be asked for on the public index."""
    top = find_namespace(top_path, Namespace)
    with missing(f"reserved name {name} in {top.full_path}"):
        reserved.release(top, name, by=SHELL)
    print_record({"group": top.full_path, "name": name}, as_json, f"Released {name} in {top.full_path}.")


@packages_group.command("yank")
@click.argument("name")
@click.argument("version")
@project_option
@file_option
@reason_option
@json_option
def yank_package(name: str, version: str, project_path: str, filename: str | None, reason: str, as_json: bool) -> None:
    """Yank a VERSION of the package NAME, or one file of it.

    Clients skip a yanked version unless it is pinned exactly. Files published to it later are yanked, too.
    """
    project = find_namespace(project_path, Project)
    with transaction(changes_answers=False):
        for package, file in _yankable(project, name, version, filename):
            if file is None:
                releases.yank_version(package, project, reason, by=SHELL)
            else:
                releases.yank_file(file, package, project, reason, by=SHELL)
    _print_yank("Yanked", project, name, version, filename, as_json)


@packages_group.command("unyank")
@click.argument("name")
@click.argument("version")
@project_option
@file_option
@json_option
def unyank_package(name: str, version: str, project_path: str, filename: str | None, as_json: bool) -> None:
    """Undo the yank of a VERSION of the package NAME, or of one file of it."""
    project = find_namespace(project_path, Project)
    with transaction(changes_answers=False):
        for package, file in _yankable(project, name, version, filename):
            if file is None:
                releases.unyank_version(package, project, by=SHELL)
            else:
                releases.unyank_file(file, package, project, by=SHELL)
    _print_yank("Unyanked", project, name, version, filename, as_json)


@packages_group.command("status")
@click.argument("name")
@click.argument("status", required=False, type=click.Choice([str(status) for status in NameStatus]))
@project_option
@reason_option
@json_option
def name_status(name: str, status: str | None, project_path: str, reason: str, as_json: bool) -> None:
    """Show the status of the package NAME in a project, or set it to STATUS.

    An archived name accepts no uploads. A quarantined name accepts no uploads and offers no files. The status
    deprecated is only displayed.
    """
    project = find_namespace(project_path, Project)
    if status is None and reason:
        raise click.UsageError("--reason requires a STATUS.")
    with missing(f"package {name} in {project.full_path}"):
        if status is None:
            found = names.package_name(project, name)
        else:
            found = releases.set_name_status(project, name, NameStatus(status), reason, by=SHELL)
    sentence = f"{found.normalized_name} in {project.full_path} is {found.status}"
    sentence += f": {found.reason}" if found.reason else "."
    print_record(_name_record(found, project), as_json, sentence)


def _packages_named(project: Project, name: str, version: str) -> list[Package]:
    packages = lists.packages_named(project, name, version)
    if not packages:
        raise click.ClickException(f"There is no package {name} {version} in {project.full_path}.")
    return packages


def _yankable(
    project: Project, name: str, version: str, filename: str | None
) -> list[tuple[Package, PackageFile | None]]:
    """Return the packages of a version, or only the package with this file, and the file."""
    packages = _packages_named(project, name, version)
    if filename is None:
        return [(package, None) for package in packages]
    for package in packages:
        file = db.session.scalar(lists.package_files(package).where(PackageFile.filename == filename))
        if file is not None:
            return [(package, file)]
    raise click.ClickException(f"{name} {version} in {project.full_path} has no file {filename}.")


def _print_yank(done: str, project: Project, name: str, version: str, filename: str | None, as_json: bool) -> None:
    packages = lists.packages_named(project, name, version)
    files = [
        file
        for package in packages
        for file in db.session.scalars(lists.ordered_files(package, "id", descending=False))
    ]
    record = {
        "project": project.full_path,
        "name": packages[0].name,
        "version": version,
        "files": [
            {"filename": file.filename, "yanked": file.is_yanked, "yanked_reason": file.yanked_reason} for file in files
        ],
    }
    print_record(record, as_json, f"{done} {filename or f'{packages[0].name} {version}'} in {project.full_path}.")


@packages_group.command("check", cls=click.Command)  # needs neither configuration nor database
@click.argument(
    "paths", metavar="FILE...", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--strict", "strictly", is_flag=True, help="Check like a project that refuses files with remarks.")
@json_option
def check_files(paths: tuple[Path, ...], strictly: bool, as_json: bool) -> None:
    """Check wheels and sdists like an upload, without uploading them. Fails if an upload would be refused.

    Prints one line per problem: file, problem. A problem with which the file is accepted starts with "remark: ". For a
    file without problems, it prints one line with "ok".
    """
    checked = {path: _examined(path, strictly) for path in paths}
    if as_json:
        print_records([_examination_record(path, examination) for path, examination in checked.items()], as_json)
    else:
        for path, examination in checked.items():
            print_records(_examination_lines(path, examination), as_json)
    refused = sum(bool(examination.refusals) for examination in checked.values())
    if refused:
        raise click.ClickException(f"{refused} of {len(checked)} files would be refused.")


def _examined(path: Path, strictly: bool) -> Examination:
    try:
        with path.open("rb") as file:
            examination = inspection.examine(file, path.name)
    except OSError as error:
        raise click.ClickException(f"{path} cannot be read: {error.strerror}.") from error
    return examination.strictly() if strictly else examination


def _examination_lines(path: Path, examination: Examination) -> list[Record]:
    problems = [*map(str, examination.refusals), *(f"remark: {remark}" for remark in examination.remarks)]
    return [{"file": path, "problem": problem} for problem in problems or ["ok"]]


def _examination_record(path: Path, examination: Examination) -> Record:
    found = examination.distribution
    remarks = [remark.as_json() for remark in examination.remarks]
    return {
        "file": path,
        "name": found and found.name,
        "version": found and found.version,
        "errors": [problem.as_json() for problem in examination.refusals],
        **({"remarks": remarks} if remarks else {}),
    }


@packages_group.command("cleanup")
@json_option
def clean_up(as_json: bool) -> None:
    """Free the disk space of deleted packages. Run it once a day; the registry can be running.

    Orphaned files are kept for an hour, as they can belong to an unfinished upload. Tokens are removed 30 days after
    they expired or were revoked, CI jobs only if they published nothing.
    """
    report = cleanup.run(storage(), utcnow())
    print_record(
        dataclasses.asdict(report),
        as_json,
        f"Removed {report.packages} packages, {report.files} package files, {report.tokens} tokens, "
        f"{report.objects} stored objects ({report.size_bytes} bytes) and {report.staged_files} unfinished uploads.",
    )


@packages_group.command("read-dependencies")
@click.option("--count", "only_counts", is_flag=True, help="Only show how many versions are left.")
@json_option
def read_dependencies(only_counts: bool, as_json: bool) -> None:
    """Read the dependencies of package versions that were published before the registry kept them.

    A registry that is running reads them in the background, a few at a time. This command reads all of them. It can be
    interrupted and started again, and continues where it stopped.
    """
    batches: list[int] = []
    left = requirements.unread() if only_counts else requirements.fill(storage(), report=batches.append)
    counts = {"read": sum(batches), "left": left}
    print_record(counts, as_json, f"Read the dependencies of {counts['read']} package versions; {left} are left.")


@packages_group.command("verify")
@click.option("--repair", is_flag=True, help="Remove orphaned objects, and correct the storage totals of projects.")
@json_option
def verify_packages(repair: bool, as_json: bool) -> None:
    """Read every stored object and compare it with the database. Fails if it finds a problem.

    Lists objects that are missing or damaged, objects older than a day that no package file refers to, and projects
    with wrong storage totals. Packages with missing or damaged files have to be deleted and, after a cleanup, published
    again.
    """
    problems: list[Record] = []
    report = (lambda problem: problems.append(_problem_record(problem))) if as_json else _print_problem
    summary = verification.verify(storage(), utcnow(), report, repair=repair)
    counts = (
        f"{summary.missing} missing, {summary.damaged} damaged, {summary.orphaned} without a package file, "
        f"{summary.removed} removed, {summary.miscounted} miscounted, {summary.corrected} corrected"
    )
    print_record(
        {**dataclasses.asdict(summary), "problems": problems}, as_json, f"Checked {summary.checked} objects: {counts}."
    )
    if not summary.is_sound:
        raise click.ClickException(f"The verification found problems: {counts}.")


def _print_problem(problem: Finding) -> None:
    print_records([_problem_record(problem)], as_json=False)


def _problem_record(problem: Finding) -> Record:
    return {
        "defect": problem.defect,
        "key": problem.key,
        "files": problem.files,
        "removed": problem.removed,
        "corrected": problem.corrected,
    }


def _package_record(package: Package) -> Record:
    return {
        "id": package.id,
        "project": package.project.full_path,
        "name": package.name,
        "version": package.version,
        "status": package.status,
        "created_at": package.created_at,
    }


def _reserved_record(row: ReservedName, is_used: bool) -> Record:
    return {
        "name": row.normalized_name,
        "holder": "" if row.holder is None else row.holder.full_path,
        "state": "used" if is_used else "unused",
        "created_at": row.created_at,
    }


def _name_record(name: PackageName, project: Project) -> Record:
    return {
        "project": project.full_path,
        "name": name.normalized_name,
        "status": name.status,
        "reason": name.reason,
    }
