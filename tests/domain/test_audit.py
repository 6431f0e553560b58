from __future__ import annotations

from dataclasses import replace

import pytest
from flask import Flask
from sqlalchemy import select

from registry.database import db, transaction
from registry.domain import audit
from registry.domain.access import ANONYMOUS, SHELL
from registry.models import AuditEvent, Project, User
from tests import factories


def test_an_event_records_author_action_and_record(project: Project, owner: User) -> None:
    by = replace(factories.signed_in(owner), address="203.0.113.7")

    with transaction():
        audit.record(by, "thing_done", "the thing", project, times=2)

    event = db.session.scalars(select(AuditEvent).where(AuditEvent.action == "thing_done")).one()
    assert (event.author, event.author_id, event.address) == ("olivia", owner.id, "203.0.113.7")
    assert (event.target, event.namespace_id, event.details) == ("the thing", project.id, {"times": 2})
    assert event.created_at is not None


def test_two_long_names_are_cut_to_the_length_of_the_column(app: Flask) -> None:
    user, administrator = factories.user("u" * 200), factories.user("a" * 200)
    by = replace(factories.signed_in(user), sudo_by=administrator)

    with transaction():
        audit.record(by, "thing_done", "the thing")

    event = db.session.scalars(select(AuditEvent).where(AuditEvent.action == "thing_done")).one()
    assert event.author == f"{'u' * 200} (sudo by {'a' * 45}"


def test_every_kind_of_principal_has_a_name_to_be_recorded_under(project: Project, developer: User) -> None:
    deploy = factories.by_deploy_token(project)
    assert deploy.deploy_token is not None

    names = [
        principal.label
        for principal in (
            ANONYMOUS,
            SHELL,
            factories.signed_in(developer),
            factories.by_access_token(developer),
            factories.by_job(project, developer),
            deploy,
        )
    ]

    assert names == ["anonymous", "shell", "dora", "dora", "dora", f"deploy token {deploy.deploy_token.id}"]


def test_an_event_is_kept_only_with_the_change_itself(project: Project) -> None:
    def fail_half_way() -> None:
        with transaction():
            audit.record(SHELL, "thing_done", "the thing", project)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()

    assert db.session.scalars(select(AuditEvent).where(AuditEvent.action == "thing_done")).all() == []


def test_events_are_found_by_author_action_or_target_the_newest_first(project: Project, owner: User) -> None:
    with transaction():
        audit.record(factories.signed_in(owner), "thing_done", "First 100%", project)
        audit.record(SHELL, "other_done", "Second", project)

    def found(search: str) -> list[str]:
        return [event.target for event in db.session.scalars(audit.events(search))]

    assert found("")[:2] == ["Second", "First 100%"]
    assert found("OLIVIA")[0] == "First 100%"
    assert found("other_") == ["Second"]
    assert found("0%") == ["First 100%"]
    assert found("nothing like it") == []
