"""Groups and projects made with the fields that a test is about."""

from __future__ import annotations

from typing import Any

import pytest

from registry.domain import namespaces
from registry.domain.access import SHELL, Principal
from registry.errors import InvalidRecord
from registry.models import Group, Namespace, Project, Visibility

PUBLIC, INTERNAL, PRIVATE = Visibility.PUBLIC, Visibility.INTERNAL, Visibility.PRIVATE


def create_group(path: str, by: Principal = SHELL, parent: Group | None = None, **fields: Any) -> Group:
    return namespaces.create_group(**{"name": path, "path": path, "parent": parent, "by": by, **fields})


def create_project(path: str, parent: Namespace | None, by: Principal = SHELL, **fields: Any) -> Project:
    return namespaces.create_project(**{"name": path, "path": path, "parent": parent, "by": by, **fields})


def errors_of(refusal: pytest.ExceptionInfo[InvalidRecord]) -> dict[str, list[str]]:
    return refusal.value.errors
