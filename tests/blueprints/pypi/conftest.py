from __future__ import annotations

import pytest

from registry.models import PackageFile, Project


@pytest.fixture
def published_project(project: Project, demo: PackageFile) -> Project:
    """``project`` with a wheel of demo 1.0."""
    return project
