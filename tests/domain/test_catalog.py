from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from flask import Flask
from packaging.utils import canonicalize_name
from sqlalchemy import select

from registry.database import db
from registry.domain import access, instance
from registry.domain.access import ANONYMOUS, SHELL, Principal
from registry.domain.packages import deletion, index, lists, names, releases, usage
from registry.domain.packages.lists import PackageFilter
from registry.domain.packages.simple import SimplePage
from registry.errors import RecordNotFound
from registry.models import (
    FileStatus,
    Group,
    Job,
    Namespace,
    NameStatus,
    Package,
    PackageFile,
    PackageStatus,
    Project,
    RegistryAccess,
    Role,
    User,
    Visibility,
)
from tests import factories
from tests.builders import build_wheel

NOW = datetime(2030, 5, 17, 15, 30, tzinfo=UTC)
PUBLIC, INTERNAL, PRIVATE = Visibility.PUBLIC, Visibility.INTERNAL, Visibility.PRIVATE


def publish(
    project: Project,
    name: str = "demo",
    version: str = "1.0",
    *filenames: str,
    status: PackageStatus = PackageStatus.DEFAULT,
    job: Job | None = None,
) -> Package:
    """A package with files that exist on paper only; without names it has one wheel."""
    package = Package(
        project_id=project.id, name=name, version=version, normalized_name=canonicalize_name(name), status=status,
        created_at=NOW,
    )  # fmt: skip
    db.session.add(package)
    db.session.flush()
    for filename in filenames or (f"{canonicalize_name(name).replace('-', '_')}-{version}-py3-none-any.whl",):
        db.session.add(
            PackageFile(
                package_id=package.id, project_id=project.id, filename=filename, size_bytes=100, md5="", blake2b_256="",
                sha256=digest(filename), requires_python=">=3.9", core_metadata_sha256=digest(filename + ".metadata"),
                core_metadata_is_final=True, created_at=NOW, job_id=None if job is None else job.id,
            )
        )  # fmt: skip
    db.session.commit()
    return package


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def file_url(sha256: str, filename: str) -> str:
    return f"https://registry.test/files/{sha256}/{filename}"


def page(namespace: Namespace, name: str = "demo", by: Principal = SHELL) -> SimplePage | None:
    return index.simple_page(namespace, name, file_url, by)


def filenames(namespace: Namespace, name: str = "demo", by: Principal = SHELL) -> list[str] | None:
    found = page(namespace, name, by)
    return None if found is None else [file.filename for file in found.files]


def index_names(namespace: Namespace, by: Principal = SHELL) -> list[str]:
    found = index.simple_index(namespace, lambda name: f"https://registry.test/simple/{name}", by).names
    return [name for name, _, _ in found]


def downloads(namespace: Namespace, filename: str, by: Principal = SHELL) -> bool:
    return index.downloadable_file(namespace, digest(filename), filename, by) is not None


# The page of one name -------------------------------------------------------------------------------------------


def test_a_page_holds_all_that_clients_are_told_of_a_file(project: Project) -> None:
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


def test_versions_stand_in_the_order_of_pep_440(project: Project) -> None:
    versions = ["1.10", "1.9", "1.0.post1", "1.0.dev1", "1.0rc1", "1!0.1", "1.0", "1.0.0", "v1.0", "1.0+local"]
    for version in versions:
        publish(project, "demo", version)

    found = page(project)

    assert found is not None
    assert found.versions == (
        "1.0.dev1", "1.0rc1", "1.0", "1.0.0", "v1.0", "1.0+local", "1.0.post1", "1.9", "1.10", "1!0.1",
    )  # fmt: skip


def test_what_is_no_version_any_more_stands_before_all_others() -> None:
    assert names.sorted_versions(["1.0", "2004d", "0.1", "1.0", "latest"]) == ("2004d", "latest", "0.1", "1.0")


def test_a_name_that_is_not_there_has_no_page(project: Project) -> None:
    publish(project, "demo")

    assert page(project, "demo2") is None
    assert page(factories.project("other")) is None


@pytest.mark.parametrize("status", PackageStatus)
def test_what_is_installable_depends_on_the_packages_status(
    project: Project, group: Group, status: PackageStatus
) -> None:
    publish(project, "demo", "1.0", "demo-1.0.zip", status=status)
    installable = status in {PackageStatus.DEFAULT, PackageStatus.HIDDEN, PackageStatus.DEPRECATED}

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


