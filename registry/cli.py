"""Administration from the shell: ``flask <group> <command>``, thin calls into ``domain`` as the principal ``SHELL``.

A command prints plain lines (columns separated by tabs), or JSON with ``--json``. What it refuses is one sentence on
standard error and an exit status that is not zero. It asks only when standard input is a terminal.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import click
from flask import Flask, current_app
from flask.cli import ScriptInfo
from sqlalchemy.exc import OperationalError

from registry import database
from registry.database import db, transaction, utcnow
from registry.domain import accounts, catalog, cleanup, gate, namespaces, publishing, releases, tokens, verification
from registry.domain.access import SHELL, DeployScope, Scope
from registry.domain.catalog import PackageFilter
from registry.domain.gate import Examination
from registry.domain.verification import Problem
from registry.errors import NotFound, RegistryError
from registry.models import (
    AccessToken,
    DeployToken,
    Group,
    Namespace,
    NameStatus,
    Package,
    PackageFile,
    PackageName,
    Project,
    Role,
    User,
    UserState,
    Visibility,
)
from registry.storage import Storage

Record = dict[str, Any]
Function = TypeVar("Function", bound=Callable[..., Any])


def init_app(app: Flask) -> None:
    for group in (database_group, users_group, tokens_group, groups_group, projects_group, packages_group):
        app.cli.add_command(group)


class Command(click.Command):
    """A command in the application's context, on a current schema, whose refusals are one sentence."""

    needs_schema = True

    def invoke(self, ctx: click.Context) -> Any:
        app = ctx.ensure_object(ScriptInfo).load_app()
        try:
            with app.app_context():
                if self.needs_schema:
                    database.check_schema()
                return super().invoke(ctx)
        except RegistryError as error:
            raise click.ClickException(error.reason or error.message) from error
        except OperationalError as error:
            raise click.ClickException(f"The database does not answer: {error.orig}.") from error


class SchemaCommand(Command):
    needs_schema = False


class CommandGroup(click.Group):
    command_class = Command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.UsageError as error:  # would show the usage in front of its sentence
            raise Misuse(error.format_message()) from error


class Misuse(click.ClickException):
    exit_code = click.UsageError.exit_code


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of plain lines.")
password_option = click.option(
    "--password-stdin",
    is_flag=True,
    help="Read the password from the first line of standard input. Otherwise it is asked for on a terminal, "
    "or generated and printed.",
)


def namespace_options(meaning: str) -> Callable[[Function], Function]:
    """``--project`` and ``--group``, for a command that works on one of them."""

    def add(function: Function) -> Function:
        function = click.option("--group", "group_path", metavar="PATH", help=f"{meaning} of this group.")(function)
        return click.option("--project", "project_path", metavar="PATH", help=f"{meaning} of this project.")(function)

    return add


# Database -------------------------------------------------------------------------------------------------------


@click.group("database", cls=CommandGroup)
def database_group() -> None:
    """Create, upgrade and check the database schema."""


@database_group.command("upgrade", cls=SchemaCommand)
@json_option
def upgrade_database(as_json: bool) -> None:
    """Bring the schema to the version this registry works with.

    An empty database gets its tables. Several processes may run this at once: one upgrades, the others wait.
    """
    before, after = database.upgrade()
    if before == after:
        _print({"before": before, "after": after}, as_json, f"The schema is at version {after} already.")
    else:
        _print({"before": before, "after": after}, as_json, f"Upgraded the schema from {before or 'empty'} to {after}.")


@database_group.command("check", cls=SchemaCommand)
@json_option
def check_database(as_json: bool) -> None:
    """Fail unless the database answers with the schema this registry works with."""
    database.check_schema()
    version = database.newest_version()
    _print({"version": version}, as_json, f"The schema is at version {version}, as needed.")


# Users ----------------------------------------------------------------------------------------------------------


@click.group("users", cls=CommandGroup)
def users_group() -> None:
    """Create, list and block users, and set their passwords."""


@users_group.command("create")
@click.argument("username")
@click.option("--email", required=True, help="E-mail address; nothing is sent to it.")
@click.option("--name", help="Full name; by default the user name.")
@click.option("--admin", is_flag=True, help="Make the user an administrator of the instance.")
@password_option
@json_option
def create_user(username: str, email: str, name: str | None, admin: bool, password_stdin: bool, as_json: bool) -> None:
    """Create the user USERNAME.

    A generated password is printed once, and has to be changed at the first sign-in.
    """
    password, is_generated = _password(password_stdin)
    user = accounts.create_user(
        username=username, email=email, name=name or username, password=password, is_admin=admin,
        must_change_password=is_generated, by=SHELL,
    )  # fmt: skip
    _print_with_password(user, f"Created user {user.username}.", password if is_generated else None, as_json)


