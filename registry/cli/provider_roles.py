"""``flask provider-roles``: the roles that follow from groups of the identity provider."""

from __future__ import annotations

import click

from registry.cli.commands import CommandGroup, find_namespace, json_option, missing
from registry.cli.output import Record, print_record, print_records
from registry.domain.access import SHELL
from registry.domain.single_sign_on import provider_roles
from registry.models import MEMBER_ROLES, Group, ProviderRole, Role


@click.group("provider-roles", cls=CommandGroup)
def provider_roles_group() -> None:
    """Add, list, and delete the roles that follow from groups of the identity provider."""


@provider_roles_group.command("add")
@click.argument("provider_group", metavar="PROVIDER-GROUP")
@click.argument("group_path", metavar="GROUP")
@click.option(
    "--role", "role_name", default="developer", show_default=True,
    type=click.Choice([role.name.lower() for role in MEMBER_ROLES]), help="Role in GROUP.",
)  # fmt: skip
@json_option
def add_role(provider_group: str, group_path: str, role_name: str, as_json: bool) -> None:
    """Give people in the group PROVIDER-GROUP of the identity provider a role in the group GROUP.

    They get it at their next sign-in.
    """
    group, role = find_namespace(group_path, Group), Role[role_name.upper()]
    added = provider_roles.add(provider_group, group, role, by=SHELL)
    print_record(
        _record(added), as_json,
        f"Added role {added.id}: {role.title} in {group.full_path} for {added.provider_group}.",
    )  # fmt: skip


@provider_roles_group.command("list")
@json_option
def list_roles(as_json: bool) -> None:
    """List the roles that follow from groups of the identity provider.

    Columns: id, group of the identity provider, group, role.
    """
    print_records(map(_record, provider_roles.provider_roles()), as_json)


@provider_roles_group.command("delete")
@click.argument("role_id", metavar="ID", type=int)
@json_option
def delete_role(role_id: int, as_json: bool) -> None:
    """Delete the role with this ID.

    If no other role is in the same group, the memberships that followed from it end immediately; otherwise, they end at
    the next sign-in.
    """
    with missing(f"role {role_id}"):
        deleted = provider_roles.provider_role(role_id)
        record = _record(deleted)
        provider_roles.delete(role_id, by=SHELL)
    print_record(record, as_json, f"Deleted role {role_id}.")


def _record(role: ProviderRole) -> Record:
    return {
        "id": role.id,
        "provider_group": role.provider_group,
        "group": role.group.full_path,
        "role": role.role.name.lower(),
    }