# Yanks and statuses ---------------------------------------------------------------------------------------------


def say(project: Project, status: NameStatus, reason: str = "", name: str = "demo") -> None:
    releases.set_name_status(project, name, status, reason, by=SHELL)


def test_a_page_says_which_files_are_yanked_and_why(project: Project, group: Group) -> None:
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
def test_a_page_says_the_status_of_its_name(project: Project, group: Group, status: NameStatus) -> None:
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


def test_a_status_is_not_told_to_those_who_may_not_read_its_project(forest: Group) -> None:
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


# The index ------------------------------------------------------------------------------------------------------


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


# Downloads ------------------------------------------------------------------------------------------------------


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


# What a group shows to whom -------------------------------------------------------------------------------------


@pytest.fixture
def forest(app: Flask) -> Group:
    """A public group with one package in each of its projects, named as the project."""
    top = factories.group("top", visibility=PUBLIC)
    sub = factories.group("sub", parent=top, visibility=PUBLIC)
    for parent, path, visibility, registry_access in [
        (top, "open", PUBLIC, RegistryAccess.ENABLED),
        (sub, "deep", PUBLIC, RegistryAccess.ENABLED),
        (top, "internal", INTERNAL, RegistryAccess.ENABLED),
        (sub, "private", PRIVATE, RegistryAccess.ENABLED),
        (sub, "pullable", PRIVATE, RegistryAccess.PUBLIC),
        (top, "members", PUBLIC, RegistryAccess.PRIVATE),
        (top, "disabled", PUBLIC, RegistryAccess.DISABLED),
    ]:
        publish(factories.project(path, parent=parent, visibility=visibility, registry_access=registry_access), path)
    publish(factories.project("elsewhere", visibility=PUBLIC), "elsewhere")
    return top


def project_of(forest: Group, path: str) -> Project:
    found = select(Project).where(access.within(forest), Project.path == path)
    return db.session.scalars(found).one()


