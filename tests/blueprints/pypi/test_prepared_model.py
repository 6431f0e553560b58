"""Kept answers under any sequence of changes, in two applications on one database, always equal fresh ones."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import count, product
from threading import Event, Thread
from typing import Any

import pytest
from flask import Flask
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import event, select

from registry import create_app
from registry.database import db, utcnow
from registry.domain import access, forwarding, instance, namespaces
from registry.domain.accounts import access_tokens, deploy_tokens, jobs, users
from registry.domain.accounts.users import StateChange
from registry.domain.operation import cleanup
from registry.domain.packages import deletion, releases
from registry.errors import RegistryError
from registry.models import (
    FileStatus,
    Group,
    JobStatus,
    Namespace,
    NameStatus,
    Package,
    PackageFile,
    Project,
    RegistryAccess,
    Role,
    User,
    Visibility,
)
from tests import factories
from tests.builders import BuiltFile, build_sdist, build_wheel
from tests.clients import JSON, Client, Credentials, Pip, pypi_path
from tests.races import at_once

NAMES, VERSIONS = ("demo", "Demo", "other"), ("1.0", "2.0")
FILES = {
    (name, version, build): build(name, version)
    for name, version, build in product(NAMES, VERSIONS, (build_wheel, build_sdist))
}
DEMO = FILES["demo", "1.0", build_wheel]
APPS, PROJECTS, NAMESPACES = st.integers(0, 1), st.integers(0, 1), st.integers(0, 3)
Secrets = dict[str, Credentials]


class Answers(RuleBasedStateMachine):
    """Each change is made by one of the applications; after it, all addresses are read from both.

    One caller reads after each change, and the others in turn, so that some answers are older than the last change.

    :cvar kept: how many answers cost no statement.
    :cvar redirects: how many pages of names that no project holds were redirects.
    """

    apps: tuple[Flask, Flask]
    statements: list[str]
    kept = 0
    redirects = 0

    def __init__(self) -> None:
        super().__init__()
        self.numbers = count()

    @initialize()
    def build(self) -> None:
        """A group with a project and a subgroup with another one, and a caller of each kind.

        The groups are public, so that all callers are redirected or refused by the names that the projects hold.
        """
        with self.apps[0].app_context():
            factories.empty()
            group = factories.group("acme", visibility=Visibility.PUBLIC)
            inner = factories.group("inner", parent=group, visibility=Visibility.PUBLIC)
            projects = [factories.project("one", parent=group), factories.project("two", parent=inner)]
            member = factories.member(projects[0], Role.REPORTER, "rita")
            self.ids = [*(project.id for project in projects), inner.id, group.id]
            self.addresses = [
                address for namespace in (*projects, group) for address in addresses_of(pypi_path(namespace))
            ]
            self.secrets: Secrets = {
                "anonymous": None,
                "member": factories.access_token(member),
                "outsider": factories.access_token(factories.user("oscar")),
                "job": ("gitlab-ci-token", factories.job(projects[0], member)[1]),
                "deploy token": factories.deploy_token(projects[1]),
            }
            self.withdrawn: Secrets = {}
            factories.published(projects[0], DEMO)

    @rule(app=APPS, project=PROJECTS, file=st.sampled_from([*FILES.values()]))
    def publish(self, app: int, project: int, file: BuiltFile) -> None:
        self.do(app, lambda: factories.published(self.project(project), file))

    @rule(app=APPS, number=st.integers(0, 9))
    def delete_package(self, app: int, number: int) -> None:
        self.do(app, lambda: deletion.delete_package(*self.file(number)[1:], by=access.SHELL))

    @rule(app=APPS, number=st.integers(0, 9), whole=st.booleans())
    def delete_file(self, app: int, number: int, whole: bool) -> None:
        def act() -> None:
            file, package, project = self.file(number)
            if whole:
                deletion.delete_files([file], package, project, by=access.SHELL)
            else:
                deletion.delete_file(file, package, project, by=access.SHELL)

        self.do(app, act)

    @rule(app=APPS, number=st.integers(0, 9), reason=st.sampled_from([None, "", "Bad"]), whole=st.booleans())
    def yank(self, app: int, number: int, reason: str | None, whole: bool) -> None:
        def act() -> None:
            file, package, project = self.file(number)
            record = (package, project) if whole else (file, package, project)
            kind = "version" if whole else "file"
            if reason is None:
                getattr(releases, f"unyank_{kind}")(*record, by=access.SHELL)
            else:
                getattr(releases, f"yank_{kind}")(*record, reason, by=access.SHELL)

        self.do(app, act)

    @rule(
        app=APPS, project=PROJECTS, name=st.sampled_from(NAMES), status=st.sampled_from(NameStatus),
        reason=st.sampled_from(["", "Done"]),
    )  # fmt: skip
    def set_status(self, app: int, project: int, name: str, status: NameStatus, reason: str) -> None:
        self.do(app, lambda: releases.set_name_status(self.project(project), name, status, reason, by=access.SHELL))

    @rule(app=APPS)
    def clean_up(self, app: int) -> None:
        self.do(app, lambda: cleanup.run(self.apps[app].extensions["storage"], utcnow()))

    @rule(app=APPS, number=NAMESPACES, visibility=st.sampled_from(Visibility))
    def set_visibility(self, app: int, number: int, visibility: Visibility) -> None:
        changes = namespaces.NamespaceChanges(visibility=visibility)
        self.do(app, lambda: namespaces.change(self.namespace(number), changes, by=access.SHELL))

    @rule(app=APPS, project=PROJECTS, level=st.sampled_from(RegistryAccess))
    def set_registry_access(self, app: int, project: int, level: RegistryAccess) -> None:
        changes = namespaces.ProjectChanges(registry_access=level)
        self.do(app, lambda: namespaces.change(self.project(project), changes, by=access.SHELL))

    @rule(app=APPS, number=NAMESPACES, role=st.sampled_from([None, Role.GUEST, Role.REPORTER, Role.OWNER]))
    def set_role(self, app: int, number: int, role: Role | None) -> None:
        def act() -> None:
            with suppress(RegistryError):
                namespaces.remove_member(self.namespace(number), user("rita"), by=access.SHELL)
            if role is not None:
                namespaces.add_member(self.namespace(number), user("rita"), role, by=access.SHELL)

        self.do(app, act)

    @rule(app=APPS, change=st.sampled_from([StateChange.BLOCK, StateChange.UNBLOCK]))
    def set_state(self, app: int, change: StateChange) -> None:
        self.do(app, lambda: users.change_state(user("rita"), change, by=access.SHELL))

    @rule(app=APPS, caller=st.sampled_from(["member", "deploy token", "job"]))
    def withdraw(self, app: int, caller: str) -> None:
        """End a credential, which is still sent afterwards, and issue another one."""
        self.do(app, lambda: self._withdraw(caller))

    def _withdraw(self, caller: str) -> None:
        key, now, secret = factories.token_key(), utcnow(), self.secrets[caller]
        self.withdrawn = {"ended": secret}
        if caller == "member":
            token = access_tokens.find_access_token(str(secret), key)
            assert token is not None
            access_tokens.revoke_access_token(token, by=access.SHELL, now=now)
            self.secrets[caller] = factories.access_token(user("rita"))
        elif caller == "deploy token":
            found = deploy_tokens.find_deploy_token(str(secret), key, now)
            assert found is not None
            deploy_tokens.revoke_deploy_token(found, self.project(1), by=access.SHELL, now=now)
            self.secrets[caller] = factories.deploy_token(self.project(1))
        elif isinstance(secret, tuple):
            job = jobs.find_running_job(secret[1], key, now)
            assert job is not None
            jobs.finish_job(job, JobStatus.SUCCESS, by=access.SHELL, now=now)
            self.secrets[caller] = ("gitlab-ci-token", factories.job(self.project(0), user("rita"))[1])

    @rule(app=APPS, number=st.integers(2, 3), value=st.sampled_from([True, False, None]))
    def set_forwarding(self, app: int, number: int, value: bool | None) -> None:
        self.do(app, lambda: forwarding.change_forwarding(self.group(number), value=value, by=access.SHELL))

    @rule(app=APPS, value=st.booleans())
    def set_instance(self, app: int, value: bool) -> None:
        changes = instance.InstanceChanges(
            package_registry_allow_anyone_to_pull_option=value, allow_guest_plus_roles_to_pull_packages=not value
        )
        self.do(app, lambda: instance.change_instance(changes, by=access.SHELL))

    @rule(app=APPS, number=NAMESPACES, name=st.sampled_from(["Tools", "Things"]))
    def rename(self, app: int, number: int, name: str) -> None:
        changes = namespaces.NamespaceChanges(name=name)
        self.do(app, lambda: namespaces.change(self.namespace(number), changes, by=access.SHELL))

    @rule(app=APPS, to_top=st.booleans())
    def transfer(self, app: int, to_top: bool) -> None:
        def act() -> None:
            parent = None if to_top else self.group(3)
            namespaces.transfer(self.group(2), parent, by=factories.signed_in(factories.user(is_admin=True)))

        self.do(app, act)

    @invariant()
    def every_kept_answer_is_the_one_made_anew(self) -> None:
        others = {name: secret for name, secret in self.secrets.items() if name != "member"} | self.withdrawn
        caller, credentials = [*others.items()][next(self.numbers) % len(others)]
        callers = {"member": self.secrets["member"], caller: credentials}
        held = self.held_pages()
        for address, (caller, credentials) in product(self.addresses, callers.items()):
            anew = self.read(0, f"{address}?anew={next(self.numbers)}", credentials)
            assert anew[0] != 302 or address not in held, (address, caller)
            type(self).redirects += anew[0] == 302
            for app in (0, 1):
                before = len(self.statements)
                assert self.read(app, address, credentials) == anew, (app, address, caller)
                type(self).kept += len(self.statements) == before

    def held_pages(self) -> set[str]:
        """The addresses of pages that are never redirects, as there is a package of the name, deleted or not."""
        with self.apps[0].app_context():
            return {
                f"{pypi_path(namespace)}/simple/{package.normalized_name}/"
                for package, project in db.session.execute(select(Package, Project).join(Package.project))
                for namespace in (project, *(self.group(number) for number in (2, 3)))
                if namespace == project or access.is_within(project, namespace.id)
            }

    def read(self, app: int, address: str, credentials: Credentials) -> tuple[int, bytes, dict[str, str]]:
        answer = Pip(Client(self.apps[app])).get(address, credentials, JSON)
        headers = {name: value for name, value in answer.headers if name not in ("X-Request-Id", "Date")}
        return answer.status_code, answer.data, headers

    def do(self, app: int, act: Callable[[], object]) -> None:
        with self.apps[app].app_context(), suppress(RegistryError, NothingThere):
            act()

    def namespace(self, number: int) -> Any:
        return db.session.get_one(Namespace, self.ids[number])

    def project(self, number: int) -> Project:
        return db.session.get_one(Project, self.ids[number])

    def group(self, number: int) -> Group:
        return db.session.get_one(Group, self.ids[number])

    def file(self, number: int) -> tuple[PackageFile, Package, Project]:
        found = live_files()
        if not found:
            raise NothingThere
        return found[number % len(found)]


def test_answers_kept_during_concurrent_writes_equal_fresh_ones(apps: tuple[Flask, Flask], group: Group) -> None:
    """Pages are read and kept at any point of the transactions that change them."""
    projects = [factories.project(parent=group).id for _ in range(2)]
    roots = [pypi_path(group), *(pypi_path(project) for project in projects)]
    addresses = [address for root in roots for address in addresses_of(root)]
    token = factories.access_token(factories.member(group, Role.REPORTER))
    db.session.commit()
    writing = Event()

    def write(seed: int) -> None:
        dice = random.Random(seed)
        for _ in range(15):
            with suppress(RegistryError):
                found = live_files()
                if found and dice.random() < 0.4:
                    deletion.delete_package(*dice.choice(found)[1:], by=access.SHELL)
                else:
                    project = db.session.get_one(Project, dice.choice(projects))
                    factories.published(project, dice.choice([*FILES.values()]))
            db.session.remove()

    def read(number: int) -> None:
        dice = random.Random(number)
        while not writing.is_set():
            Pip(Client(apps[number % 2])).get(dice.choice(addresses), token, JSON)

    readers = [Thread(target=read, args=(number,)) for number in range(2)]
    for reader in readers:
        reader.start()
    try:
        assert at_once(apps[0], *(partial(write, seed) for seed in range(4))) == ["done"] * 4
    finally:
        writing.set()
        for reader in readers:
            reader.join()

    for address, each in product(addresses, apps):
        pip = Pip(Client(each))
        kept, fresh = pip.get(address, token, JSON), pip.get(f"{address}?anew", token, JSON)
        assert (kept.status_code, kept.data) == (fresh.status_code, fresh.data), address


class NothingThere(Exception):
    """There is no file for the change."""


def addresses_of(root: str) -> Iterator[str]:
    yield f"{root}/simple/"
    yield f"{root}/simple/demo/"
    yield f"{root}/simple/other/"
    yield f"{root}/files/{DEMO.sha256}/{DEMO.filename}"
    yield f"{root}/files/{DEMO.sha256}/{DEMO.filename}.metadata"


def live_files() -> list[tuple[PackageFile, Package, Project]]:
    rows = db.session.execute(
        select(PackageFile, Package, Project)
        .join(Package, Package.id == PackageFile.package_id)
        .join(Project, Project.id == PackageFile.project_id)
        .where(PackageFile.status == FileStatus.DEFAULT)
        .order_by(PackageFile.id)
    )
    return [(file, package, project) for file, package, project in rows]


def user(username: str) -> User:
    return db.session.scalars(select(User).where(User.username == username)).one()


@pytest.fixture
def apps(app: Flask) -> Iterator[tuple[Flask, Flask]]:
    """Two applications on one database, each with connections and kept answers of its own, as two processes have."""
    shared = ("INSTANCE_PATH", "SECRET_KEY", "UPSTREAM_URL", "DATABASE_URL")
    other = create_app({name: app.config[name] for name in shared})
    yield app, other
    with other.app_context():
        db.engine.dispose()


@pytest.mark.parametrize(
    ("examples", "steps"),
    [
        pytest.param(2, 10, id="short"),
        pytest.param(6, 30, id="long", marks=[pytest.mark.slow, pytest.mark.timeout(1200)]),
    ],
)
def test_kept_answers_equal_fresh_ones(apps: tuple[Flask, Flask], examples: int, steps: int) -> None:
    sent: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        sent.append(statement)

    class Machine(Answers):
        pass

    Machine.apps, Machine.statements = apps, sent
    engines = []
    for each in apps:
        with each.app_context():
            engines.append(db.engine)
            event.listen(db.engine, "before_cursor_execute", note)
    try:
        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=examples, stateful_step_count=steps, deadline=None, derandomize=True, database=None,
                suppress_health_check=[*HealthCheck],
            ),
        )  # fmt: skip
    finally:
        for engine in engines:
            event.remove(engine, "before_cursor_execute", note)
    assert Machine.kept > 100
    assert Machine.redirects > 10
