"""Everything at the same time: no transaction waits for another that waits for it (PostgreSQL)."""

from __future__ import annotations

import random
from datetime import timedelta
from threading import Thread
from typing import TypeVar

import pytest
from flask import Flask
from sqlalchemy import Select, select

from registry.database import db, utcnow
from registry.domain import forwarding, namespaces
from registry.domain.access import SHELL
from registry.domain.accounts import access_tokens, deploy_tokens, jobs, passwords, users
from registry.domain.accounts.sign_in import sign_in
from registry.domain.operation import cleanup
from registry.domain.packages import deletion, lists, releases, usage
from registry.domain.packages.downloads import Tally
from registry.errors import RegistryError
from registry.models import (
    AccessToken,
    FileStatus,
    Group,
    JobStatus,
    NameStatus,
    Package,
    PackageFile,
    Project,
    Role,
    User,
)
from registry.storage import Storage
from tests import factories
from tests.builders import build_sdist, build_wheel

pytestmark = pytest.mark.postgresql
THREADS, ROUNDS = 6, 40
Record = TypeVar("Record")
FILES = [
    build(name, f"{number}.0")
    for name in ("demo", "Demo", "other")
    for number in range(3)
    for build in (build_wheel, build_sdist)
]
USERNAMES, PATHS = ("ann", "bob"), ("one", "two")


class Nothing(Exception):
    """There is nothing that it could be done to."""


