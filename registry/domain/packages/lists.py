"""Lists of packages and files for the REST API, the pages, and the shell.

Every function runs a fixed number of statements for any number of packages, files, members, and groups.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from packaging.utils import canonicalize_name
from sqlalchemy import Select, func, null, or_, select
from sqlalchemy.orm import contains_eager, joinedload, undefer

from registry.database import db
from registry.domain.access import Principal
from registry.domain.packages.index import of_projects
from registry.domain.packages.names import has_part
from registry.errors import RecordNotFound
from registry.models import (
    FileStatus,
    Group,
    ImportedPipeline,
    Job,
    Namespace,
    Package,
    PackageFile,
    PackageStatus,
    Pipeline,
    Project,
    TrustedRun,
)


class Published(Protocol):
    """A version, as a record or as a row of a list."""

    @property
    def id(self) -> int: ...
    @property
    def creator_id(self) -> int | None: ...


@dataclass(frozen=True)
class PackageFilter:
    """Criteria of a list of packages.

    :ivar name: a part of the name, in any spelling (PEP 503).
    :ivar statuses: the statuses to include; an empty tuple selects nothing.
    """

    name: str = ""
    version: str = ""
    package_type: str = ""
    statuses: tuple[PackageStatus, ...] = (PackageStatus.DEFAULT,)


def packages(
    namespace: Namespace, principal: Principal, wanted: PackageFilter, *, subgroups: bool = True
) -> Select[Package]:
    """Select the packages of a project, or of the readable projects below a group; the caller orders and pages them.

    :param subgroups: for a group, whether to include the projects of its subgroups.
    """
    statement = _listed(namespace, principal).where(Package.status.in_(wanted.statuses))
    if isinstance(namespace, Group) and not subgroups:
        statement = statement.where(Project.parent_id == namespace.id)
    if wanted.name:
        statement = statement.where(has_part(Package.name, Package.normalized_name, wanted.name))
    if wanted.version:
        statement = statement.where(Package.version == wanted.version)
    if wanted.package_type:
        statement = statement.where(Package.package_type == wanted.package_type)
    return statement


def published_last(
    namespace: Namespace, principal: Principal, number: int, normalized_name: str | None = None
) -> Sequence[Package]:
    """Return the packages published last, with their projects and creators, newest first.

    :param normalized_name: only versions of this name.
    """
    statement = packages(namespace, principal, PackageFilter()).options(joinedload(Package.creator))
    if normalized_name is not None:
        statement = statement.where(Package.normalized_name == normalized_name)
    return db.session.scalars(ordered(statement, "created_at", descending=True).limit(number)).all()


def packages_by_id(namespace: Namespace, principal: Principal, ids: Iterable[int]) -> list[Package]:
    """Return those of these packages that belong to the project, or to a readable project below the group.

    Deleted packages are left out.
    """
    statement = _listed(namespace, principal).where(
        Package.id.in_(list(ids)), Package.status != PackageStatus.PENDING_DESTRUCTION
    )
    return list(db.session.scalars(statement.order_by(Package.id)))


def _listed(namespace: Namespace, principal: Principal) -> Select[Package]:
    """Select packages in any status, with their projects."""
    return (
        select(Package)
        .join(Project, Project.id == Package.project_id)
        .options(contains_eager(Package.project))
        .where(of_projects(Package.project_id, namespace, principal))
    )


def ordered(statement: Select[Package], order_by: str, *, descending: bool) -> Select[Package]:
    """Order a list of packages, and equals by id.

    :param order_by: ``created_at``, ``name``, ``version``, ``type``, or ``project_path``.
    """
    columns = {"type": Package.package_type, "project_path": Project.full_path_key}
    keys = (columns[order_by] if order_by in columns else getattr(Package, order_by), Package.id)
    return statement.order_by(*(key.desc() for key in keys) if descending else keys)


def in_version_order(statement: Select[Package], *, descending: bool) -> Select[Package]:
    """Order a list of packages by PEP 440, and equals by id."""
    keys = (Package.version_rank, Package.id)
    return statement.order_by(*(key.desc() for key in keys) if descending else keys)


def shown_package(namespace: Namespace, package_id: int, principal: Principal) -> Package | None:
    """Return a package with its project and creator; ``None`` if it is not readable here."""
    statement = packages(namespace, principal, PackageFilter()).options(joinedload(Package.creator))
    return db.session.scalar(statement.where(Package.id == package_id))


def package(project: Project, package_id: int) -> Package:
    """Return a package of this project.

    :raises RecordNotFound: the package does not exist, or was deleted.
    """
    found = db.session.get(Package, package_id)
    if found is None or found.project_id != project.id or found.status is not PackageStatus.DEFAULT:
        raise RecordNotFound
    return found


def packages_named(project: Project, name: str, version: str) -> list[Package]:
    """Return the packages of one version in any spelling of the name (PEP 503), oldest first, without deleted ones."""
    found = select(Package).where(
        Package.project_id == project.id,
        Package.normalized_name == canonicalize_name(name),
        Package.version == version,
        Package.status != PackageStatus.PENDING_DESTRUCTION,
    )
    return list(db.session.scalars(found.order_by(Package.id)))


def package_files(package: Package) -> Select[PackageFile]:
    """Select the files of a package, without deleted ones, in no particular order."""
    return select(PackageFile).where(PackageFile.package_id == package.id, PackageFile.status == FileStatus.DEFAULT)


# How a file was published.
_PUBLISHED_WITH = (joinedload(PackageFile.job).joinedload(Job.user), undefer(PackageFile.trusted_run))


def ordered_files(package: Package, order_by: str, *, descending: bool) -> Select[PackageFile]:
    """Select the files of a package with the jobs that published them, and order equals by id.

    :param order_by: ``id``, ``file_name``, or ``created_at``.
    """
    keys = (PackageFile.filename if order_by == "file_name" else getattr(PackageFile, order_by), PackageFile.id)
    statement = package_files(package).options(*_PUBLISHED_WITH)
    return statement.order_by(*(key.desc() for key in keys) if descending else keys)


def with_remarks(files: Select[PackageFile]) -> Select[PackageFile]:
    """Select also the remarks on the files, which can be long."""
    return files.options(undefer(PackageFile.remarks))


def package_file(package: Package, file_id: int) -> PackageFile:
    """Return a file of the package with the job that published it.

    :raises RecordNotFound: the package has no such file.
    """
    statement = package_files(package).options(*_PUBLISHED_WITH)
    found = db.session.scalar(statement.where(PackageFile.id == file_id))
    if found is None:
        raise RecordNotFound
    return found


def project_file(project: Project, file_id: int) -> PackageFile:
    """Return a file of the project.

    :raises RecordNotFound: the project has no such file.
    """
    file = db.session.get(PackageFile, file_id)
    if file is None or file.project_id != project.id or file.status is not FileStatus.DEFAULT:
        raise RecordNotFound
    return file


def package_files_by_id(package: Package, ids: Iterable[int]) -> list[PackageFile]:
    """Return those of these files that belong to the package."""
    chosen = package_files(package).where(PackageFile.id.in_(list(ids)))
    return list(db.session.scalars(chosen.order_by(PackageFile.id)))


def package_size(package: Package) -> int:
    """Return the total size of the package's files in bytes."""
    sizes = package_files(package).with_only_columns(func.sum(PackageFile.size_bytes))
    return int(db.session.scalar(sizes) or 0)