@users_group.command("list")
@json_option
def list_users(as_json: bool) -> None:
    """List all users: id, user name, e-mail address, name, state, administrator or not."""
    _print_all(
        map(_user_record, db.session.scalars(accounts.users(accounts.Wanted(descending=False), by_email=True))), as_json
    )


@users_group.command("block")
@click.argument("username")
@json_option
def block_user(username: str, as_json: bool) -> None:
    """Block the user USERNAME: no sign-in, and no token of theirs is accepted any more."""
    _set_state(username, UserState.BLOCKED, "Blocked", as_json)


@users_group.command("unblock")
@click.argument("username")
@json_option
def unblock_user(username: str, as_json: bool) -> None:
    """Let the blocked user USERNAME in again."""
    _set_state(username, UserState.ACTIVE, "Unblocked", as_json)


@users_group.command("reset-password")
@click.argument("username")
@password_option
@json_option
def reset_password(username: str, password_stdin: bool, as_json: bool) -> None:
    """Set a new password for the user USERNAME.

    A generated password is printed once, and has to be changed at the next sign-in.
    """
    user = _find_user(username)
    password, is_generated = _password(password_stdin)
    accounts.set_password(user, password, must_change=is_generated, by=SHELL)
    _print_with_password(user, f"Set the password of {user.username}.", password if is_generated else None, as_json)


def _set_state(username: str, state: UserState, done: str, as_json: bool) -> None:
    user = _find_user(username)
    accounts.set_state(user, state, by=SHELL)
    _print(_user_record(user), as_json, f"{done} user {user.username}.")


def _password(from_standard_input: bool) -> tuple[str, bool]:
    """The password to set, and whether it was generated."""
    if from_standard_input:
        return (sys.stdin.readline() if sys.stdin else "").rstrip("\r\n"), False
    if _is_terminal():
        typed: str = click.prompt(
            "Password (empty: one is generated)", default="", show_default=False, hide_input=True,
            confirmation_prompt=True, err=True,
        )  # fmt: skip
        if typed:
            return typed, False
    return accounts.generated_password(), True


def _print_with_password(user: User, sentence: str, generated: str | None, as_json: bool) -> None:
    if generated is None:
        _print(_user_record(user), as_json, sentence)
    else:
        _print({**_user_record(user), "password": generated}, as_json, f"{sentence}\nPassword: {generated}")


def _user_record(user: User) -> Record:
    return {
        "id": user.id,
        "username": user.username,
        "email": user.email,
        "name": user.name,
        "state": user.state,
        "is_admin": user.is_admin,
    }


# Tokens ---------------------------------------------------------------------------------------------------------


@click.group("tokens", cls=CommandGroup)
def tokens_group() -> None:
    """Create, list and revoke access tokens of users, and deploy tokens of projects and groups."""


