from __future__ import annotations

import random
from contextlib import suppress
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import select

from registry.database import AdvisoryLock, db, transaction, utcnow
from registry.domain import access, instance, namespaces
from registry.domain.access import ANONYMOUS, SHELL, Permission, Principal
from registry.domain.cascade import JOB_ALLOWLISTS
from registry.errors import SettingLocked
from registry.models import (
    MEMBER_ROLES,
    InstanceSettings,
    Membership,
    Namespace,
    Project,
    RegistryAccess,
    Role,
    Visibility,
)
from tests import factories
from tests.domain.access.values import NO_PACKAGE_SCOPE, READ, VISIBILITIES, WRITE


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (2, 3))])
def test_conditions_for_lists_agree_with_single_decisions(app: Flask, seed: int) -> None:
    principals = grow_forest(random.Random(seed))
    all_namespaces = db.session.scalars(select(Namespace).order_by(Namespace.id)).all()
    projects = [namespace for namespace in all_namespaces if isinstance(namespace, Project)]

    for principal in principals:
        visible = set(db.session.scalars(select(Namespace.id).where(access.visible(principal))))
        readable = set(db.session.scalars(select(Project.id).where(access.readable(access.reader_of(principal)))))
        counted = as_in_lists(principal)
        assert visible == {
            namespace.id
            for namespace in all_namespaces
            if access.allowed(counted, Permission.READ_NAMESPACE, namespace)
        }
        assert readable == {project.id for project in projects if reads_in_lists(principal, project)}


def as_in_lists(principal: Principal) -> Principal:
    """In lists a job counts as its user, without regard to allowlists."""
    return factories.signed_in(principal.user) if principal.job is not None and principal.user else principal


def as_in_groups(principal: Principal, project: Project) -> Principal:
    """In groups a job counts as its user, too, unless the allowlists count there."""
    return principal if JOB_ALLOWLISTS.value_in(project) else as_in_lists(principal)


def reads_in_lists(principal: Principal, project: Project) -> bool:
    """``allowed``, except for the differences documented at ``readable``."""
    reader = as_in_groups(principal, project)
    if not access.allowed(reader, Permission.READ_PACKAGE, project):
        return False
    if principal.deploy_token is not None and set(principal.deploy_token.scopes) & {*READ, *WRITE}:
        return access.is_within(project, principal.deploy_token.namespace_id)
    if project.registry_access is not RegistryAccess.PUBLIC:
        return True
    least = Role.GUEST if principal.user is not None and _guests_pull() else Role.REPORTER
    return access.role_in(reader, project) >= least or _is_open(principal, project)


def _guests_pull() -> bool:
    return InstanceSettings.current().allow_guest_plus_roles_to_pull_packages


def _is_open(principal: Principal, project: Project) -> bool:
    opened = {Visibility.PUBLIC, *([Visibility.INTERNAL] if principal.is_internal_user else [])}
    return project.visibility in opened


def grow_forest(dice: random.Random) -> list[Principal]:
    """Some trees of groups and projects with members, tokens, and jobs; all principals."""
    with transaction(lock=AdvisoryLock.TREE):
        instance.change_instance(
            instance.InstanceChanges(
                allow_guest_plus_roles_to_pull_packages=dice.random() < 0.5,
                package_registry_allow_anyone_to_pull_option=dice.random() < 0.5,
                enforce_job_token_allowlists_on_group_endpoints=dice.random() < 0.5,
                lock_enforce_job_token_allowlists_on_group_endpoints=dice.random() < 0.2,
            ),
            by=SHELL,
        )
        users = [factories.user(is_admin=number == 0, is_external=number in (1, 2)) for number in range(8)]
        groups = [factories.group(visibility=dice.choice(VISIBILITIES)) for _ in range(2)]
        for _ in range(8):
            parent = dice.choice(groups)
            groups.append(factories.group(parent=parent, visibility=_at_most(parent.visibility, dice)))
        for group in dice.sample(groups, len(groups)):
            with suppress(SettingLocked):
                value, lock = dice.choice([True, False, None]), dice.random() < 0.3
                JOB_ALLOWLISTS.change(group, value=value, lock=lock, by=SHELL)
        projects = []
        for _ in range(30):
            parent = dice.choice(groups)
            projects.append(
                factories.project(
                    parent=parent, visibility=_at_most(parent.visibility, dice),
                    registry_access=dice.choice(list(RegistryAccess)),
                )
            )  # fmt: skip
            projects[-1].archived = dice.random() < 0.2
        for namespace in [*groups, *projects]:
            for user in dice.sample(users, dice.choice([0, 0, 1, 2])):
                day = dice.choice([None, None, utcnow().date(), utcnow().date() + timedelta(days=1)])
                db.session.add(
                    Membership(
                        namespace_id=namespace.id, user_id=user.id, role=dice.choice(MEMBER_ROLES), expires_on=day
                    )
                )
        for project in dice.sample(projects, 5):
            namespaces.allow_job_source(project, dice.choice([*groups, *projects]), by=SHELL)
    scopes = [READ, WRITE, NO_PACKAGE_SCOPE]
    return [
        ANONYMOUS,
        SHELL,
        *map(factories.signed_in, users),
        *(factories.by_deploy_token(dice.choice([*groups, *projects]), *dice.choice(scopes)) for _ in range(6)),
        *(factories.by_job(dice.choice(projects), user) for user in users[1:]),
    ]


def _at_most(visibility: Visibility, dice: random.Random) -> Visibility:
    return dice.choice([candidate for candidate in VISIBILITIES if candidate <= visibility])
