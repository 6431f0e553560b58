"""Roles that follow from groups of the identity provider, from the shell."""

from __future__ import annotations

from registry.models import Group
from tests.cli.running import Refused, Run, columns, loaded, succeeded


def test_roles_are_added_listed_and_deleted(run: Run, refused: Refused, group: Group) -> None:
    added = loaded(run("provider-roles", "add", "eng", "acme", "--role", "maintainer", "--json"))
    listed = columns(run("provider-roles", "list"))
    again = refused("provider-roles", "add", "eng", "acme")
    deleted = succeeded(run("provider-roles", "delete", str(added["id"])))

    assert listed == [[str(added["id"]), "eng", "acme", "maintainer"]]
    assert "taken" in again
    assert deleted == f"Deleted role {added['id']}.\n"
    assert columns(run("provider-roles", "list")) == []
    assert refused("provider-roles", "delete", str(added["id"])) == f"There is no role {added['id']}."
    assert refused("provider-roles", "add", "eng", "missing") == "There is no group missing."
