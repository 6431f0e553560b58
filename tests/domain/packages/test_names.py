from __future__ import annotations

import pytest
from flask import Flask
from packaging.version import Version

from registry.database import db
from registry.domain.access import SHELL
from registry.domain.distributions.filenames import is_valid_name
from registry.domain.packages import names, releases
from registry.domain.packages.names import is_valid_version
from registry.models import NameStatus, PackageStatus, RegistryAccess
from tests import factories
from tests.domain.packages.on_paper import publish


def test_invalid_versions_are_sorted_before_all_others() -> None:
    assert names.sorted_versions(["1.0", "2004d", "0.1", "1.0", "latest"]) == ("2004d", "latest", "0.1", "1.0")


def test_a_name_is_held_by_its_project_and_all_groups_above(app: Flask, statements: list[str]) -> None:
    top = factories.group()
    inner = factories.group(parent=top)
    project, beside = factories.project(parent=inner), factories.project(parent=inner)
    elsewhere = factories.project()
    for name in ("kept", "deleted", "quarantined", "deprecated"):
        package = publish(project, name.capitalize())
        if name in (NameStatus.QUARANTINED, NameStatus.DEPRECATED):
            releases.set_name_status(project, name, NameStatus(name), by=SHELL)
            db.session.delete(package)
        elif name == "deleted":
            package.status = PackageStatus.PENDING_DESTRUCTION
    publish(elsewhere, "other")
    project.registry_access = RegistryAccess.DISABLED
    db.session.commit()

    asked = ("kept", "deleted", "quarantined", "deprecated", "other", "Kept")
    held = {
        namespace: [name for name in asked if names.is_held(namespace, name)]
        for namespace in (project, inner, top, beside, elsewhere)
    }

    expected = ["kept", "deleted", "quarantined"]
    assert held == {project: expected, inner: expected, top: expected, beside: [], elsewhere: ["other"]}
    del statements[:]
    names.is_held(top, "kept")
    assert len(statements) == 1


ACCEPTED = [
    "0.1", "2012.15", "1!1.1", "0100!0.0", "v1.0", "V2", "1.0a", "1.0-a", "1.0.A1", "1.0alpha1", "1.0rc1", "1.0c3",
    "1.0preview1", "1.0-1", "1.0b2-346", "1.0.post1", "1.0.rev33", "1.0r4", "1.0.DEV", "1.0a1.dev456",
    "1.0b2.post345.dev456", "1.0+5", "1.2.rev33+123456", "1.0+ABC.5-x_1", "1.0-dev-",
]  # fmt: skip
REFUSED = [
    "", "v", "abc", "1..0", "1.", "1.0.x", "1.0 ", " 1.0", "1.0\n", "1.0+", "1.0+a..b", "1.0.post1.rc1", "./../1.0",
    "1.0/1", "%2e%2e%2f1", "1,0", "١.٠", "1.0\x00", "1.0ſ", "vv1", "1!", "1.0dev1.post2", "1" * 256,
]  # fmt: skip


@pytest.mark.parametrize("version", ACCEPTED)
def test_a_version_that_gitlab_and_pep_440_know_is_accepted(version: str) -> None:
    assert is_valid_version(version)
    assert Version(version)


@pytest.mark.parametrize("version", REFUSED, ids=ascii)
def test_anything_else_is_no_version(version: str) -> None:
    assert not is_valid_version(version)


@pytest.mark.parametrize("name", ["a", "7", "demo", "Demo.Pkg", "a_b-c.d", "a--b..c__d", "x" * 255])
def test_a_name_of_pep_508_is_accepted(name: str) -> None:
    assert is_valid_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "", "-a", "a-", ".a", "a.", "_x", "x_", "a b", "a/b", "@scope/pkg", ".$/@!^*", "a\n", "a\x00", "é", "ſ",
        "\u212a", "a+b", "a[b]", "../a", "x" * 256, "a١",
    ],
    ids=ascii,
)  # fmt: skip
def test_anything_else_is_no_name(name: str) -> None:
    assert not is_valid_name(name)