@dataclass(frozen=True)
class Yank:
    """The extent of a yank in a package, and its reasons.

    :ivar reasons: the reasons of the package's files; ``None`` stands for files that are not yanked.
    """

    reasons: frozenset[str | None]

    @property
    def is_whole(self) -> bool:
        """Whether all files of the version are yanked."""
        return bool(self.reasons) and None not in self.reasons

    @property
    def is_partial(self) -> bool:
        return None in self.reasons and len(self.reasons) > 1

    @property
    def reason(self) -> str:
        """The reason, if it is the same for all files."""
        return next(iter(self.reasons)) or "" if len(self.reasons) == 1 else ""


def yanks(packages: Iterable[Package]) -> dict[int, Yank]:
    """Return the yank of each package by id, in one statement."""
    reasons: dict[int, set[str | None]] = {package.id: set() for package in packages}
    rows = db.session.execute(
        select(PackageFile.package_id, PackageFile.yanked_reason)
        .where(PackageFile.package_id.in_(reasons), PackageFile.status == FileStatus.DEFAULT)
        .distinct()
    )
    for package_id, reason in rows:
        reasons[package_id].add(reason)
    return {package_id: Yank(frozenset(found)) for package_id, found in reasons.items()}


def core_metadata_digest(package: Package) -> str | None:
    """Return the digest of the core metadata document of the package's newest file."""
    digests = package_files(package).with_only_columns(PackageFile.core_metadata_sha256)
    return db.session.scalar(
        digests.where(PackageFile.core_metadata_sha256.is_not(None)).order_by(PackageFile.id.desc()).limit(1)
    )


