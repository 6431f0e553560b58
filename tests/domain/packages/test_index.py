from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Flask
from sqlalchemy import select

from registry.database import db
from registry.domain import instance
from registry.domain.access import ANONYMOUS, SHELL, Principal
from registry.domain.packages import index, lists, releases
from registry.domain.packages.lists import PackageFilter
from registry.models import (
    FileStatus,
    Group,
    NameStatus,
    PackageFile,
    PackageStatus,
    Project,
    RegistryAccess,
    Role,
    Visibility,
)
from tests import factories
from tests.domain.packages.on_paper import (
    INTERNAL,
    NOW,
    PRIVATE,
    PUBLIC,
    digest,
    downloads,
    filenames,
    index_names,
    page,
    project_of,
    publish,
)


def test_a_page_holds_everything_clients_learn_about_a_file(project: Project) -> None:
    publish(project, "My.Pkg", "1.0", "my_pkg-1.0.tar.gz")

    found = page(project, "my-pkg")

    assert found is not None
    assert (found.name, found.title, found.versions) == ("my-pkg", "My.Pkg", ("1.0",))
    [file] = found.files
    sha256 = digest("my_pkg-1.0.tar.gz")
    assert (file.filename, file.sha256, file.url) == (
        "my_pkg-1.0.tar.gz", sha256, f"https://registry.test/files/{sha256}/my_pkg-1.0.tar.gz",
    )  # fmt: skip
    assert (file.size_bytes, file.requires_python, file.uploaded_at) == (100, ">=3.9", NOW)
    assert file.core_metadata_sha256 == digest("my_pkg-1.0.tar.gz.metadata")


def test_metadata_that_a_build_may_change_is_not_announced(project: Project) -> None:
    publish(project)
    db.session.scalars(select(PackageFile)).one().core_metadata_is_final = False
    db.session.commit()

    found = page(project)
    file = index.downloadable_file(project, digest("demo-1.0-py3-none-any.whl"), "demo-1.0-py3-none-any.whl", SHELL)

    assert found is not None
    assert found.files[0].core_metadata_sha256 is None
    assert file is not None
    assert file.core_metadata_sha256 is None


def test_a_page_joins_all_spellings_of_a_name_in_the_order_of_upload(project: Project) -> None:
    publish(project, "my_pkg", "2.0", "my_pkg-2.0.zip", "my_pkg-2.0.tar.gz")
    publish(project, "My.Pkg", "1.0", "my_pkg-1.0.tar.gz")
    publish(project, "my-pkg2", "1.0")

    found = page(project, "my-pkg")

    assert found is not None
    assert [file.filename for file in found.files] == ["my_pkg-2.0.zip", "my_pkg-2.0.tar.gz", "my_pkg-1.0.tar.gz"]
    assert (found.title, found.versions) == ("my_pkg", ("1.0", "2.0"))


def test_versions_are_sorted_by_pep_440(project: Project) -> None:
    versions = ["1.10", "1.9", "1.0.post1", "1.0.dev1", "1.0rc1", "1!0.1", "1.0", "1.0.0", "v1.0", "1.0+local"]
    for version in versions:
        publish(project, "demo", version)

    found = page(project)

    assert found is not None
    assert found.versions == (
        "1.0.dev1", "1.0rc1", "1.0", "1.0.0", "v1.0", "1.0+local", "1.0.post1", "1.9", "1.10", "1!0.1",
    )  # fmt: skip


def test_a_name_that_is_not_there_has_no_page(project: Project) -> None:
    publish(project, "demo")

    assert page(project, "demo2") is None
    assert page(factories.project("other")) is None


@pytest.mark.parametrize("status", PackageStatus)
def test_installable_files_depend_on_the_packages_status(project: Project, group: Group, status: PackageStatus) -> None:
    publish(project, "demo", "1.0", "demo-1.0.zip", status=status)
    installable = status is PackageStatus.DEFAULT

    for namespace in (project, group):
        assert filenames(namespace) == (["demo-1.0.zip"] if installable else None)
        assert index_names(namespace) == (["demo"] if installable else [])
        assert downloads(namespace, "demo-1.0.zip") is installable


