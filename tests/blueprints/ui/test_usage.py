"""Usage quotas: storage by project and by package."""

from __future__ import annotations

import pytest

from registry.blueprints.ui.forms import bytes_of, with_unit
from registry.domain import namespaces
from registry.domain.access import SHELL
from registry.models import Role
from tests import factories
from tests.builders import build_wheel


def rows(page):
    return [
        [" ".join("".join(cell.itertext()).split()) for cell in row][:4] for row in page.tree.find(".//tbody") or ()
    ]


def test_a_project_shows_the_storage_of_each_package_name(browser_of, owner, project):
    for name, version in (("demo", "1.0"), ("demo", "2.0"), ("other", "1.0")):
        factories.published(project, build_wheel(name, version))

    factories.published(project, build_wheel("Also-Small"))
    browser = browser_of(owner)
    page = browser.get("/acme/tools/-/usage_quotas")
    by_name = browser.get("/acme/tools/-/usage_quotas?order_by=name")

    assert rows(page)[0][:3] == ["demo", "2", "2"]
    assert [row[:3] for row in rows(by_name)] == [["Also-Small", "1", "1"], ["demo", "2", "2"], ["other", "1", "1"]]
    assert "/acme/tools/-/packages/names/also-small" in page.links


def test_a_group_shows_the_storage_of_each_project_below(browser_of, owner, group, project):
    deep = factories.project("deep", parent=factories.group("inner", parent=group))
    factories.published(project, build_wheel("demo", "1.0"))
    factories.published(deep, build_wheel("demo", "1.0"))
    factories.published(deep, build_wheel("demo", "2.0"))

    page = browser_of(owner).get("/groups/acme/-/usage_quotas")

    assert rows(page) == [["Acme / Inner / Deep", "1", "2", "2"], ["Acme / Tools", "1", "1", "1"]]


def test_an_empty_storage_page_has_a_text(browser_of, owner, project):
    assert "No packages use storage here" in browser_of(owner).get("/acme/tools/-/usage_quotas").text


@pytest.mark.parametrize(
    ("role", "path", "status"),
    [
        (Role.MAINTAINER, "/acme/tools/-/usage_quotas", 200),
        (Role.DEVELOPER, "/acme/tools/-/usage_quotas", 403),
        (Role.OWNER, "/groups/acme/-/usage_quotas", 200),
        (Role.MAINTAINER, "/groups/acme/-/usage_quotas", 403),
    ],
    ids=str,
)
def test_who_can_see_storage(browser_of, group, project, role, path, status):
    assert browser_of(factories.member(group, role)).get(path).status_code == status


def test_the_number_of_statements_does_not_grow_with_the_packages(browser_of, owner, project, statements):
    factories.published(project, build_wheel("demo", "1.0"))
    browser = browser_of(owner)
    browser.get("/acme/tools/-/usage_quotas")
    del statements[:]
    browser.get("/acme/tools/-/usage_quotas")
    few = len(statements)
    for number in range(5):
        factories.published(project, build_wheel(f"demo{number}", "1.0"))
    del statements[:]

    browser.get("/acme/tools/-/usage_quotas")

    assert len(statements) == few


@pytest.mark.parametrize(
    ("path", "of"), [("/acme/tools/-/usage_quotas", "project"), ("/groups/acme/-/usage_quotas", "group")]
)
def test_an_administrator_sets_a_limit_that_is_shown_to_all(browser_of, admin, owner, group, project, path, of):
    namespace = {"project": project, "group": group}[of]
    administrator = browser_of(admin)

    saved = administrator.submit(path, {"storage_size_limit": "2 KiB"})
    refused = administrator.submit(path, {"storage_size_limit": "-1"})

    assert (saved.status_code, refused.status_code) == (303, 422)
    assert "storage_size_limit" in refused.errors
    factories.reload(namespace)
    assert namespace.storage_size_limit == 2048
    shown = browser_of(owner).get(path)
    assert f"Limit of {namespace.full_path}2.00 KiB 0 bytes used" in shown.text
    assert "Save limit" not in shown.text
    assert browser_of(owner).post(path, {"storage_size_limit": "1"}).status_code == 403
    administrator.submit(path, {"storage_size_limit": ""})
    factories.reload(namespace)
    assert namespace.storage_size_limit is None


def test_what_a_group_above_holds_is_shown_only_to_its_members(browser_of, owner, maintainer, group, project):
    namespaces.change(group, namespaces.NamespaceChanges(storage_size_limit=2048), by=SHELL)

    page = browser_of(maintainer).get("/acme/tools/-/usage_quotas")

    assert "Limit of acme2.00 KiB" in page.text
    assert "used" not in page.text
    assert "2.00 KiB 0 bytes used" in browser_of(owner).get("/acme/tools/-/usage_quotas").text


@pytest.mark.parametrize(
    ("entered", "size_bytes", "shown"),
    [
        ("0", 0, "0"),
        ("1000", 1000, "1000"),
        (" 10 GiB ", 10 * 1024**3, "10 GiB"),
        ("10gib", 10 * 1024**3, "10 GiB"),
        ("1.5 MB", 1_500_000, "1500000"),
        ("0.5 TiB", 1024**4 // 2, "512 GiB"),
        ("10 apples", None, None),
        ("1.5", None, None),
        ("many", None, None),
        ("", None, None),
    ],
)
def test_a_size_is_entered_with_or_without_a_unit(entered, size_bytes, shown):
    assert bytes_of(entered) == size_bytes
    assert size_bytes is None or with_unit(size_bytes) == shown
