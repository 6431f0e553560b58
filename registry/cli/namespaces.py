"""``flask groups`` and ``flask projects``: creates and lists groups and projects."""

from __future__ import annotations

import click

from registry.cli.commands import CommandGroup, find_namespace, find_user, json_option
from registry.cli.output import Record, print_record, print_records
from registry.database import db, transaction
from registry.domain import namespaces
from registry.domain.access import SHELL
from registry.models import Group, Namespace, Role, Visibility

visibility_option = click.option(
    "--visibility", type=click.Choice([visibility.label for visibility in Visibility]),
    help="Default: that of the instance settings, limited by the visibility of the parent.",
)  # fmt: skip


@click.group("groups", cls=CommandGroup)
def groups_group() -> None:
    """Create and list groups."""


@groups_group.command("create")
@click.argument("path")
@click.option("--name", help="Display name. Default: the last part of the path.")
@visibility_option
@click.option(
    "--owner",
    metavar="USERNAME",
    help="Make this user an Owner. Without an Owner, only administrators manage the group.",
)
@json_option
def create_group(path: str, name: str | None, visibility: str | None, owner: str | None, as_json: bool) -> None:
    """Create the group PATH. If PATH contains slashes, create a subgroup of an existing group."""
    parent_path, _, last = path.rpartition("/")
    with transaction():
        group = namespaces.create_group(
            name=name or last, path=last, parent=find_namespace(parent_path, Group) if parent_path else None,
            visibility=_visibility(visibility), by=SHELL,
        )  # fmt: skip
        if owner:
            namespaces.add_member(group, find_user(owner), Role.OWNER, by=SHELL)
    print_record(_namespace_record(group), as_json, f"Created group {group.full_path}.")


@groups_group.command("list")
@json_option
def list_groups(as_json: bool) -> None:
    """List all groups by path: id, path, name, visibility."""
    found = db.session.scalars(namespaces.groups(SHELL, namespaces.NamespaceFilter(order_by="full_path_key")))
    print_records(map(_namespace_record, found), as_json)


@click.group("projects", cls=CommandGroup)
def projects_group() -> None:
    """Create and list projects, which hold packages."""


@projects_group.command("create")
@click.argument("path")
@click.option("--name", help="Display name. Default: the last part of the path.")
@visibility_option
@json_option
def create_project(path: str, name: str | None, visibility: str | None, as_json: bool) -> None:
    """Create the project PATH, such as group/subgroup/project or user/project."""
    parent_path, _, last = path.rpartition("/")
    if not parent_path:
        raise click.UsageError(f"{path!r} does not contain the group or user of the project.")
    project = namespaces.create_project(
        name=name or last, path=last, parent=find_namespace(parent_path, Namespace),
        visibility=_visibility(visibility), by=SHELL,
    )  # fmt: skip
    print_record(_namespace_record(project), as_json, f"Created project {project.full_path}.")


@projects_group.command("list")
@click.option("--group", "group_path", metavar="PATH", help="List only projects in this group and its subgroups.")
@json_option
def list_projects(group_path: str | None, as_json: bool) -> None:
    """List projects by path: id, path, name, visibility."""
    below = find_namespace(group_path, Group) if group_path else None
    found = db.session.scalars(
        namespaces.projects(SHELL, namespaces.NamespaceFilter(order_by="full_path_key"), below=below)
    )
    print_records(map(_namespace_record, found), as_json)


def _visibility(label: str | None) -> Visibility | None:
    return None if label is None else Visibility[label.upper()]


def _namespace_record(namespace: Namespace) -> Record:
    return {
        "id": namespace.id,
        "path": namespace.full_path,
        "name": namespace.name,
        "visibility": namespace.visibility.label,
    }
