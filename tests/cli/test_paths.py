"""Paths that were given up, from the shell."""

from __future__ import annotations

from datetime import timedelta

from registry.database import utcnow
from registry.domain import namespaces
from registry.domain.access import SHELL
from registry.models import Group, Project
from tests import factories
from tests.builders import build_wheel
from tests.cli.running import Refused, Run, succeeded


def test_old_paths_are_listed_and_freed(run: Run, refused: Refused, group: Group, project: Project) -> None:
    factories.published(project, build_wheel())
    namespaces.change(group, namespaces.NamespaceChanges(path="beta"), by=SHELL)
    namespaces.change(factories.group("free"), namespaces.NamespaceChanges(path="other"), by=SHELL)
    until = (utcnow() + timedelta(days=90)).date().isoformat()

    listed = succeeded(run("paths", "list")).splitlines()
    freed = succeeded(run("paths", "free", "ACME"))

    assert listed == ["free\tother\t-", f"acme\tbeta\t{until}"]
    assert freed == "Freed the path acme.\n"
    assert succeeded(run("paths", "list")).splitlines() == ["free\tother\t-"]
    assert refused("paths", "free", "acme") == "There is no old path acme."
