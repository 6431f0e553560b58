from __future__ import annotations

from types import EllipsisType
from typing import Any, get_args, get_type_hints

import pytest
from sqlalchemy.orm import Mapped

from registry.database import Model
from registry.domain.accounts.users import UserChanges, UserDetails
from registry.domain.changes import Changes
from registry.domain.instance import InstanceChanges
from registry.domain.namespaces import (
    GroupChanges,
    GroupSettings,
    NamespaceChanges,
    ProjectChanges,
    ProjectSettings,
)
from registry.domain.packages.protection import RuleChanges
from registry.models import Group, InstanceSettings, Namespace, Project, ProtectionRule, RegistryAccess, User

RECORDS: dict[type[Changes], type[Model]] = {
    GroupChanges: Group,
    GroupSettings: Group,
    InstanceChanges: InstanceSettings,
    NamespaceChanges: Namespace,
    ProjectChanges: Project,
    ProjectSettings: Project,
    RuleChanges: ProtectionRule,
    UserChanges: User,
    UserDetails: User,
}


def kinds(base: type[Changes] = Changes) -> set[type[Changes]]:
    below = {kind for direct in base.__subclasses__() for kind in (direct, *kinds(direct))}
    return {kind for kind in below if kind.__module__.startswith("registry.")}


def alternatives(annotation: Any) -> set[Any]:
    return set(get_args(annotation)) if not isinstance(annotation, type) else {annotation}


def test_every_kind_of_changes_is_checked_against_its_record() -> None:
    assert kinds() == set(RECORDS)


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
def test_a_field_is_a_column_and_accepts_only_its_type(kind: type[Changes]) -> None:
    columns = {
        name: get_args(annotation)[0]
        for name, annotation in get_type_hints(RECORDS[kind]).items()
        if annotation is not None and getattr(annotation, "__origin__", None) is Mapped
    }

    for name, annotation in get_type_hints(kind).items():
        accepted = alternatives(annotation) - {EllipsisType}
        assert accepted <= alternatives(columns[name]) | {columns[name]}, name


def test_only_given_fields_change() -> None:
    user = User(bio="before", note="before")

    UserChanges(bio="after").apply_to(user)

    assert (user.bio, user.note) == ("after", "before")
    assert UserChanges(bio="after").given() == {"bio": "after"}


def test_null_is_a_value_to_change_to() -> None:
    project = Project(storage_size_limit=10)

    NamespaceChanges(storage_size_limit=None).apply_to(project)

    assert project.storage_size_limit is None


def test_changes_to_another_kind_of_record_are_refused() -> None:
    group = Group(name="before")

    with pytest.raises(TypeError, match="Group has no registry_access"):
        ProjectChanges(name="after", registry_access=RegistryAccess.PRIVATE).apply_to(group)

    assert group.name == "before"
