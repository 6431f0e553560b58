"""What only Owners change in a project, by any sequence of changes: visibility, path, and access to its registry."""

from __future__ import annotations

from typing import Any

from flask import Flask
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from registry.database import db
from registry.domain import instance, namespaces
from registry.domain.access import SHELL
from registry.domain.namespaces import ProjectChanges
from registry.errors import Forbidden, InvalidRecord, RegistryError
from registry.models import AuditEvent, RegistryAccess, Role, Visibility
from tests import factories
from tests.domain.access.values import VISIBILITIES
from tests.domain.namespaces.creating import PRIVATE, PUBLIC

OPEN, ENABLED = RegistryAccess.PUBLIC, RegistryAccess.ENABLED
CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "registry_access": st.sampled_from(RegistryAccess),
        "visibility": st.sampled_from(VISIBILITIES),
        "path": st.sampled_from(["one", "two"]),
        "strict_uploads": st.booleans(),
    },
)
STEPS = st.tuples(st.booleans(), st.sampled_from(["maintainer", "owner", "administrator"]), CHANGES)
State = dict[str, Any]


def is_opened(state: State) -> bool:
    """Whether callers without an account can pull from a project that they cannot see."""
    return state["registry_access"] is OPEN and state["visibility"] is not PUBLIC


def refusal_of(before: State, after: State, who: str, is_restricted: bool) -> type[RegistryError] | None:
    owned = ("visibility", "path", "registry_access")
    if who == "maintainer" and any(before[name] != after[name] for name in owned):
        return Forbidden
    is_made_public = after["visibility"] is PUBLIC is not before["visibility"]
    if is_restricted and who != "administrator" and (is_made_public or (is_opened(after) and not is_opened(before))):
        return InvalidRecord
    return None


def recorded(before: State, after: State) -> list[tuple[str, object]]:
    """The events of a change, with each value before and after."""
    shown = [{**state, "path": f"acme/{state['path']}"} for state in (before, after)]
    changed = {
        name: {"before": shown[0][name], "after": shown[1][name]} for name in before if before[name] != after[name]
    }
    visibility = changed.pop("visibility", None)
    labels = visibility and {time: level.label for time, level in visibility.items()}
    events = [("project_visibility_changed", labels), ("project_changed", changed)]
    return [(action, details) for action, details in events if details]


@example([(False, "owner", {"registry_access": OPEN}), (True, "maintainer", {"strict_uploads": True})])
@example([(False, "owner", {"visibility": PUBLIC, "registry_access": OPEN}), (True, "owner", {"visibility": PRIVATE})])
@example(
    [
        (False, "owner", {"visibility": PUBLIC, "registry_access": OPEN}),
        (True, "owner", {"visibility": PRIVATE, "registry_access": OPEN}),
    ]
)
@given(st.lists(STEPS, min_size=1, max_size=5))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_only_owners_and_only_within_restricted_visibility_change_them_and_each_change_is_on_record(
    app: Flask, steps: list[tuple[bool, str, State]]
) -> None:
    factories.empty()
    project = factories.project("one", parent=factories.group("acme", visibility=PUBLIC))
    users = {
        "maintainer": factories.member(project, Role.MAINTAINER),
        "owner": factories.member(project, Role.OWNER),
        "administrator": factories.user(is_admin=True),
    }
    state: State = {
        "visibility": Visibility.PRIVATE, "path": "one", "registry_access": ENABLED, "strict_uploads": False,
    }  # fmt: skip

    for is_restricted, who, changes in steps:
        levels = ["public"] if is_restricted else []
        instance.change_instance(instance.InstanceChanges(restricted_visibility_levels=levels), by=SHELL)
        earlier = set(db.session.scalars(select(AuditEvent.id)))
        wanted = state | changes
        refusal = refusal_of(state, wanted, who, is_restricted)

        found: type[RegistryError] | None = None
        try:
            namespaces.change(project, ProjectChanges(**changes), by=factories.signed_in(users[who]))
        except (Forbidden, InvalidRecord) as error:
            found = type(error)
        is_new = AuditEvent.id.not_in(earlier), AuditEvent.action.startswith("project_")
        events = select(AuditEvent).where(*is_new).order_by(AuditEvent.id)

        assert found is refusal
        expected = [] if refusal else recorded(state, wanted)
        assert [(event.action, event.details) for event in db.session.scalars(events)] == expected
        state = state if refusal else wanted
        factories.reload(project)
        assert {name: getattr(project, name) for name in state} == state
