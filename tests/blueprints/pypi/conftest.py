from __future__ import annotations

import pytest
from sqlalchemy import insert

from registry.database import db, utcnow
from registry.models import FileDownloads, Group, PackageFile, Project, Role
from tests import factories
from tests.builders import build_sdist, build_wheel
from tests.osv import HIGH, affected, load, record

RANGE = ({"introduced": "0"}, {"fixed": "1.5"}, {"introduced": "2"}, {"fixed": "2.1"})


@pytest.fixture
def published_project(project: Project, demo: PackageFile) -> Project:
    """``project`` with a wheel of demo 1.0."""
    return project


@pytest.fixture
def reader(project: Project, group: Group) -> str:
    """Can read the group, whose project has demo 1.0 and 2.0, other 1.0, and advisories."""
    for file in (
        build_wheel("Demo", "1.0"),
        build_sdist("Demo", "1.0"),
        build_wheel("Demo", "2.0rc1"),
        build_wheel("other"),
    ):
        published = factories.published(project, file)
        db.session.execute(insert(FileDownloads), [{"file_id": published.id, "day": utcnow().date(), "count": 2}])
        db.session.commit()
    load(
        record("GHSA-1", affected("demo", *RANGE), cvss=HIGH, aliases=["CVE-1"]),
        record("GHSA-2", affected("demo", versions=("1.0",)), withdrawn="2026-01-01T00:00:00Z"),
        record("PYSEC-1", affected("other", versions=("1.0",)), summary=""),
        record("GHSA-9", affected("requests", {"introduced": "0"}, {"fixed": "2.32.0"})),
    )
    return factories.access_token(factories.member(group, Role.REPORTER, "reader"), "read_api")
