"""Files of the public index: while they are fetched, and from the store."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import delete
from werkzeug.test import TestResponse

from registry.blueprints.pypi.prepared import LARGEST_FILE_BYTES
from registry.database import db, utcnow
from registry.domain import instance
from registry.domain.access import SHELL
from registry.domain.instance import InstanceChanges
from registry.domain.upstream import fetching, pages, uses, waiting
from registry.domain.upstream.client import PublicIndex
from registry.domain.upstream.files import Files
from registry.domain.upstream.pages import KeptPages
from registry.models import CachedFile, InstanceSettings, KeptPage, Project, UpstreamMode
from registry.storage import Storage, object_key
from registry.storage.local import LocalStorage
from tests import factories
from tests.builders import build_wheel
from tests.clients import JSON, Pip, pypi_path
from tests.fakes.index import FILE, StaticIndex

WHEEL, SMALL = build_wheel("public", size_bytes=200_000), build_wheel("public", "2.0")
PATH = f"/files/{WHEEL.filename}"


@pytest.fixture(autouse=True)
def files(
    app: Flask, served: StaticIndex, storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Files]:
    """Those of the public index, which has a large and a small wheel of ``public``."""
    index = PublicIndex(served.url)
    files = Files(
        index, storage, context=app.app_context, cache_bytes=1 << 30, largest_bytes=0, request_threads=8,
        count=app.extensions["metrics"].count_fetched,
    )  # fmt: skip
    monkeypatch.setattr(fetching, "FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setitem(app.extensions, "upstream_files", files)
    kept = KeptPages(index, tmp_path / "locks", fresh_seconds=600, threads=8)
    monkeypatch.setitem(app.extensions, "upstream_pages", kept)
    monkeypatch.setattr(app.extensions["metrics"], "on_use", files.note_use)
    InstanceSettings.current().pypi_upstream_mode = UpstreamMode.CACHE
    factories.commit()
    served.publish(WHEEL, SMALL)
    yield files
    settle(files)


@pytest.fixture
def token(owner) -> str:
    secret: str = factories.access_token(owner, "read_api")
    return secret


def settle(files: Files) -> None:
    """Wait until what has arrived is stored."""
    while files._threads._running:
        time.sleep(0.005)


def forget_pages() -> None:
    db.session.execute(delete(KeptPage))
    db.session.commit()


def ask(pip: Pip, project: Project, token: str, file=WHEEL, method: str = "GET", **headers: str) -> TestResponse:
    path = f"{pypi_path(project)}/files/{file.sha256}/{file.filename}"
    return pip.client.open(path, method=method, headers={"PRIVATE-TOKEN": token, **headers})


def answered(pip: Pip, project: Project, token: str, file=WHEEL) -> tuple[int, bytes]:
    with closing(ask(pip, project, token, file)) as response:
        return response.status_code, response.data


def test_a_file_is_whole_while_it_is_fetched_and_in_parts_from_the_store(
    pip: Pip, project: Project, token: str, files: Files
) -> None:
    cold = ask(pip, project, token, Range="bytes=-100")
    assert (cold.status_code, cold.data, cold.headers.get("Accept-Ranges")) == (200, WHEEL.content, None)
    settle(files)

    warm = ask(pip, project, token, Range="bytes=-100")

    assert (warm.status_code, warm.data) == (206, WHEEL.content[-100:])
    for name in ("ETag", "Content-Disposition", "Cache-Control", "Last-Modified"):
        assert warm.headers[name] == cold.headers[name]


def test_head_fetches_nothing(pip: Pip, project: Project, token: str, served: StaticIndex) -> None:
    response = ask(pip, project, token, method="HEAD")

    assert (response.status_code, response.content_length, response.data) == (200, len(WHEEL.content), b"")
    assert served.asked_for(PATH) == []


@pytest.mark.parametrize(("status", "answered"), [(404, 404), (410, 404), (403, 502), (500, 502)])
def test_a_file_that_the_public_index_does_not_deliver_is_explained(
    pip: Pip, project: Project, token: str, served: StaticIndex, status: int, answered: int
) -> None:
    served.fail(PATH, *[status] * (fetching.ATTEMPTS_TO_BEGIN if status == 500 else 1))

    response = ask(pip, project, token)

    assert (response.status_code, response.mimetype) == (answered, "application/problem+json")
    assert WHEEL.filename in response.json["detail"]
    assert ask(pip, project, token).data == WHEEL.content


def test_while_other_files_are_waited_for_and_none_arrives_a_further_one_is_refused_with_the_reason(
    pip: Pip, project: Project, token: str, served: StaticIndex, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "SILENCE_SECONDS", 0.1)

    served.delay(PATH, 3, per_piece=0.001)  # longer than its first byte is waited for

    with ExitStack() as places:
        for _ in range(4):
            files._waiting.acquire()
            places.callback(files._waiting.release)
        response = ask(pip, project, token)

    assert (response.status_code, response.headers["Retry-After"]) == (503, "2")
    assert (response.json["title"], WHEEL.filename in response.json["detail"]) == ("Public index slow", True)


def test_a_small_file_is_a_kept_answer_only_from_the_store(
    app: Flask, pip: Pip, project: Project, token: str, files: Files
) -> None:
    assert len(SMALL.content) < LARGEST_FILE_BYTES
    answers = app.extensions["answers"]._kept
    before = set(answers)  # which can be dropped meanwhile, when their time is over

    kept = []
    for _ in range(3):
        assert ask(pip, project, token, SMALL).data == SMALL.content
        settle(files)
        kept.append(len(set(answers) - before))

    assert kept == [0, 1, 1]


def test_a_stored_file_whose_object_is_missing_is_fetched_again(
    pip: Pip, project: Project, token: str, files: Files, storage: Storage
) -> None:
    ask(pip, project, token).close()
    settle(files)
    storage.delete(object_key(WHEEL.sha256))

    assert ask(pip, project, token).data == WHEEL.content

    settle(files)
    assert storage.exists(object_key(WHEEL.sha256))


def test_a_stored_file_that_has_become_shorter_is_fetched_again(
    pip: Pip, project: Project, token: str, files: Files, storage: LocalStorage
) -> None:
    ask(pip, project, token).close()
    settle(files)
    path = storage.root / object_key(WHEEL.sha256)
    path.write_bytes(WHEEL.content[:-1])

    assert ask(pip, project, token).data == WHEEL.content

    settle(files)
    assert path.read_bytes() == WHEEL.content


def test_bytes_are_counted_by_where_they_came_from(
    app: Flask, pip: Pip, project: Project, token: str, files: Files
) -> None:
    def counted() -> dict[str, float]:
        lines = (line for line in pip.client.get("/-/metrics").text.splitlines() if line[0] != "#")
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}

    before = counted()
    for _ in range(3):
        ask(pip, project, token).close()
        settle(files)

    after = counted()
    size = len(WHEEL.content)
    names = (
        'registry_upstream_file_bytes_total{origin="miss"}', 'registry_upstream_file_bytes_total{origin="hit"}',
        "registry_upstream_fetched_bytes_total",
    )  # fmt: skip
    assert [after[name] - before.get(name, 0) for name in names] == [size, 2 * size, size]
    assert (after["registry_upstream_cached_files"], after["registry_upstream_cached_bytes"]) == (1, size)

    files.tend()

    (fetch,) = uses.fetched(None, utcnow().date(), 10)
    assert (fetch.path, fetch.filename, fetch.normalized_name) == (project.full_path, WHEEL.filename, "public")


def test_a_file_that_is_gone_from_the_public_index_is_offered_from_the_store_if_no_rule_withholds_it(
    pip: Pip, project: Project, token: str, files: Files, served: StaticIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "LEAST_SECONDS", 0)
    ask(pip, project, token).close()
    settle(files)
    served.publish(build_wheel("public", "3.0"))
    forget_pages()

    def status(file=WHEEL, **rules: object) -> int:
        instance.change_instance(InstanceChanges(**rules), by=SHELL)
        return answered(pip, project, token, file)[0]

    assert answered(pip, project, token) == (200, WHEEL.content)
    assert status(SMALL) == 404  # it was never fetched
    assert status(pypi_upstream_blocked=["public==1.0"]) == 403
    uploaded_on = datetime(2024, 2, 3, tzinfo=UTC)
    assert status(pypi_upstream_blocked=[], pypi_upstream_fixed_date=uploaded_on) == 403
    assert status(pypi_upstream_fixed_date=uploaded_on + timedelta(days=1)) == 200
    served.fail("public/", 404, 404)
    assert status() == 200


def test_a_file_in_the_store_is_offered_while_the_public_index_is_away_and_its_page_was_removed(
    pip: Pip, project: Project, token: str, files: Files, served: StaticIndex
) -> None:
    document = b"Metadata-Version: 2.1\nName: public\nVersion: 1.0\n"
    served.publish(WHEEL, SMALL, core_metadata={"sha256": hashlib.sha256(document).hexdigest()})
    served.put(f"{PATH}.metadata", document, FILE)
    for kind in ("", ".metadata"):
        pip.download(project, WHEEL, token, kind).close()
        settle(files)
    forget_pages()
    served.fail("public/", *[503] * 10)

    assert answered(pip, project, token) == (200, WHEEL.content)
    assert pip.download(project, WHEEL, token, ".metadata").data == document
    assert answered(pip, project, token, SMALL)[0] == 502

    other = CachedFile(sha256="0" * 64, filename=WHEEL.filename, normalized_name="public", version="1.0", size_bytes=1)
    db.session.add(other)  # it cannot be known which of the two the document describes
    factories.commit()
    assert pip.download(project, WHEEL, token, ".metadata").status_code == 404


def test_no_file_of_a_package_that_the_public_index_quarantined_is_offered(
    pip: Pip, project: Project, token: str, files: Files, served: StaticIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "LEAST_SECONDS", 0)
    ask(pip, project, token).close()
    settle(files)
    status = {"status": "quarantined"}
    page = {"meta": {"api-version": "1.4"}, "name": "public", "project-status": status, "files": [], "versions": []}
    served.put("public/", json.dumps(page), JSON)
    forget_pages()

    assert answered(pip, project, token)[0] == 404
