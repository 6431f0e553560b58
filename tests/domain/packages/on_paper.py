"""Packages whose files exist only in the database, and their entries in the index."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

from packaging.utils import canonicalize_name
from sqlalchemy import select

from registry.database import db
from registry.domain import access
from registry.domain.access import SHELL, Principal
from registry.domain.packages import index, names
from registry.domain.packages.simple import SimplePage
from registry.models import Group, Job, Namespace, Package, PackageFile, PackageStatus, Project, Visibility

NOW = datetime(2030, 5, 17, 15, 30, tzinfo=UTC)
PUBLIC, INTERNAL, PRIVATE = Visibility.PUBLIC, Visibility.INTERNAL, Visibility.PRIVATE


def publish(
    project: Project,
    name: str = "demo",
    version: str = "1.0",
    *filenames: str,
    status: PackageStatus = PackageStatus.DEFAULT,
    job: Job | None = None,
) -> Package:
    """A package with files that exist on paper only; without names it has one wheel."""
    package = Package(
        project_id=project.id, name=name, version=version, version_rank=names.version_rank(version),
        normalized_name=canonicalize_name(name), status=status,
        created_at=NOW,
    )  # fmt: skip
    db.session.add(package)
    db.session.flush()
    for filename in filenames or (f"{canonicalize_name(name).replace('-', '_')}-{version}-py3-none-any.whl",):
        db.session.add(
            PackageFile(
                package_id=package.id, project_id=project.id, filename=filename, size_bytes=100, md5="", blake2b_256="",
                sha256=digest(filename), requires_python=">=3.9", core_metadata_sha256=digest(filename + ".metadata"),
                core_metadata_is_final=True, created_at=NOW, job_id=None if job is None else job.id,
            )
        )  # fmt: skip
    db.session.commit()
    return package


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def file_url(sha256: str, filename: str) -> str:
    return f"https://registry.test/files/{sha256}/{filename}"


def page(namespace: Namespace, name: str = "demo", by: Principal = SHELL) -> SimplePage | None:
    return index.simple_page(namespace, name, file_url, by)


def filenames(namespace: Namespace, name: str = "demo", by: Principal = SHELL) -> list[str] | None:
    found = page(namespace, name, by)
    return None if found is None else [file.filename for file in found.files]


def index_names(namespace: Namespace, by: Principal = SHELL) -> list[str]:
    found = index.simple_index(namespace, lambda name: f"https://registry.test/simple/{name}", by).names
    return [name for name, _, _ in found]


def downloads(namespace: Namespace, filename: str, by: Principal = SHELL) -> bool:
    return index.downloadable_file(namespace, digest(filename), filename, by) is not None


def project_of(forest: Group, path: str) -> Project:
    found = select(Project).where(access.within(forest), Project.path == path)
    return db.session.scalars(found).one()
