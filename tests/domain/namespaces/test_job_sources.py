from __future__ import annotations

import pytest

from registry.database import transaction
from registry.domain import namespaces
from registry.domain.access import SHELL
from registry.errors import InvalidRecord, RecordNotFound
from registry.models import AllowedJobSource, Group, Project
from tests import factories
from tests.domain.namespaces.creating import PRIVATE, errors_of


def test_projects_and_groups_are_listed_apart(project: Project) -> None:
    other, group = factories.project("other"), factories.group("others")

    namespaces.allow_job_source(project, other, by=SHELL)
    namespaces.allow_job_source(project, group, by=SHELL)

    assert namespaces.allowed_job_sources(project, Project) == [other]
    assert namespaces.allowed_job_sources(project, Group) == [group]


def test_a_source_is_listed_once_and_taken_off_once(project: Project) -> None:
    other = factories.project("other")
    namespaces.allow_job_source(project, other, by=SHELL)

    with pytest.raises(InvalidRecord) as refusal:
        namespaces.allow_job_source(project, other, by=SHELL)
    namespaces.disallow_job_source(project, other, by=SHELL)
    with pytest.raises(RecordNotFound):
        namespaces.disallow_job_source(project, other, by=SHELL)

    assert errors_of(refusal) == {"target_project": ["is already in the job token scope"]}
    assert namespaces.allowed_job_sources(project, Project) == []


def test_two_hundred_sources_fill_the_list(project: Project) -> None:
    with transaction() as session:
        for number in range(200):
            group = Group(path=f"g{number}", name="G", visibility=PRIVATE)
            namespaces.place(group, None, by=SHELL)
            session.add(AllowedJobSource(project_id=project.id, source_id=group.id))

    with pytest.raises(InvalidRecord) as refusal:
        namespaces.allow_job_source(project, factories.group(), by=SHELL)

    assert errors_of(refusal) == {"source_project": ["exceeds the allowable number of project links (200)"]}


def test_a_deleted_source_is_off_the_list(project: Project) -> None:
    other = factories.project("other")
    namespaces.allow_job_source(project, other, by=SHELL)

    namespaces.delete_namespace(other, by=SHELL)

    assert namespaces.allowed_job_sources(project, Project) == []
