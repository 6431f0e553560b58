from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from flask import Flask

from registry.domain.access import SHELL, Principal
from registry.domain.packages import publishing
from registry.domain.packages.uploads import Upload
from registry.models import Group, PackageFile, Project, RegistryAccess
from registry.storage import Storage
from tests import factories
from tests.builders import BuiltFile
from tests.domain.packages import on_paper
from tests.domain.packages.on_paper import INTERNAL, NOW, PRIVATE, PUBLIC


@pytest.fixture
def forest(app: Flask) -> Group:
    """A public group with one package in each of its projects, named as the project."""
    top = factories.group("top", visibility=PUBLIC)
    sub = factories.group("sub", parent=top, visibility=PUBLIC)
    for parent, path, visibility, registry_access in [
        (top, "open", PUBLIC, RegistryAccess.ENABLED),
        (sub, "deep", PUBLIC, RegistryAccess.ENABLED),
        (top, "internal", INTERNAL, RegistryAccess.ENABLED),
        (sub, "private", PRIVATE, RegistryAccess.ENABLED),
        (sub, "pullable", PRIVATE, RegistryAccess.PUBLIC),
        (top, "members", PUBLIC, RegistryAccess.PRIVATE),
        (top, "disabled", PUBLIC, RegistryAccess.DISABLED),
    ]:
        on_paper.publish(
            factories.project(path, parent=parent, visibility=visibility, registry_access=registry_access), path
        )
    on_paper.publish(factories.project("elsewhere", visibility=PUBLIC), "elsewhere")
    return top


@pytest.fixture
def publish(storage: Storage) -> Callable[..., PackageFile]:
    """Publishes a built file; further arguments are those of ``Upload`` and ``publishing.publish``."""

    def publish(built: BuiltFile, project: Project, by: Principal = SHELL, **given: Any) -> PackageFile:
        options = {"max_size_bytes": given.pop("max_size_bytes", 0), "now": given.pop("now", NOW)}
        with closing(storage.stage()) as staged:
            staged.write(built.content)
            claimed = {"name": built.name, "version": built.version, "filename": built.filename, "fields": {}}
            upload = Upload(**claimed | {"content": staged} | given)
            return publishing.publish(upload, project=project, principal=by, storage=storage, **options).file

    return publish
