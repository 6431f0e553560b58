"""Published packages, read from the database."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from sqlalchemy import select

from registry.database import db
from registry.domain.access import SHELL
from registry.domain.packages import lists
from registry.models import FileStatus, Package, PackageFile, Project
from tests import factories
from tests.builders import build_wheel

NOW = datetime(2030, 5, 17, 15, 30, tzinfo=UTC)
LATER = datetime(2030, 5, 18, tzinfo=UTC)
StoreFiles = Callable[[], list[str]]
Publish = Callable[..., PackageFile]


def packages() -> list[Package]:
    return list(db.session.scalars(select(Package).order_by(Package.id)))


def live_files() -> list[str]:
    live = select(PackageFile.filename).where(PackageFile.status == FileStatus.DEFAULT).order_by(PackageFile.id)
    return list(db.session.scalars(live))


def packages_of(project: Project, *names: str) -> list[Package]:
    published = [factories.published(project, build_wheel(name)) for name in names]
    return lists.packages_by_id(project, SHELL, [file.package_id for file in published])