def pipelines(package: Package, *, before: int | None = None) -> list[tuple[int, Pipeline]]:
    """Return the pipelines that published files of a package with their keys, in descending order.

    :param before: only pipelines with keys below this one.
    """
    keyed: list[tuple[int, Pipeline]] = []
    imported = 0
    for pipeline in pipelines_of([package]).get(package.id, []):
        imported += pipeline.is_imported
        keyed.append((-imported if pipeline.is_imported else pipeline.id, pipeline))
    return [(key, pipeline) for key, pipeline in keyed if before is None or key < before]


def pipelines_of(packages: Iterable[Package]) -> dict[int, list[Pipeline]]:
    """Return the pipelines of each package by package id, in one statement: the CI jobs and then the imported ones.

    Both are sorted from newest to oldest. Packages without pipelines are left out.
    """
    ids = [package.id for package in packages]
    rows = db.session.execute(
        select(PackageFile.package_id, PackageFile.imported_pipelines, Job)
        .outerjoin(Job, Job.id == PackageFile.job_id)
        .options(joinedload(Job.user))
        .where(
            PackageFile.package_id.in_(ids),
            PackageFile.status == FileStatus.DEFAULT,
            or_(PackageFile.job_id.is_not(None), PackageFile.imported_pipelines.is_not(null())),
        )
    )
    found: dict[int, set[Pipeline]] = {}
    for package_id, imported, job in rows:
        elsewhere = map(ImportedPipeline.from_json, imported or ())
        found.setdefault(package_id, set()).update(elsewhere, [] if job is None else [job])
    return {package_id: sorted(listed, key=_newest_first) for package_id, listed in found.items()}


def trusted_runs_of(packages: Iterable[Published]) -> dict[int, TrustedRun]:
    """Return the run of a trusted publisher that published the first such file of each package, by package id.

    Packages without such files are left out. One statement for those without a creator.
    """
    ids = [package.id for package in packages if package.creator_id is None]
    if not ids:
        return {}
    rows = db.session.execute(
        select(PackageFile.package_id, PackageFile.trusted_run)
        .where(PackageFile.package_id.in_(ids), PackageFile.status == FileStatus.DEFAULT)
        .where(PackageFile.trusted_run.is_not(null()))
        .order_by(PackageFile.id.desc())
    )
    return {package_id: TrustedRun.from_json(run) for package_id, run in rows}


def _newest_first(pipeline: Pipeline) -> tuple[bool, float, int]:
    return pipeline.is_imported, -pipeline.created_at.timestamp() if pipeline.is_imported else 0, -pipeline.id


def other_versions(package: Package) -> list[Package]:
    """Return the other versions of the name in the same spelling, in PEP 440 order."""
    return list(db.session.scalars(in_version_order(versions_beside(package), descending=False)))


def versions_beside(package: Package) -> Select[Package]:
    """Select the other versions of the name in the same spelling, in no particular order."""
    return select(Package).where(
        Package.project_id == package.project_id,
        Package.name == package.name,
        Package.id != package.id,
        Package.status == PackageStatus.DEFAULT,
    )
