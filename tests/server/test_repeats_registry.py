"""The registry itself with answers of the loop: the second of two identical requests sees a change between them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import select

from registry.database import db, utcnow
from registry.domain import access, forwarding, namespaces
from registry.domain.accounts import access_tokens
from registry.domain.packages import deletion, downloads, releases
from registry.models import Group, NameStatus, Package, PackageFile, Project, Role, User
from tests import factories
from tests.builders import build_wheel
from tests.clients import basic, pypi_path
from tests.server.pages import Client, by_loop, has_connection
from tests.server.serving import Serving


@pytest.fixture
def serving(app: Flask, tmp_path: Path) -> Iterator[Serving]:
    factories.commit()
    with closing(Serving(tmp_path, app=app)) as serving:
        has_connection(serving)
        yield serving


@pytest.fixture
def reporter(project: Project) -> User:
    return factories.member(project, Role.REPORTER, "rita")


Act = Callable[[], object]


def _publish(project: Project, _: User, __: str) -> Act:
    return lambda: factories.published(project, build_wheel(version="2.0"))


def _delete(project: Project, _: User, __: str) -> Act:
    package = db.session.scalars(select(Package)).one()
    return lambda: deletion.delete_package(package, project, by=access.SHELL)


def _yank(project: Project, _: User, __: str) -> Act:
    package = db.session.scalars(select(Package)).one()
    return lambda: releases.yank_version(package, project, by=access.SHELL)


def _quarantine(project: Project, _: User, __: str) -> Act:
    return lambda: releases.set_name_status(project, "demo", NameStatus.QUARANTINED, by=access.SHELL)


def _revoke(_: Project, reporter: User, secret: str) -> Act:
    token = access_tokens.find_access_token(secret, factories.token_key())
    assert token is not None
    return lambda: access_tokens.revoke_access_token(token, by=access.SHELL, now=utcnow())


def _remove_member(project: Project, reporter: User, _: str) -> Act:
    return lambda: namespaces.remove_member(project, reporter, by=access.SHELL)


@pytest.mark.parametrize(
    ("prepare", "status"),
    [
        (_publish, b"200"),
        (_delete, b"404"),
        (_yank, b"200"),
        (_quarantine, b"200"),
        (_revoke, b"401"),
        (_remove_member, b"404"),
    ],
)
def test_a_change_between_two_identical_requests_is_seen(
    serving: Serving, demo: PackageFile, project: Project, reporter: User,
    prepare: Callable[[Project, User, str], Act], status: bytes,
) -> None:  # fmt: skip
    secret = factories.access_token(reporter)
    act = prepare(project, reporter, secret)
    factories.commit()
    with Client(serving, f"{pypi_path(project)}/simple/demo/", **basic(secret)) as client:
        _, before = client.known()
        assert by_loop(serving, client.get)[1] == before

        act()

        head, body = client.get()
        assert head.split()[1] == status
        assert body != before


def test_forwarding_that_is_turned_off_stops_at_once(
    serving: Serving, group: Group, project: Project, reporter: User
) -> None:
    with Client(serving, f"{pypi_path(project)}/simple/unknown/", **basic(factories.access_token(reporter))) as client:
        client.known()
        assert by_loop(serving, client.get)[0].split()[1] == b"302"

        forwarding.change_forwarding(group, value=False, by=access.SHELL)

        assert client.get()[0].split()[1] == b"404"


def test_a_change_of_another_name_leaves_a_page_to_the_loop(
    serving: Serving, demo: PackageFile, project: Project, reporter: User
) -> None:
    with Client(serving, f"{pypi_path(project)}/simple/demo/", **basic(factories.access_token(reporter))) as client:
        client.known()

        factories.published(project, build_wheel("other"))

        by_loop(serving, client.get)


def test_a_small_file_is_answered_by_the_loop_and_counted(
    serving: Serving, app: Flask, demo: PackageFile, project: Project, reporter: User
) -> None:
    wheel = build_wheel()
    path = f"{pypi_path(project)}/files/{wheel.sha256}/{wheel.filename}"
    package = db.session.get_one(Package, demo.package_id)
    secret = factories.access_token(reporter)
    with (
        Client(serving, path, **basic(secret)) as client,
        Client(serving, path, method="HEAD", **basic(secret)) as head,
    ):
        client.known()
        head.known()
        for _ in range(3):
            assert by_loop(serving, client.get)[1] == wheel.content
            by_loop(serving, head.get)
    app.extensions["downloads"].flush()

    assert downloads.of_package(package, utcnow().date()).total == 4


def test_a_token_that_expires_is_refused(serving: Serving, demo: PackageFile, project: Project, owner: User) -> None:
    _, secret = factories.job(project, owner, lifetime=timedelta(seconds=2))
    with Client(serving, f"{pypi_path(project)}/simple/demo/", **basic(("gitlab-ci-token", secret))) as client:
        client.known()
        assert by_loop(serving, client.get)[0].split()[1] == b"200"
        time.sleep(2)

        assert client.get()[0].split()[1] == b"401"