def test_a_package_without_files_keeps_its_name_with_an_empty_page(project: Project, group: Group) -> None:
    publish(project, "demo", "1.0", "demo-1.0.zip")
    db.session.scalars(select(PackageFile)).one().status = FileStatus.PENDING_DESTRUCTION
    db.session.commit()

    for namespace in (project, group):
        found = page(namespace)
        assert found is not None
        assert (found.files, found.versions) == ((), ("1.0",))
        assert index_names(namespace) == ["demo"]
        assert not downloads(namespace, "demo-1.0.zip")


def say(project: Project, status: NameStatus, reason: str = "", name: str = "demo") -> None:
    releases.set_name_status(project, name, status, reason, by=SHELL)


def test_a_page_shows_which_files_are_yanked_and_why(project: Project, group: Group) -> None:
    half_yanked = publish(project, "demo", "1.0", "demo-1.0.zip", "demo-1.0.tar.gz")
    yanked = publish(project, "demo", "2.0", "demo-2.0.zip")
    releases.yank_version(yanked, project, "Loses data", by=SHELL)
    sdist = db.session.scalars(select(PackageFile).where(PackageFile.filename == "demo-1.0.tar.gz")).one()
    releases.yank_file(sdist, half_yanked, project, by=SHELL)

    for namespace in (project, group):
        found = page(namespace)
        assert found is not None
        assert [file.yanked_reason for file in found.files] == [None, "", "Loses data"]
        assert found.versions == ("1.0", "2.0")
        assert downloads(namespace, "demo-2.0.zip")


@pytest.mark.parametrize("status", NameStatus)
def test_a_page_shows_the_status_of_its_name(project: Project, group: Group, status: NameStatus) -> None:
    publish(project, "Demo")
    publish(project, "demo", "2.0")
    publish(project, "demo2")
    say(project, status, "Told so")
    offered = status is not NameStatus.QUARANTINED

    for namespace in (project, group):
        found, other = page(namespace), page(namespace, "demo2")
        assert found is not None
        assert other is not None
        assert (found.status, found.status_reason, found.versions) == (status, "Told so", ("1.0", "2.0"))
        assert (other.status, other.status_reason, len(other.files)) == ("active", "", 1)
        assert len(found.files) == (2 if offered else 0)
        assert downloads(namespace, "demo-1.0-py3-none-any.whl") is offered
        assert downloads(namespace, "demo2-1.0-py3-none-any.whl")
        assert index_names(namespace) == ["demo", "demo2"]


@pytest.mark.parametrize("status", NameStatus)
def test_only_a_quarantined_name_has_a_page_when_its_packages_are_gone(
    project: Project, group: Group, status: NameStatus
) -> None:
    package = publish(project, "demo")
    say(project, status, "Told so")
    package.status = PackageStatus.PENDING_DESTRUCTION
    db.session.commit()

    for namespace in (project, group):
        found = page(namespace)
        if status is NameStatus.QUARANTINED:
            assert found is not None
            assert (found.name, found.title, found.files, found.versions) == ("demo", "demo", (), ())
            assert (found.status, found.status_reason) == ("quarantined", "Told so")
        else:
            assert found is None
        assert index_names(namespace) == []
    assert page(factories.project("other")) is None


ACTIVE, DEPRECATED, ARCHIVED, QUARANTINED = NameStatus


@pytest.mark.parametrize(
    ("said", "shown", "offered"),
    [
        ([ACTIVE, ACTIVE], "active", [0, 1]),
        ([DEPRECATED, DEPRECATED], "deprecated by 0", [0, 1]),
        ([ACTIVE, DEPRECATED], "deprecated by 1", [0, 1]),
        ([ARCHIVED, DEPRECATED, ACTIVE], "archived by 0", [0, 1, 2]),
        ([QUARANTINED, ACTIVE], "active", [1]),
        ([QUARANTINED, DEPRECATED, QUARANTINED, ARCHIVED], "archived by 3", [1, 3]),
        ([QUARANTINED, QUARANTINED], "quarantined by 0", []),
    ],
    ids=lambda value: "+".join(map(str, value)) if isinstance(value, list) else value,
)
def test_a_group_shows_the_most_severe_status_of_the_projects_whose_files_it_offers(
    group: Group, said: list[NameStatus], shown: str, offered: list[int]
) -> None:
    for number, status in enumerate(said):
        each = factories.project(f"p{number}", parent=group)
        publish(each, "demo", "1.0", f"demo-1.0-{number}-py3-none-any.whl")
        if status is not ACTIVE:
            say(each, status, f"by {number}")

    found = page(group)

    assert found is not None
    assert f"{found.status} {found.status_reason}".strip() == shown
    assert [file.filename for file in found.files] == [f"demo-1.0-{number}-py3-none-any.whl" for number in offered]
    for number in range(len(said)):
        assert downloads(group, f"demo-1.0-{number}-py3-none-any.whl") is (number in offered)


