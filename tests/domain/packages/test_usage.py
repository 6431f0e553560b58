"""Sums of storage: exact whatever happens, in whatever order and at the same time; and the limits on them."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import pytest
from flask import Flask
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import select, text, update

from registry.database import db, transaction, utcnow
from registry.domain import access, instance, namespaces
from registry.domain.operation import verification
from registry.domain.packages import deletion, storage_use, usage
from registry.errors import DuplicateFile, Forbidden, RecordNotFound, StorageLimitReached
from registry.models import FileStatus, Group, Package, PackageFile, Project, StorageUsage, User
from registry.storage import Storage
from tests import factories
from tests.builders import BuiltFile, build_wheel
from tests.races import at_once

WHEELS = [build_wheel("demo", f"1.{number}") for number in range(4)]
SIZE = len(WHEELS[0].content)


def limit(namespace: Group | Project, size_bytes: int | None) -> None:
    namespaces.change(namespace, namespaces.NamespaceChanges(storage_size_limit=size_bytes), by=access.SHELL)


def delete(file: PackageFile) -> None:
    package = db.session.get_one(Package, file.package_id)
    deletion.delete_package(package, db.session.get_one(Project, file.project_id), by=access.SHELL)


def test_the_storage_of_a_group_is_that_of_its_projects_after_a_move(group: Group, project: Project) -> None:
    elsewhere, inner = factories.group("elsewhere"), factories.group("inner", parent=group)
    moved = factories.published(factories.project("deep", parent=inner), WHEELS[1])
    stays = factories.published(project, WHEELS[0])
    by = factories.signed_in(factories.user("root", is_admin=True))
    assert usage.size_of(group.id) == moved.size_bytes + stays.size_bytes

    namespaces.transfer(inner, elsewhere, by=by)

    assert (usage.size_of(group.id), usage.size_of(elsewhere.id)) == (stays.size_bytes, moved.size_bytes)
    namespaces.delete_namespace(inner, by=by)
    assert usage.size_of(elsewhere.id) == 0
    assert storage_use.totals().size_bytes == stays.size_bytes


ACTIONS = st.lists(
    st.tuples(st.sampled_from(["publish", "delete package", "delete file", "fail"]), st.integers(0, 3)), max_size=15
)


@hypothesis_settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)
@given(actions=ACTIONS)
def test_sums_are_those_of_the_files_after_whatever_was_done(app: Flask, actions: list[tuple[str, int]]) -> None:
    project = factories.project()

    for action, number in actions:
        act(action, project, WHEELS[number])

    assert usage.miscounts() == []


def act(action: str, project: Project, wheel: BuiltFile) -> None:
    file = db.session.scalar(
        select(PackageFile).where(
            PackageFile.project_id == project.id,
            PackageFile.filename == wheel.filename,
            PackageFile.status == FileStatus.DEFAULT,
        )
    )
    try:
        if action == "publish":
            factories.published(project, wheel)
        elif action == "fail":
            with transaction():
                if file is not None:
                    delete(file)
                raise Forbidden
        elif file is not None and action == "delete package":
            delete(file)
        elif file is not None:
            package = db.session.get_one(Package, file.package_id)
            deletion.delete_file(file, package, project, by=access.SHELL)
    except (DuplicateFile, Forbidden):
        pass


def test_sums_are_exact_when_many_publish_and_delete_at_once(app: Flask, group: Group) -> None:
    projects = [factories.project(parent=group).id for _ in range(2)]

    def work(seed: int) -> None:
        choose = random.Random(seed)
        for _ in range(12):
            project = db.session.get_one(Project, choose.choice(projects))
            action = choose.choice(["publish", "publish", "delete package", "delete file"])
            with suppress(RecordNotFound):  # another thread was faster
                act(action, project, choose.choice(WHEELS))
            db.session.remove()

    assert at_once(app, *(partial(work, seed) for seed in range(6))) == ["done"] * 6
    assert usage.miscounts() == []


def test_wrong_counts_are_found_and_corrected(project: Project, storage: Storage) -> None:
    file = factories.published(project, WHEELS[0])
    db.session.execute(update(StorageUsage).values(size_bytes=5, files=9))
    db.session.commit()

    def verify(*, repair: bool) -> tuple[list[verification.Finding], bool]:
        told: list[verification.Finding] = []
        summary = verification.verify(storage, utcnow(), told.append, repair=repair)
        return told, summary.is_sound

    problem = verification.Finding(verification.Defect.MISCOUNTED, project.full_path)
    assert verify(repair=False) == ([problem], False)
    assert verify(repair=True)[1]
    assert verify(repair=False) == ([], True)
    assert usage.size_of(project.id) == file.size_bytes


def test_totals_that_are_missing_are_counted(project: Project) -> None:
    file = factories.published(project, WHEELS[0])
    db.session.execute(text("DELETE FROM storage_usages"))
    db.session.commit()
    assert [miscount.project_id for miscount in usage.miscounts()] == [project.id]

    usage.recount(project.id)

    assert usage.miscounts() == []
    assert usage.size_of(project.id) == file.size_bytes


@pytest.mark.parametrize("holder", ["project", "subgroup", "group"])
def test_a_limit_accepts_a_file_that_just_fits(holder: str, group: Group, storage: Storage) -> None:
    inner = factories.group("inner", parent=group)
    project = factories.project("tools", parent=inner)
    limited = {"project": project, "subgroup": inner, "group": group}[holder]
    limit(limited, len(WHEELS[0].content) + len(WHEELS[1].content) - 1)
    factories.published(project, WHEELS[0])

    with pytest.raises(StorageLimitReached) as refusal:
        factories.published(project, WHEELS[1])

    size = len(WHEELS[1].content)
    told = {
        "project": f" and holds {len(WHEELS[0].content)}, so that {size} more do not fit",
        "group": f", and has no room for {size} more",  # the other projects can be hidden from the uploader
    }[limited.kind]
    assert refusal.value.message == (
        f"400 Bad request - Storage limit reached: {limited.kind} {limited.full_path} may hold "
        f"{len(WHEELS[0].content) + size - 1} bytes{told}"
    )
    limit(limited, len(WHEELS[0].content) + len(WHEELS[1].content))
    assert factories.published(project, WHEELS[1]).id


def test_each_of_several_limited_groups_above_a_project_counts(group: Group) -> None:
    inner = factories.group("inner", parent=group)
    project = factories.project("tools", parent=inner)
    limit(group, 1 << 20)
    limit(inner, len(WHEELS[0].content))
    factories.published(project, WHEELS[0])

    with pytest.raises(StorageLimitReached, match="group acme/inner may hold"):
        factories.published(project, WHEELS[1])


def test_own_limits_replace_those_of_the_instance(group: Group, project: Project) -> None:
    top = instance.InstanceChanges(project_storage_size_limit=10, group_storage_size_limit=20)
    instance.change_instance(top, by=access.SHELL)
    inner = factories.group("inner", parent=group)
    deep = factories.project("deep", parent=inner)

    def limits() -> list[tuple[str, int]]:
        return [(found.full_path, found.size_bytes) for found in usage.limits_on(deep.id)]

    assert limits() == [("acme/inner/deep", 10), ("acme", 20)]
    limit(deep, 100)
    limit(inner, 50)
    limit(group, 0)
    assert limits() == [("acme/inner/deep", 100), ("acme/inner", 50)]
    for namespace in (deep, inner, group):
        limit(namespace, None)
    assert limits() == [("acme/inner/deep", 10), ("acme", 20)]


def test_a_limit_is_an_administrators(project: Project, owner: User) -> None:
    with pytest.raises(Forbidden):
        namespaces.change(project, namespaces.NamespaceChanges(storage_size_limit=None), by=factories.signed_in(owner))


@pytest.mark.parametrize(
    "settings", [namespaces.GroupSettings, namespaces.ProjectSettings], ids=["of a group", "of a project"]
)
def test_a_limit_cannot_be_set_at_creation(settings: Callable[..., object]) -> None:
    with pytest.raises(TypeError, match="storage_size_limit"):
        settings(storage_size_limit=10)


@pytest.mark.parametrize("holder", ["project", "group"])
def test_of_many_uploads_at_once_a_limit_accepts_those_that_fit(app: Flask, group: Group, holder: str) -> None:
    projects = [factories.project(parent=group) for _ in range(1 if holder == "project" else 3)]
    wheels = [build_wheel(f"demo{number}") for number in range(9)]
    limit(projects[0] if holder == "project" else group, 3 * max(len(wheel.content) for wheel in wheels))

    def publish(project_id: int, wheel: BuiltFile) -> None:
        factories.published(db.session.get_one(Project, project_id), wheel)

    ids = itertools.cycle([project.id for project in projects])
    results = at_once(app, *(partial(publish, next(ids), wheel) for wheel in wheels))

    assert sorted(set(results)) == ["StorageLimitReached", "done"]
    assert results.count("done") == 3
    assert usage.miscounts() == []
    assert len(db.session.scalars(select(PackageFile)).all()) == 3


def test_a_refused_upload_leaves_nothing_in_the_store(project: Project, store_files: Callable[[], list[str]]) -> None:
    limit(project, 10)

    with pytest.raises(StorageLimitReached):
        factories.published(project, WHEELS[0])

    assert store_files() == []