EVERYTHING = ["deep", "internal", "members", "open", "private", "pullable"]
READERS: dict[str, tuple[Callable[[Group], Principal], list[str]]] = {
    "nobody": (lambda _: ANONYMOUS, ["deep", "open"]),
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
def test_a_group_shows_what_its_reader_may_read(forest: Group, reader: str) -> None:
    find, readable = READERS[reader]
    by = find(forest)

    names = [*EVERYTHING, "disabled", "elsewhere"]
    assert index_names(forest, by) == readable
    assert [name for name in sorted(names) if page(forest, name, by)] == readable
    assert [name for name in sorted(names) if downloads(forest, f"{name}-1.0-py3-none-any.whl", by)] == readable
    listed = db.session.scalars(lists.packages(forest, by, PackageFilter()))
    assert sorted(package.name for package in listed) == readable
    assert index.hides_something(forest, by) is (readable != EVERYTHING)


def test_a_subgroup_shows_only_what_is_below_it(forest: Group) -> None:
    sub = db.session.scalars(select(Group).where(Group.full_path == "top/sub")).one()

    assert index_names(sub) == ["deep", "private", "pullable"]
    assert page(sub, "open") is None


def test_guests_are_shown_everything_when_the_instance_lets_them_pull(forest: Group) -> None:
    guest = factories.signed_in(factories.member(forest, Role.GUEST))
    instance.change_instance({"allow_guest_plus_roles_to_pull_packages": True}, by=SHELL)

    assert index_names(forest, guest) == EVERYTHING
    assert not index.hides_something(forest, guest)


def test_a_purely_public_group_hides_nothing_from_anybody(app: Flask) -> None:
    top = factories.group(visibility=PUBLIC)
    factories.project(parent=top, visibility=PUBLIC)
    factories.project(parent=top, visibility=PRIVATE, registry_access=RegistryAccess.DISABLED)

    assert not index.hides_something(top, ANONYMOUS)


# Lists of packages ----------------------------------------------------------------------------------------------


def listed(namespace: Namespace, wanted: PackageFilter, **options: bool) -> list[tuple[str, str]]:
    statement = lists.packages(namespace, SHELL, wanted, **options).order_by(Package.id)
    return [(package.name, package.version) for package in db.session.scalars(statement)]


def test_a_list_is_narrowed_by_name_version_and_type(project: Project) -> None:
    publish(project, "My_Pkg", "1.0")
    publish(project, "other", "1.0")
    publish(project, "my-pkg", "2.0")

    assert listed(project, PackageFilter(name="MY")) == [("My_Pkg", "1.0"), ("my-pkg", "2.0")]
    assert listed(project, PackageFilter(name="_")) == [("My_Pkg", "1.0")], "no wildcard"
    assert listed(project, PackageFilter(name="%")) == []
    assert listed(project, PackageFilter(version="1.0")) == [("My_Pkg", "1.0"), ("other", "1.0")]
    assert listed(project, PackageFilter(version="1")) == []
    assert listed(project, PackageFilter(package_type="npm")) == []


def test_a_list_shows_the_displayable_or_the_status_asked_for(project: Project) -> None:
    for number, status in enumerate(PackageStatus):
        publish(project, status.value, f"{number}.0", status=status)

    shown = {name for name, _ in listed(project, PackageFilter())}

    assert shown == {"default", "error", "deprecated"}
    for status in PackageStatus:
        assert [name for name, _ in listed(project, PackageFilter(status=status))] == [status.value]


def test_a_groups_list_may_leave_out_its_subgroups(forest: Group) -> None:
    names = [name for name, _ in listed(forest, PackageFilter(), subgroups=False)]

    assert sorted(names) == ["internal", "members", "open"]


@pytest.mark.parametrize("status", PackageStatus)
def test_a_package_is_shown_alone_unless_its_status_hides_it(project: Project, status: PackageStatus) -> None:
    package = publish(project, status=status)
    if status in {PackageStatus.DEFAULT, PackageStatus.DEPRECATED}:
        assert lists.package(project, package.id) is package
        return

    with pytest.raises(RecordNotFound):
        lists.package(project, package.id)


def test_a_package_is_not_found_through_another_project(project: Project) -> None:
    package = publish(project)

    for wrong_project, wrong_id in [(factories.project("other"), package.id), (project, package.id + 1)]:
        with pytest.raises(RecordNotFound):
            lists.package(wrong_project, wrong_id)


def test_other_versions_are_those_of_the_name_as_spelled_in_order(project: Project) -> None:
    package = publish(project, "demo", "1.5")
    for version in ("1.10", "1.9"):
        publish(project, "demo", version)
    publish(project, "Demo", "3.0")
    publish(project, "demo", "4.0", status=PackageStatus.HIDDEN)
    publish(factories.project("other"), "demo", "5.0")

    assert [other.version for other in lists.other_versions(package)] == ["1.9", "1.10"]


def test_a_package_knows_the_jobs_that_published_its_files(project: Project, developer: User) -> None:
    first, second = (factories.job(project, developer)[0] for _ in range(2))
    by_job = publish(project, "demo", "1.0", "demo-1.0.zip", "demo-1.0.tar.gz", job=second)
    by_hand = publish(project, "demo", "2.0")
    publish(project, "demo", "3.0", job=first)

    found = lists.jobs_of([by_job, by_hand])

    assert found == {by_job.id: [second]}
    assert db.session.scalars(lists.jobs(by_job)).all() == [second]
    assert found[by_job.id][0].user is developer


def test_storage_is_the_sum_of_the_files_kept(forest: Group) -> None:
    db.session.scalars(
        select(PackageFile).where(PackageFile.filename.like("open%"))
    ).one().status = FileStatus.PENDING_DESTRUCTION
    db.session.commit()
    for miscount in usage.miscounts():
        usage.recount(miscount.project_id)

    assert lists.storage_bytes(forest) == 600
    assert lists.storage_bytes(project_of(forest, "deep")) == 100
    assert lists.storage_bytes(project_of(forest, "open")) == 0


# Cost -----------------------------------------------------------------------------------------------------------


QUESTIONS: dict[str, Callable[[Namespace, Principal], object]] = {
    "simple page": lambda namespace, by: page(namespace, "demo", by),
    "simple index": index_names,
    "download": lambda namespace, by: downloads(namespace, "demo-0-py3-none-any.whl", by),
    "list": lambda namespace, by: [
        package.project.full_path for package in db.session.scalars(lists.packages(namespace, by, PackageFilter()))
    ],
    "jobs": lambda namespace, by: lists.jobs_of(db.session.scalars(lists.packages(namespace, by, PackageFilter()))),
    "storage": lambda namespace, _: lists.storage_bytes(namespace),
}


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("kind", ["project", "group"])
def test_a_question_costs_the_same_whatever_the_size(
    group: Group, project: Project, developer: User, statements: list[str], question: str, kind: str
) -> None:
    namespace_id = {"group": group, "project": project}[kind].id
    developer_id = developer.id
    publish(project, "demo", "0", job=factories.job(project, developer)[0])

    def cost() -> int:
        db.session.rollback()
        namespace = db.session.get_one(Namespace, namespace_id)
        by = factories.signed_in(db.session.get_one(User, developer_id))
        before = len(statements)
        QUESTIONS[question](namespace, by)
        return len(statements) - before

    small = cost()
    parent = group
    for number in range(1, 6):
        parent = factories.group(f"g{number}", parent=parent)
        other = factories.project(f"p{number}", parent=parent)
        factories.member(other, Role.DEVELOPER)
        publish(other, "demo", "0", job=factories.job(other, developer)[0])
        publish(project, "demo", str(number), job=factories.job(project, developer)[0])
        publish(project, f"name{number}")

    assert cost() == small <= 3


# For pages ------------------------------------------------------------------------------------------------------


def test_ids_stand_in_the_order_of_versions_and_not_of_their_letters(project: Project) -> None:
    versions = ["1.10", "1.9", "1.9rc1", "2.0.dev1", "1.9.post1"]
    published = {version: factories.published(project, build_wheel("demo", version)) for version in versions}
    listing = lists.packages(project, SHELL, PackageFilter())

    ids = lists.ids_in_version_order(listing, descending=False)

    by_id = {file.package_id: version for version, file in published.items()}
    assert [by_id[package_id] for package_id in ids] == ["1.9rc1", "1.9", "1.9.post1", "1.10", "2.0.dev1"]
    assert lists.ids_in_version_order(listing, descending=True) == ids[::-1]


def test_packages_by_id_are_those_of_the_namespace_that_are_left(group: Group, project: Project) -> None:
    kept = factories.published(project, build_wheel("kept"))
    gone = factories.published(project, build_wheel("gone"))
    foreign = factories.published(factories.project(), build_wheel("foreign"))
    deletion.delete_package(db.session.get_one(Package, gone.package_id), project, by=SHELL)
    ids = [kept.package_id, gone.package_id, foreign.package_id, 4711]

    for namespace in (project, group):
        found = lists.packages_by_id(namespace, SHELL, ids)
        assert [(package.id, package.project) for package in found] == [(kept.package_id, project)]


@pytest.mark.parametrize(
    ("given", "whole", "partial", "reason"),
    [
        ((None, None), False, False, ""),
        (("Broken", None), False, True, ""),
        (("Broken", "Broken"), True, False, "Broken"),
        (("Broken", "Worse"), True, False, ""),
        (("", ""), True, False, ""),
        ((), False, False, ""),
    ],
    ids=["not", "one file", "one reason", "two reasons", "no reason", "no files"],
)
def test_a_version_is_yanked_when_all_its_files_are(
    project: Project, given: tuple[str | None, ...], whole: bool, partial: bool, reason: str
) -> None:
    files = [factories.published(project, build_wheel(build=str(number))) for number in (1, 2)]
    package = db.session.get_one(Package, files[0].package_id)
    for number, file in enumerate(files):
        if number >= len(given):
            deletion.delete_file(file, package, project, by=SHELL)
        elif (said := given[number]) is not None:
            releases.yank_file(file, package, project, said, by=SHELL)

    yank = lists.yanks([package])[package.id]

    assert (yank.is_whole, yank.is_partial, yank.reason) == (whole, partial, reason)


def test_a_package_page_speaks_for_displayable_packages_of_readable_projects_only(
    group: Group, project: Project, guest: User
) -> None:
    package_id = factories.published(project, build_wheel()).package_id

    assert lists.shown_package(group, package_id, SHELL) is not None
    assert lists.shown_package(group, package_id, factories.signed_in(guest)) is None
    assert lists.shown_package(factories.project(), package_id, SHELL) is None


def test_totals_leave_out_what_waits_for_its_removal(project: Project, owner: User) -> None:
    kept = factories.published(project, build_wheel("kept"))
    gone = factories.published(project, build_wheel("gone"))
    deletion.delete_package(db.session.get_one(Package, gone.package_id), project, by=SHELL)

    assert lists.totals() == lists.Totals(
        users=1, groups=1, projects=1, packages=1, files=1, size_bytes=kept.size_bytes
    )


def test_totals_of_an_empty_instance_are_nought(app: Flask) -> None:
    assert lists.totals() == lists.Totals(0, 0, 0, 0, 0, 0)