def test_a_status_is_hidden_from_readers_without_access_to_its_project(forest: Group) -> None:
    hidden = project_of(forest, "private")
    publish(hidden, "open", "2.0")
    say(hidden, QUARANTINED, "Secret", "open")
    say(hidden, QUARANTINED, "Secret", "private")

    shown = page(forest, "open", ANONYMOUS)

    assert shown is not None
    assert (shown.status, shown.status_reason, shown.versions) == ("active", "", ("1.0",))
    assert page(forest, "private", ANONYMOUS) is None


def test_the_same_file_may_be_offered_by_another_project(group: Group, project: Project) -> None:
    other = factories.project("other", parent=group)
    for each in (other, project):
        publish(each, "demo", "1.0", "demo-1.0.zip")
    say(project, QUARANTINED)

    assert filenames(group) == ["demo-1.0.zip"]
    assert downloads(group, "demo-1.0.zip")
    assert not downloads(project, "demo-1.0.zip")


def test_the_index_names_each_package_once_as_last_spelled(project: Project) -> None:
    publish(project, "My_Pkg", "1.0")
    publish(project, "my.pkg", "2.0")
    publish(project, "Alpha", "1.0")

    found = index.simple_index(project, lambda name: f"https://registry.test/simple/{name}", SHELL)

    assert found.title == "Tools"
    assert found.names == (
        ("alpha", "Alpha", "https://registry.test/simple/alpha"),
        ("my-pkg", "my.pkg", "https://registry.test/simple/my-pkg"),
    )


def test_the_index_is_sorted_by_normalized_name(project: Project) -> None:
    for name in ("ab", "a-c", "A.b", "a1", "B", "a"):
        publish(project, name)

    assert index_names(project) == ["a", "a-b", "a-c", "a1", "ab", "b"]


def test_an_empty_namespace_has_an_empty_index(project: Project, group: Group) -> None:
    assert index_names(project) == index_names(group) == []


def test_a_file_is_found_by_exactly_its_name_and_digest(project: Project) -> None:
    publish(project, "demo", "1.0", "demo-1.0.zip", "demo-1.0.tar.gz")

    def found(sha256: str, filename: str) -> bool:
        return index.downloadable_file(project, sha256, filename, SHELL) is not None

    right = digest("demo-1.0.zip")
    assert found(right, "demo-1.0.zip")
    assert not found(right, "demo-1.0.tar.gz")
    assert not found(right, "Demo-1.0.zip")
    assert not found(right, "demo-1.0")
    assert not found(right.upper(), "demo-1.0.zip")
    assert not found(right[:-1], "demo-1.0.zip")


def test_of_several_records_with_one_file_the_newest_is_downloaded(project: Project, group: Group) -> None:
    other = factories.project("other", parent=group)
    publish(project, "demo", "1.0", "demo-1.0.zip")
    newest = publish(other, "demo", "1.0", "demo-1.0.zip")

    file = index.downloadable_file(group, digest("demo-1.0.zip"), "demo-1.0.zip", SHELL)

    assert file is not None
    assert file.id == db.session.scalars(lists.package_files(newest)).one().id
    assert (file.filename, file.size_bytes, file.uploaded_at) == ("demo-1.0.zip", 100, NOW)