@tokens_group.command("create")
@click.argument("username", required=False)
@namespace_options("Create a deploy token")
@click.option("--name", required=True, help="What the token is for.")
@click.option(
    "--scope", "scopes", multiple=True, required=True, metavar="SCOPE",
    help=f"May be given several times. Access tokens: {', '.join(Scope)}. Deploy tokens: {', '.join(DeployScope)}.",
)  # fmt: skip
@click.option(
    "--expires-on", type=click.DateTime(["%Y-%m-%d"]), metavar="YYYY-MM-DD",
    help="The token is dead from 00:00 UTC of this day. By default an access token lives as long as the instance "
    "allows, and a deploy token does not expire.",
)  # fmt: skip
@click.option("--username", "deploy_username", metavar="NAME", help="User name that goes with a deploy token.")
@json_option
def create_token(
    username: str | None, project_path: str | None, group_path: str | None, name: str, scopes: tuple[str, ...],
    expires_on: datetime | None, deploy_username: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Create an access token of the user USERNAME, or a deploy token of a project or group.

    Prints the secret, which is kept nowhere and cannot be shown again; before that of a deploy token, its user name.
    """
    key, day = current_app.config["TOKEN_KEY"], expires_on.date() if expires_on else None
    if username is None:
        namespace = _namespace(project_path, group_path, "USERNAME, --project or --group")
        deploy_token, secret = tokens.issue_deploy_token(
            namespace, name=name, scopes=scopes, username=deploy_username, key=key, by=SHELL,
            expires_at=tokens.starts_at(day) if day else None,
        )  # fmt: skip
        record = _deploy_token_record(deploy_token, utcnow())
        _print({**record, "token": secret}, as_json, f"{deploy_token.username}\t{secret}")
        return
    if project_path or group_path or deploy_username:
        raise click.UsageError("USERNAME is for access tokens; --project, --group and --username for deploy tokens.")
    token, secret = tokens.issue_access_token(
        _find_user(username), name=name, scopes=scopes, expires_on=day, key=key, by=SHELL, now=utcnow()
    )
    _print({**_access_token_record(token, utcnow()), "token": secret}, as_json, secret)


@tokens_group.command("list")
@click.argument("username", required=False)
@namespace_options("List the deploy tokens")
@json_option
def list_tokens(username: str | None, project_path: str | None, group_path: str | None, as_json: bool) -> None:
    """List the access tokens of the user USERNAME or of everybody, or the deploy tokens of a project or group.

    Columns: id, user name, token name, scopes, state, day of expiry, last use.
    """
    now = utcnow()
    if project_path or group_path:
        namespace = _namespace(project_path, group_path, "--project or --group")
        listing = tokens.deploy_tokens(namespace, is_active=False, now=now)
        _print_all((_deploy_token_record(token, now) for token in db.session.scalars(listing)), as_json)
        return
    wanted = tokens.Wanted(user_id=_find_user(username).id if username else None)
    found = db.session.scalars(tokens.access_tokens(wanted, by=SHELL, now=now).options(db.joinedload(AccessToken.user)))
    _print_all((_access_token_record(token, now) for token in found), as_json)


@tokens_group.command("revoke")
@click.argument("token_id", metavar="ID", type=int)
@namespace_options("Revoke a deploy token")
@json_option
def revoke_token(token_id: int, project_path: str | None, group_path: str | None, as_json: bool) -> None:
    """Revoke the access token with the number ID, or the deploy token ID of a project or group.

    It is dead from the next request on. Revoking twice changes nothing.
    """
    if project_path or group_path:
        namespace = _namespace(project_path, group_path, "--project or --group")
        with _missing(f"deploy token {token_id} in {namespace.full_path}"):
            deploy_token = tokens.deploy_token(namespace, token_id)
        tokens.revoke_deploy_token(deploy_token, namespace, by=SHELL)
        record = _deploy_token_record(deploy_token, utcnow())
    else:
        with _missing(f"access token {token_id}"):
            token = tokens.access_token(token_id, by=SHELL)
        tokens.revoke_access_token(token, by=SHELL, now=utcnow())
        record = _access_token_record(token, utcnow())
    _print(record, as_json, f"Revoked token {token_id} ({record['name']}) of {record['username']}.")


def _access_token_record(token: AccessToken, now: datetime) -> Record:
    state = "revoked" if token.revoked_at else "expired" if token.is_expired(now) else "active"
    return {
        "id": token.id,
        "username": token.user.username,
        "name": token.name,
        "scopes": token.scopes,
        "state": state,
        "expires_on": token.expires_on,
        "last_used_at": token.last_used_at,
    }


def _deploy_token_record(token: DeployToken, now: datetime) -> Record:
    state = "revoked" if token.revoked else "expired" if token.is_expired(now) else "active"
    return {
        "id": token.id,
        "username": token.username,
        "name": token.name,
        "scopes": token.scopes,
        "state": state,
        "expires_on": token.expires_at.date() if token.expires_at else None,
        "last_used_at": token.last_used_at,
    }


# Groups and projects --------------------------------------------------------------------------------------------

visibility_option = click.option(
    "--visibility", type=click.Choice([visibility.label for visibility in Visibility]),
    help="By default as the instance's settings say, but not more than the parent's.",
)  # fmt: skip


@click.group("groups", cls=CommandGroup)
def groups_group() -> None:
    """Create and list groups."""


@groups_group.command("create")
@click.argument("path")
@click.option("--name", help="Shown name; by default the last part of the path.")
@visibility_option
@click.option(
    "--owner", metavar="USERNAME", help="Make this user its Owner. Without one, only administrators manage it."
)
@json_option
def create_group(path: str, name: str | None, visibility: str | None, owner: str | None, as_json: bool) -> None:
    """Create the group PATH; with slashes a subgroup of an existing group."""
    parent_path, _, last = path.rpartition("/")
    with transaction():
        group = namespaces.create_group(
            name=name or last, path=last, parent=_find(parent_path, Group) if parent_path else None,
            visibility=_visibility(visibility), by=SHELL,
        )  # fmt: skip
        if owner:
            namespaces.add_member(group, _find_user(owner), Role.OWNER, by=SHELL)
    _print(_namespace_record(group), as_json, f"Created group {group.full_path}.")


@groups_group.command("list")
@json_option
def list_groups(as_json: bool) -> None:
    """List all groups by path: id, path, name, visibility."""
    found = db.session.scalars(namespaces.groups(SHELL, namespaces.Wanted(order_by="full_path_key")))
    _print_all(map(_namespace_record, found), as_json)


@click.group("projects", cls=CommandGroup)
def projects_group() -> None:
    """Create and list projects, which hold packages."""


@projects_group.command("create")
@click.argument("path")
@click.option("--name", help="Shown name; by default the last part of the path.")
@visibility_option
@json_option
def create_project(path: str, name: str | None, visibility: str | None, as_json: bool) -> None:
    """Create the project PATH, as in group/subgroup/project or user/project."""
    parent_path, _, last = path.rpartition("/")
    if not parent_path:
        raise click.UsageError(f"{path!r} names no group or user that the project would be in.")
    project = namespaces.create_project(
        name=name or last, path=last, parent=_find(parent_path, Namespace), visibility=_visibility(visibility), by=SHELL
    )
    _print(_namespace_record(project), as_json, f"Created project {project.full_path}.")


@projects_group.command("list")
@click.option("--group", "group_path", metavar="PATH", help="Only those in this group and its subgroups.")
@json_option
def list_projects(group_path: str | None, as_json: bool) -> None:
    """List projects by path: id, path, name, visibility."""
    below = _find(group_path, Group) if group_path else None
    found = db.session.scalars(namespaces.projects(SHELL, namespaces.Wanted(order_by="full_path_key"), below=below))
    _print_all(map(_namespace_record, found), as_json)


def _visibility(label: str | None) -> Visibility | None:
    return None if label is None else Visibility[label.upper()]


def _namespace_record(namespace: Namespace) -> Record:
    return {
        "id": namespace.id,
        "path": namespace.full_path,
        "name": namespace.name,
        "visibility": namespace.visibility.label,
    }


# Packages -------------------------------------------------------------------------------------------------------


@click.group("packages", cls=CommandGroup)
def packages_group() -> None:
    """List, yank and delete packages, set the status of their names, and look after the stored files."""


@packages_group.command("list")
@namespace_options("List the packages")
@json_option
def list_packages(project_path: str | None, group_path: str | None, as_json: bool) -> None:
    """List the packages of a project, or of a group with all its subgroups.

    Columns: id, project, name, version, status, time of the first upload.
    """
    namespace = _namespace(project_path, group_path, "--project or --group")
    listing = catalog.packages(namespace, SHELL, PackageFilter())
    listing = catalog.ordered(listing, "project_path" if group_path else "name", descending=False)
    _print_all(map(_package_record, db.session.scalars(listing)), as_json)


holder_option = click.option(
    "--project", "project_path", required=True, metavar="PATH", help="The project that holds the package."
)
file_option = click.option("--file", "filename", metavar="NAME", help="Only this file of the version.")
reason_option = click.option("--reason", default="", help="Shown to whoever installs or looks at it.")


@packages_group.command("delete")
@click.argument("name")
@click.argument("version")
@holder_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def delete_package(name: str, version: str, project_path: str, yes: bool, as_json: bool) -> None:
    """Delete a VERSION of the package NAME with all its files.

    It cannot be installed any more from now on; the next cleanup frees the disk.
    """
    project = _find(project_path, Project)
    packages = _packages_named(project, name, version)
    if not yes:
        if not _is_terminal():
            raise click.ClickException("Nobody can be asked here whether to delete it; say --yes.")
        click.confirm(f"Delete {name} {version} from {project.full_path}?", abort=True, err=True)
    with transaction():
        for package in packages:
            publishing.delete_package(package, project, by=SHELL)
    record = {"project": project.full_path, "name": packages[0].name, "version": version}
    _print(record, as_json, f"Deleted {record['name']} {version} from {project.full_path}.")


@packages_group.command("yank")
@click.argument("name")
@click.argument("version")
@holder_option
@file_option
@reason_option
@json_option
def yank_package(name: str, version: str, project_path: str, filename: str | None, reason: str, as_json: bool) -> None:
    """Yank a VERSION of the package NAME, or one file of it.

    Clients install it only where exactly this version is asked for. Files published to it later are yanked too.
    """
    project = _find(project_path, Project)
    with transaction():
        for package, file in _yankable(project, name, version, filename):
            if file is None:
                releases.yank_version(package, project, reason, by=SHELL)
            else:
                releases.yank_file(file, package, project, reason, by=SHELL)
    _print_yank("Yanked", project, name, version, filename, as_json)


@packages_group.command("unyank")
@click.argument("name")
@click.argument("version")
@holder_option
@file_option
@json_option
def unyank_package(name: str, version: str, project_path: str, filename: str | None, as_json: bool) -> None:
    """Offer a yanked VERSION of the package NAME, or one file of it, again."""
    project = _find(project_path, Project)
    with transaction():
        for package, file in _yankable(project, name, version, filename):
            if file is None:
                releases.unyank_version(package, project, by=SHELL)
            else:
                releases.unyank_file(file, package, project, by=SHELL)
    _print_yank("Unyanked", project, name, version, filename, as_json)


@packages_group.command("status")
@click.argument("name")
@click.argument("status", required=False, type=click.Choice([str(status) for status in NameStatus]))
@holder_option
@reason_option
@json_option
def name_status(name: str, status: str | None, project_path: str, reason: str, as_json: bool) -> None:
    """Show the status of the package NAME in a project, or set it to STATUS.

    Archived names take no uploads; quarantined ones offer no files either; a deprecated one is only called so.
    """
    project = _find(project_path, Project)
    if status is None and reason:
        raise click.UsageError("--reason goes with a STATUS.")
    with _missing(f"package {name} in {project.full_path}"):
        if status is None:
            said = catalog.package_name(project, name)
        else:
            said = releases.set_name_status(project, name, NameStatus(status), reason, by=SHELL)
    sentence = f"{said.normalized_name} in {project.full_path} is {said.status}"
    _print(_name_record(said, project), as_json, f"{sentence}: {said.reason}" if said.reason else f"{sentence}.")


def _packages_named(project: Project, name: str, version: str) -> list[Package]:
    packages = catalog.packages_named(project, name, version)
    if not packages:
        raise click.ClickException(f"There is no package {name} {version} in {project.full_path}.")
    return packages


def _yankable(
    project: Project, name: str, version: str, filename: str | None
) -> list[tuple[Package, PackageFile | None]]:
    """The packages of a version, or the one with this file and the file."""
    packages = _packages_named(project, name, version)
    if filename is None:
        return [(package, None) for package in packages]
    for package in packages:
        file = db.session.scalar(catalog.package_files(package).where(PackageFile.filename == filename))
        if file is not None:
            return [(package, file)]
    raise click.ClickException(f"{name} {version} in {project.full_path} has no file {filename}.")


def _print_yank(done: str, project: Project, name: str, version: str, filename: str | None, as_json: bool) -> None:
    packages = catalog.packages_named(project, name, version)
    files = [file for package in packages for file in db.session.scalars(catalog.package_files(package))]
    record = {
        "project": project.full_path,
        "name": packages[0].name,
        "version": version,
        "files": [
            {"filename": file.filename, "yanked": file.is_yanked, "yanked_reason": file.yanked_reason} for file in files
        ],
    }
    _print(record, as_json, f"{done} {filename or f'{packages[0].name} {version}'} in {project.full_path}.")


@packages_group.command("check", cls=SchemaCommand)
@click.argument(
    "paths", metavar="FILE...", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@json_option
def check_files(paths: tuple[Path, ...], as_json: bool) -> None:
    """Look at wheels and sdists as an upload would, and upload nothing. Fails when one would be refused.

    Prints a line for every problem: the file, and what is wrong with it. A file in order has one with "ok".
    """
    checked = {path: _examined(path) for path in paths}
    if as_json:
        _print_all([_examination_record(path, examination) for path, examination in checked.items()], as_json)
    else:
        for path, examination in checked.items():
            for problem in examination.problems or ("ok",):
                _print_all([{"file": path, "problem": problem}], as_json)
    refused = sum(bool(examination.problems) for examination in checked.values())
    if refused:
        raise click.ClickException(f"{refused} of {len(checked)} files would be refused.")


def _examined(path: Path) -> Examination:
    try:
        with path.open("rb") as file:
            return gate.examine(file, path.name)
    except OSError as error:
        raise click.ClickException(f"{path} cannot be read: {error.strerror}.") from error


def _examination_record(path: Path, examination: Examination) -> Record:
    found = examination.distribution
    return {
        "file": path,
        "name": found and found.name,
        "version": found and found.version,
        "errors": [problem.as_json() for problem in examination.problems],
    }


@packages_group.command("cleanup")
@json_option
def clean_up(as_json: bool) -> None:
    """Free the disk of what was deleted: to be run once a day, while the registry serves.

    Files that no package refers to stay for an hour, as an upload may be under way.
    """
    report = cleanup.run(_storage(), utcnow())
    _print(
        dataclasses.asdict(report),
        as_json,
        f"Removed {report.packages} packages, {report.files} package files, {report.objects} stored objects "
        f"({report.size_bytes} bytes) and {report.staged_files} unfinished uploads.",
    )


@packages_group.command("verify")
@click.option("--repair", is_flag=True, help="Remove stored objects that no package file refers to.")
@json_option
def verify_packages(repair: bool, as_json: bool) -> None:
    """Read every stored object and compare it with the database. Fails when something is wrong.

    Lists what is missing, damaged, or more than a day old without a package file that refers to it. What is missing or
    damaged has to be deleted, cleaned up and published again.
    """
    problems: list[Record] = []
    tell = (lambda problem: problems.append(_problem_record(problem))) if as_json else _print_problem
    summary = verification.verify(_storage(), utcnow(), tell, repair=repair)
    counts = (
        f"{summary.missing} missing, {summary.damaged} damaged, {summary.orphaned} without a package file, "
        f"{summary.removed} removed"
    )
    _print(
        {**dataclasses.asdict(summary), "problems": problems}, as_json, f"Checked {summary.checked} objects: {counts}."
    )
    if not summary.is_sound:
        raise click.ClickException(f"The store is not as it should be: {counts}.")


def _print_problem(problem: Problem) -> None:
    _print_all([_problem_record(problem)], as_json=False)


def _problem_record(problem: Problem) -> Record:
    return {
        "defect": problem.defect,
        "key": problem.key,
        "files": problem.files,
        "removed": problem.removed,
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


def _name_record(said: PackageName, project: Project) -> Record:
    return {
        "project": project.full_path,
        "name": said.normalized_name,
        "status": said.status,
        "reason": said.reason,
    }


def _storage() -> Storage:
    storage: Storage = current_app.extensions["storage"]
    return storage


# Looking up, asking, printing -----------------------------------------------------------------------------------

AnyNamespace = TypeVar("AnyNamespace", bound=Namespace)


def _find_user(username: str) -> User:
    with _missing(f"user {username}"):
        return accounts.find_user(username)


def _find(path: str, kind: type[AnyNamespace]) -> AnyNamespace:
    what = "group or user" if kind is Namespace else kind.__name__.lower()
    with _missing(f"{what} {path}"):
        return namespaces.find(path, kind)


def _namespace(project_path: str | None, group_path: str | None, choices: str) -> Project | Group:
    if (project_path is None) == (group_path is None):
        raise click.UsageError(f"Say which: one of {choices}.")
    return _find(project_path, Project) if project_path else _find(group_path or "", Group)


@contextmanager
def _missing(what: str) -> Iterator[None]:
    """Name what was not found: at the shell there is nothing to hide."""
    try:
        yield
    except NotFound as error:
        raise click.ClickException(f"There is no {what}.") from error


def _is_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


def _print(record: Record, as_json: bool, sentence: str) -> None:
    click.echo(_json(record) if as_json else sentence)


def _print_all(records: Iterable[Record], as_json: bool) -> None:
    if as_json:
        click.echo(_json(list(records)))
    else:
        for record in records:
            click.echo("\t".join(_plain(value) for value in record.values()))


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2, default=_plain)


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return "-" if value is None else str(value)
