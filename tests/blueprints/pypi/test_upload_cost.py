"""What an upload costs: statements, their compilation, and readings of the archive."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any, BinaryIO, cast

import pytest
from flask import Flask
from sqlalchemy import event
from sqlalchemy.engine.interfaces import CacheStats

from registry.database import db, utcnow
from registry.domain.access import SHELL
from registry.domain.packages import publishing
from registry.domain.packages.uploads import Upload
from registry.models import Project, User
from registry.storage.local import LocalStorage
from registry.storage.staging import LocalStagedFile
from tests import factories
from tests.builders import BuiltFile, build_sdist, build_wheel
from tests.clients import Twine

NAMES = {"a new name": "other", "a new version": "demo"}
MOST_STATEMENTS = {"other": 14, "demo": 11}
FIELDS = {
    "no remarks": (),
    "a remark": ("License-Expression: MIT",),
    "requirements": ("Requires-Dist: a", "Requires-Dist: b"),
}


@pytest.fixture
def token(twine: Twine, project: Project, developer: User) -> str:
    """The token of a client that has published versions of demo, in the caches of the process."""
    token = factories.access_token(developer)
    for version in ("0.1", "0.2", "0.3"):
        assert twine.upload(project, build_wheel("demo", version), token).status_code == 201
    return token


@pytest.mark.parametrize("fields", FIELDS.values(), ids=FIELDS)
@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_wheel_of_a_new_version_costs_at_most_eleven_statements_and_a_new_name_three_more(
    twine: Twine, project: Project, token: str, statements: list[str], name: str, fields: tuple[str, ...]
) -> None:
    del statements[:]

    assert twine.upload(project, build_wheel(name, "1.0", headers=fields), token).status_code == 201

    # PostgreSQL has two locks to take where SQLite has one, which shows with requirements only.
    more = fields == FIELDS["requirements"] and db.engine.dialect.name == "postgresql"
    assert len(statements) <= MOST_STATEMENTS[name] + more, statements


@pytest.mark.sqlite
@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_the_first_upload_after_a_change_of_access_costs_one_more_at_most(
    twine: Twine, project: Project, token: str, statements: list[str], name: str
) -> None:
    factories.deploy_token(project)
    factories.member(project, factories.Role.GUEST)
    del statements[:]

    assert twine.upload(project, build_wheel(name, "1.0"), token).status_code == 201

    assert any("access_tokens" in statement for statement in statements), "the gate looks again"
    assert len(statements) <= MOST_STATEMENTS[name] + 1, statements


def test_uploads_cost_the_same_in_a_registry_of_any_size(
    twine: Twine, project: Project, token: str, statements: list[str]
) -> None:
    def cost(version: str) -> int:
        before = len(statements)
        assert twine.upload(project, build_wheel("demo", version), token).status_code == 201
        return len(statements) - before

    few = cost("1.0")
    for number in range(10):
        factories.published(project, build_wheel("demo", f"2.{number}"))
        factories.published(project, build_wheel(f"name{number}"))
    cost("3.0")  # other uploads can have changed the caches

    assert cost("4.0") == few


@pytest.fixture
def compiled(app: Flask) -> Iterator[list[str]]:
    """The statements that SQLAlchemy has compiled in this test so far, growing."""
    found: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, _values: object, context: Any, _many: bool) -> None:
        if getattr(context, "compiled", None) is not None and context.cache_hit is not CacheStats.CACHE_HIT:
            found.append(statement)

    event.listen(db.engine, "before_cursor_execute", note)
    yield found
    event.remove(db.engine, "before_cursor_execute", note)


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_no_statement_is_compiled_for_a_further_upload(
    twine: Twine, project: Project, token: str, compiled: list[str], name: str
) -> None:
    files = [build_wheel(name, "1.0"), build_wheel(name, "1.0", build="1"), build_sdist(name, "2.0")]
    for file in files:  # a new version, a further file of a version
        assert twine.upload(project, file, token).status_code == 201
    del compiled[:]

    for file in (build_wheel(name, "5.0"), build_wheel(name, "5.0", build="1"), build_sdist(name, "6.0")):
        assert twine.upload(project, file, token).status_code == 201

    assert compiled == []


class Watched:
    """A staged file that notes where it is read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.readings: list[tuple[int, int]] = []

    def read(self, size: int = -1) -> bytes:
        start = self._file.tell()
        data = self._file.read(size)
        if data:
            self.readings.append((start, start + len(data)))
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def readings_of(self, start: int, end: int) -> int:
        return sum(first <= start and end <= last for first, last in self.readings)


class WatchedStore(LocalStorage):
    """A store whose staged files are watched, in the order in which they were staged."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.files: list[Watched] = []

    def stage(self) -> LocalStagedFile:
        staged = super().stage()
        self.files.append(Watched(staged.file))
        staged.file = cast(BinaryIO, self.files[-1])
        return staged


# Opening an archive reads this part: the end of a zip file, and the beginning of a compressed tar file.
@pytest.mark.parametrize(
    ("built", "part"),
    [
        (build_wheel(), slice(-22, None)),
        (build_sdist(), slice(0, 10)),
        (build_sdist(filename="demo-1.0.zip"), slice(-22, None)),
    ],
    ids=["wheel", "tar", "zip"],
)
@pytest.mark.parametrize("fields", [{}, None], ids=["upload", "import"])
def test_an_archive_is_opened_once(
    app: Flask, project: Project, tmp_path: Any, built: BuiltFile, part: slice, fields: dict[str, str] | None
) -> None:
    store = WatchedStore(tmp_path)

    with closing(store.stage()) as staged:
        staged.write(built.content)
        upload = Upload(built.name, built.version, built.filename, staged, fields)
        publishing.publish(
            upload, project=project, principal=SHELL, storage=store, max_size_bytes=0, now=utcnow()
        )  # fmt: skip

    start, end, _ = part.indices(len(built.content))
    assert store.files[0].readings_of(start, end) == 1