EVERYTHING = ["deep", "internal", "members", "open", "private", "pullable"]
READERS: dict[str, tuple[Callable[[Group], Principal], list[str]]] = {
    "anonymous": (lambda _: ANONYMOUS, ["deep", "open"]),
    "stranger": (lambda _: factories.signed_in(factories.user()), ["deep", "internal", "open"]),
    "external stranger": (lambda _: factories.signed_in(factories.user(is_external=True)), ["deep", "open"]),
    "guest": (lambda top: factories.signed_in(factories.member(top, Role.GUEST)), ["deep", "internal", "open"]),
    "reporter": (lambda top: factories.signed_in(factories.member(top, Role.REPORTER)), EVERYTHING),
    "administrator": (lambda _: factories.signed_in(factories.user(is_admin=True)), EVERYTHING),
    "member of one project": (
        lambda top: factories.signed_in(factories.member(project_of(top, "private"), Role.REPORTER)),
        ["deep", "internal", "open", "private"],
    ),
    "deploy token of the group": (lambda top: factories.by_deploy_token(top), EVERYTHING),
    "deploy token of one project": (lambda top: factories.by_deploy_token(project_of(top, "private")), ["private"]),
    "deploy token of another group": (lambda _: factories.by_deploy_token(factories.group()), []),
    "deploy token without package scope": (
        lambda top: factories.by_deploy_token(top, "read_registry"),
        ["deep", "open"],
    ),
    "job of a reporter": (
        lambda top: factories.by_job(project_of(top, "open"), factories.member(top, Role.REPORTER)),
        EVERYTHING,
    ),
}


@pytest.mark.parametrize("reader", READERS)
def test_a_group_shows_the_packages_its_reader_can_read(forest: Group, reader: str) -> None:
    find, readable = READERS[reader]
    by = find(forest)

    names = [*EVERYTHING, "disabled", "elsewhere"]
    assert index_names(forest, by) == readable
    assert [name for name in sorted(names) if page(forest, name, by)] == readable
    assert [name for name in sorted(names) if downloads(forest, f"{name}-1.0-py3-none-any.whl", by)] == readable
    listed = db.session.scalars(lists.packages(forest, by, PackageFilter()))
    assert sorted(package.name for package in listed) == readable
    assert index.hides_something(forest, by) is (readable != EVERYTHING)


def test_a_subgroup_shows_only_the_packages_below_it(forest: Group) -> None:
    sub = db.session.scalars(select(Group).where(Group.full_path == "top/sub")).one()

    assert index_names(sub) == ["deep", "private", "pullable"]
    assert page(sub, "open") is None


def test_guests_are_shown_everything_when_the_instance_lets_them_pull(forest: Group) -> None:
    guest = factories.signed_in(factories.member(forest, Role.GUEST))
    instance.change_instance(instance.InstanceChanges(allow_guest_plus_roles_to_pull_packages=True), by=SHELL)

    assert index_names(forest, guest) == EVERYTHING
    assert not index.hides_something(forest, guest)


def test_a_purely_public_group_hides_nothing(app: Flask) -> None:
    top = factories.group(visibility=PUBLIC)
    factories.project(parent=top, visibility=PUBLIC)
    factories.project(parent=top, visibility=PRIVATE, registry_access=RegistryAccess.DISABLED)

    assert not index.hides_something(top, ANONYMOUS)


@pytest.mark.parametrize(
    ("of_group", "of_project", "registry_access", "in_project", "in_group"),
    [
        (PUBLIC, PUBLIC, RegistryAccess.ENABLED, True, True),
        (PUBLIC, PUBLIC, RegistryAccess.PRIVATE, False, False),
        (PUBLIC, PUBLIC, RegistryAccess.DISABLED, False, False),
        (PUBLIC, INTERNAL, RegistryAccess.ENABLED, False, False),
        (PUBLIC, PRIVATE, RegistryAccess.PUBLIC, True, False),
        (INTERNAL, INTERNAL, RegistryAccess.PUBLIC, True, False),
    ],
)
def test_an_index_is_open_to_all_where_anonymous_clients_find_the_packages(
    app: Flask,
    of_group: Visibility,
    of_project: Visibility,
    registry_access: RegistryAccess,
    in_project: bool,
    in_group: bool,
) -> None:
    group = factories.group(visibility=of_group)
    project = factories.project(parent=group, visibility=of_project, registry_access=registry_access)
    publish(project)

    assert index.opens_to_all(project, project) is in_project
    assert index.opens_to_all(group, project) is in_group
    assert (page(group, by=ANONYMOUS) is not None) is in_group
