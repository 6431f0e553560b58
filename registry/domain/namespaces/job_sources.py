"""Job token allowlists: the projects and groups whose CI jobs can access a project."""

from __future__ import annotations

from sqlalchemy import func, select

from registry.database import AdvisoryLock, db, transaction
from registry.domain import access, audit
from registry.domain.access import Permission, Principal
from registry.domain.namespaces.finding import AnyNamespace
from registry.errors import Code, Fault, InvalidRecord, RecordNotFound
from registry.models import AllowedJobSource, Namespace, Project

MAXIMUM_ALLOWLIST = 200


def allowed_job_sources(project: Project, kind: type[AnyNamespace]) -> list[AnyNamespace]:
    """Return the projects, or the groups, on the job token allowlist of a project."""
    return list(
        db.session.scalars(
            select(kind)
            .join(AllowedJobSource, AllowedJobSource.source_id == kind.id)
            .where(AllowedJobSource.project_id == project.id)
            .order_by(kind.id)
        )
    )


def allow_job_source(project: Project, source: Namespace, *, by: Principal) -> None:
    """Allow the CI jobs of a project, or of all projects of a group, to access a project.

    Takes ``AdvisoryLock.TREE``, as the length of the list is limited, and two projects can list each other.

    :raises InvalidRecord: the source is already listed, or the list is full (200).
    :raises NotFound: the source is hidden from the principal.
    :raises RecordNotFound: the project or source was deleted in the meantime.
    """
    access.require(by, Permission.READ_NAMESPACE, source)
    with transaction(lock=AdvisoryLock.TREE) as session:
        if session.get(AllowedJobSource, (project.id, source.id)) is not None:
            raise InvalidRecord({"target_project": [Fault(Code.ALREADY_IN_ALLOWLIST)]})
        listed = session.scalar(select(func.count()).where(AllowedJobSource.project_id == project.id)) or 0
        if listed >= MAXIMUM_ALLOWLIST:
            raise InvalidRecord({"source_project": [Fault(Code.ALLOWLIST_FULL, maximum=MAXIMUM_ALLOWLIST)]})
        session.add(AllowedJobSource(project_id=project.id, source_id=source.id))
        audit.record(by, "job_source_allowed", source.full_path, project)


def disallow_job_source(project: Project, source: Namespace, *, by: audit.Author) -> None:
    """Remove a project or group from the job token allowlist of a project. Takes no lock, as it removes one row.

    :raises RecordNotFound: the source is not listed.
    """
    with transaction() as session:
        entry = session.get(AllowedJobSource, (project.id, source.id))
        if entry is None:
            raise RecordNotFound
        session.delete(entry)
        audit.record(by, "job_source_disallowed", source.full_path, project)