class Actor:
    """A caller that makes random changes."""

    def __init__(self, seed: int, group_id: int, storage: Storage) -> None:
        self._dice = random.Random(seed)
        self._group_id, self._storage = group_id, storage
        self._tally = Tally()

    def act(self) -> None:
        """Do one thing or another."""
        actions = [self.publish] * 4 + [
            self.delete_packages, self.delete_files, self.delete_file, self.yank, self.yank_file, self.set_status,
            self.count_downloads, self.clean_up, self.rename_group, self.replace_project, self.replace_user,
            self.rename_user, self.rotate, self.issue_deploy_token, self.run_job, self.sign_in, self.set_password,
            self.add_member, self.remove_member, self.allow_job_source, self.set_forwarding, self.recount,
        ]  # fmt: skip
        self._dice.choice(actions)()

    def group(self) -> Group:
        return db.session.get_one(Group, self._group_id)

    def project(self) -> Project:
        return self.one(select(Project).where(Project.path.in_(PATHS)))

    def user(self) -> User:
        return self.one(select(User).where(User.username.in_(USERNAMES)))

    def package(self) -> Package:
        return self.one(select(Package))

    def one(self, statement: Select[Record]) -> Record:
        found = db.session.scalars(statement).all()
        if not found:
            raise Nothing
        return self._dice.choice(found)

    def file(self) -> tuple[PackageFile, Package, Project]:
        file = self.one(select(PackageFile).where(PackageFile.status == FileStatus.DEFAULT))
        package, project = db.session.get(Package, file.package_id), db.session.get(Project, file.project_id)
        if package is None or project is None:
            raise Nothing
        return file, package, project

    def publish(self) -> None:
        factories.publish(self.project(), self._dice.choice(FILES), by=factories.signed_in(self.user()))

    def delete_packages(self) -> None:
        packages = lists.packages(self.group(), SHELL, lists.PackageFilter())
        found = list(db.session.scalars(packages))
        self._dice.shuffle(found)
        deletion.delete_packages(found[:3], by=SHELL)

    def delete_files(self) -> None:
        file, package, project = self.file()
        deletion.delete_files([file], package, project, by=SHELL)

    def delete_file(self) -> None:
        deletion.delete_file(*self.file(), by=SHELL)

    def yank(self) -> None:
        _, package, project = self.file()
        self._dice.choice([releases.yank_version, releases.unyank_version])(package, project, by=SHELL)

    def yank_file(self) -> None:
        self._dice.choice([releases.yank_file, releases.unyank_file])(*self.file(), by=SHELL)

    def set_status(self) -> None:
        status = self._dice.choice([NameStatus.ACTIVE, NameStatus.DEPRECATED])
        releases.set_name_status(self.project(), self.package().name, status, by=SHELL)

    def count_downloads(self) -> None:
        for file_id in db.session.scalars(select(PackageFile.id)):
            self._tally.note(file_id)
        self._tally.flush()

    def clean_up(self) -> None:
        cleanup.run(self._storage, utcnow() + timedelta(days=2))

    def rename_group(self) -> None:
        path = self._dice.choice(["acme", "corp"])
        namespaces.change(self.group(), namespaces.NamespaceChanges(path=path), by=SHELL)

    def replace_project(self) -> None:
        namespaces.delete_namespace(self.project(), by=SHELL)
        factories.project(self._dice.choice(PATHS), parent=self.group())

    def replace_user(self) -> None:
        users.delete_user(self.user(), by=SHELL)
        factories.member(self.group(), Role.DEVELOPER, self._dice.choice(USERNAMES))

    def rename_user(self) -> None:
        users.change_user(self.user(), users.UserChanges(username=self._dice.choice(USERNAMES)), by=SHELL)

    def rotate(self) -> None:
        found = db.session.scalars(select(AccessToken.id)).all()
        if not found or self._dice.random() < 0.3:
            factories.access_token(self.user())
        else:
            token = access_tokens.access_token(self._dice.choice(found), by=SHELL)
            access_tokens.rotate_access_token(token, key=factories.token_key(), by=SHELL, now=utcnow())

    def issue_deploy_token(self) -> None:
        deploy_tokens.issue_deploy_token(
            self.project(), name="ci", scopes=["read_package_registry"], key=factories.token_key(),
            by=factories.signed_in(self.user()),
        )  # fmt: skip

    def run_job(self) -> None:
        project = self.project()
        job, _ = factories.job(project, self.user())
        jobs.finish_job(job, JobStatus.SUCCESS, by=SHELL, now=utcnow())

    def sign_in(self) -> None:
        sign_in(self._dice.choice(USERNAMES), "a good password", address="192.0.2.1", now=utcnow())

    def set_password(self) -> None:
        passwords.set_password(self.user(), "a good password", by=SHELL)

    def add_member(self) -> None:
        namespaces.add_member(self.project(), self.user(), Role.MAINTAINER, by=SHELL)

    def remove_member(self) -> None:
        namespaces.remove_member(self.project(), self.user(), by=SHELL)

    def allow_job_source(self) -> None:
        namespaces.allow_job_source(self.project(), self.project(), by=SHELL)

    def set_forwarding(self) -> None:
        forwarding.change_forwarding(self.group(), value=self._dice.choice([True, False, None]), by=SHELL)

    def recount(self) -> None:
        usage.recount(self.project().id)


@pytest.mark.parametrize("limit", [1 << 30, None], ids=["limited", "unlimited"])
def test_whatever_is_done_at_the_same_time_ends_without_a_deadlock(
    app: Flask, group: Group, storage: Storage, limit: int | None
) -> None:
    namespaces.change(group, namespaces.NamespaceChanges(storage_size_limit=limit), by=SHELL)
    for path in PATHS:
        factories.project(path, parent=group)
    for name in USERNAMES:
        factories.member(group, Role.DEVELOPER, name, password="a good password")
    failures: list[BaseException] = []

    def run(actor: Actor) -> None:
        for _ in range(ROUNDS):
            with app.app_context():
                try:
                    actor.act()
                except (RegistryError, Nothing):
                    pass
                except BaseException as error:  # noqa: BLE001 - shown by the test
                    failures.append(error)

    threads = [Thread(target=run, args=(Actor(seed, group.id, storage),)) for seed in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    db.session.rollback()
    assert usage.miscounts() == []
