"""The cache of the upstream from the shell."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import re
import tarfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import delete, select

from registry.database import db
from registry.domain import cascade
from registry.domain.access import SHELL
from registry.domain.upstream import cached, fetching
from registry.domain.upstream.client import PublicIndex
from registry.domain.upstream.files import Files
from registry.domain.upstream.pages import KeptPages
from registry.models import CachedFile, Group, InstanceSettings, KeptPage, Project
from registry.storage import Storage, object_key
from tests import factories
from tests.builders import build_sdist, build_wheel
from tests.cli.running import Refused, Run, columns, loaded, succeeded
from tests.fakes.index import FILE, StaticIndex

OLD, WHEEL, SDIST = build_wheel(), build_wheel(version="2.0"), build_sdist(version="2.0")
EARLY = build_wheel(version="3.0rc1")
DOCUMENT = b"Metadata-Version: 2.1\nName: demo\nVersion: 2.0\n"


@pytest.fixture(autouse=True)
def upstream(
    app: Flask, served: StaticIndex, storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[StaticIndex]:
    """The public index, which has four files of ``demo`` with the same core metadata."""
    index = PublicIndex(served.url)
    files = Files(
        index, storage, context=app.app_context, cache_bytes=1 << 20, largest_bytes=0, request_threads=8,
        count=lambda _: None,
    )  # fmt: skip
    monkeypatch.setattr(fetching, "FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setitem(app.extensions, "upstream_files", files)
    kept = KeptPages(index, tmp_path / "locks", fresh_seconds=600, threads=8)
    monkeypatch.setitem(app.extensions, "upstream_pages", kept)
    served.publish(OLD, WHEEL, SDIST, EARLY, core_metadata={"sha256": hashlib.sha256(DOCUMENT).hexdigest()})
    for file in (OLD, WHEEL, SDIST, EARLY):
        served.put(f"/files/{file.filename}.metadata", DOCUMENT, FILE)
    yield served
    assert not files._threads._running


@pytest.fixture
def exported(run: Run, tmp_path: Path) -> Path:
    """An export of demo 2.0, with nothing kept any more."""
    succeeded(run("upstream", "warm", "demo"))
    succeeded(run("upstream", "export", str(tmp_path / "cache.tar")))
    forget()
    return tmp_path / "cache.tar"


def forget() -> None:
    for table in (CachedFile, KeptPage):
        db.session.execute(delete(table))
    db.session.commit()


def kept() -> set[str]:
    return set(db.session.scalars(select(CachedFile.filename)))


@pytest.mark.parametrize(
    ("requirement", "version", "filenames"),
    [
        ("Demo", "2.0", {WHEEL.filename, SDIST.filename}),
        ("demo==1.0", "1.0", {OLD.filename}),
        ("demo<2", "1.0", {OLD.filename}),
        ("demo>=3.0rc1", "3.0rc1", {EARLY.filename}),
    ],
)
def test_the_files_of_the_newest_matching_version_are_fetched(
    run: Run, requirement: str, version: str, filenames: set[str]
) -> None:
    [line] = columns(run("upstream", "warm", requirement))

    assert line == ["demo", version, str(1 + len(filenames)), str(len(filenames) - 1), "", ""]  # one document for all
    assert {name for name in kept() if not name.endswith(".metadata")} == filenames


def test_warming_again_fetches_nothing(run: Run, upstream: StaticIndex) -> None:
    succeeded(run("upstream", "warm", "demo"))
    before = len(upstream.requests)

    [warmed] = loaded(run("upstream", "warm", "demo", "--json"))

    assert (warmed["fetched"], warmed["present"]) == (0, 4)
    assert len(upstream.requests) == before


def test_a_requirements_file_is_read_as_pip_does(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "requirements.txt"
    path.write_text(f"# locked\n--no-binary :all:\n\ndemo==1.0 \\\n    --hash=sha256:{'0' * 64}  # why\n-e .\n")

    assert [line[:2] for line in columns(run("upstream", "warm", "-r", str(path)))] == [["demo", "1.0"]]


def test_what_is_reserved_or_withheld_is_skipped_and_reserved_names_are_not_asked_for(
    run: Run, group: Group, project: Project, upstream: StaticIndex
) -> None:
    factories.published(project, build_wheel("ours", "1.0"))
    cascade.RESERVED.change(group, value=["acme-*"], by=SHELL)
    settings = InstanceSettings.current()
    settings.pypi_upstream_blocked = ["blocked", "demo==2.0"]
    factories.commit()

    lines = columns(run("upstream", "warm", "Ours", "acme-tool", "blocked", "demo", "demo==2.0"))

    assert [(line[0], line[1], line[5].partition(" in ")[0]) for line in lines] == [
        ("ours", "", "The name ours was published"),
        ("acme-tool", "", 'The name acme-tool is reserved by the entry "acme-*"'),
        ("blocked", "", 'The package blocked is blocked by the entry "blocked"'),
        ("demo", "1.0", ""),
        ("demo", "", f'{WHEEL.filename} is blocked by the entry "demo==2.0"'),
    ]
    assert {one.path for one in upstream.requests if "/files/" not in one.path} == {"/simple/demo/"}


@pytest.mark.parametrize("requirement", ["absent", "demo==9"])
def test_what_cannot_be_fetched_is_listed(run: Run, requirement: str) -> None:
    result = run("upstream", "warm", requirement, "demo")

    assert result.exit_code == 1
    assert result.stderr.splitlines() == ["Error: 1 of 2 requirements could not be fetched completely."]
    assert [line.split("\t")[0] for line in result.stdout.splitlines()] == [requirement.partition("=")[0], "demo"]


@pytest.mark.parametrize("text", ["demo @ https://example.com/demo.whl", "==1.0", "../demo"])
def test_only_names_and_versions_are_requirements(refused: Refused, text: str) -> None:
    assert text in refused("upstream", "warm", text)


def test_the_status_counts_files_and_pages(run: Run, upstream: StaticIndex) -> None:
    succeeded(run("upstream", "warm", "demo==1.0"))

    found = loaded(run("upstream", "status", "--json"))

    size_bytes = len(OLD.content) + len(DOCUMENT)
    assert found == {"files": 2, "size_bytes": size_bytes, "limit_bytes": 1 << 20, "pages": 1}


def test_cleanup_keeps_to_the_limit(run: Run, app: Flask) -> None:
    succeeded(run("upstream", "warm", "demo"))
    app.extensions["upstream_files"].cache_bytes = 0

    removed = loaded(run("upstream", "cleanup", "--json"))

    assert (removed["files"], removed["pages"]) == (3, 0)
    assert kept() == set()


def test_an_export_answers_where_the_public_index_is_unreachable(
    run: Run, exported: Path, upstream: StaticIndex, storage: Storage
) -> None:
    upstream.fail("demo/", *[503] * 10)

    carried = loaded(run("upstream", "import", str(exported), "--json"))

    assert carried == {
        "files": 3, "size_bytes": len(WHEEL.content) + len(SDIST.content) + len(DOCUMENT), "pages": 1, "skipped": 0
    }  # fmt: skip
    with storage.open(object_key(WHEEL.sha256)) as file:
        assert file.read() == WHEEL.content
    before = len(upstream.requests)
    assert [line[1:4] for line in columns(run("upstream", "warm", "demo"))] == [["2.0", "0", "4"]]
    assert len(upstream.requests) == before


def test_an_import_has_the_times_of_upload_unless_the_export_is_an_older_one(run: Run, exported: Path) -> None:
    def older(member: tarfile.TarInfo, content: bytes) -> tuple[tarfile.TarInfo, bytes]:
        return member, re.sub(rb', "uploaded_at": [^}]*', b"", content) if member.name == "files.jsonl" else content

    def imported() -> datetime | None:
        succeeded(run("upstream", "import", str(exported)))
        return db.session.scalars(select(CachedFile.uploaded_at).where(CachedFile.sha256 == WHEEL.sha256)).one()

    assert imported() == datetime(2024, 2, 3, 4, 5, 6, 789000, tzinfo=UTC)

    rewritten(exported, older)
    forget()

    assert imported() is None


def test_an_import_leaves_what_is_kept_as_it_is(run: Run, exported: Path) -> None:
    for _ in range(2):
        assert loaded(run("upstream", "import", str(exported), "--json"))["files"] == 3

    assert cached.totals().files == 3


def rewritten(path: Path, change: Callable[[tarfile.TarInfo, bytes], tuple[tarfile.TarInfo, bytes]]) -> None:
    with tarfile.open(path) as archive:
        members = [(member, archive.extractfile(member).read()) for member in archive]  # type: ignore[union-attr]
    with tarfile.open(path, "w") as archive:
        for member, content in members:
            changed, body = change(member, content)
            changed.size = len(body) if changed.isreg() else 0
            archive.addfile(changed, io.BytesIO(body))


@pytest.mark.parametrize("damage", ["content", "size", "link", "path", "page"])
def test_damaged_members_are_left_out_of_an_import(run: Run, exported: Path, tmp_path: Path, damage: str) -> None:
    target = "pages/demo.json" if damage == "page" else f"files/{WHEEL.sha256[:2]}/{WHEEL.sha256}"

    def change(member: tarfile.TarInfo, content: bytes) -> tuple[tarfile.TarInfo, bytes]:
        if member.name != target:
            return member, content
        if damage == "link":
            member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        elif damage == "path":
            member.name = "../../escaped"
        return member, {"content": content[:-1] + b"x", "size": content + b"x", "page": b"{}"}.get(damage, content)

    rewritten(exported, change)

    result = run("upstream", "import", str(exported))

    assert result.exit_code == 1
    assert "1 files or pages" in result.stderr
    assert (WHEEL.filename in kept()) == (damage == "page")
    assert SDIST.filename in kept()
    assert not list(tmp_path.parent.rglob("escaped"))


@pytest.mark.parametrize("content", [b"", b"not an archive", bytes(10240)])
def test_a_file_that_is_no_export_is_refused(refused: Refused, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.tar"
    path.write_bytes(content)

    assert "is not an export" in refused("upstream", "import", str(path))


@pytest.mark.parametrize(
    "change",
    [
        {"sha256": "../x"}, {"filename": "a/b"}, {"size_bytes": -1}, {"size_bytes": "1"}, {"uploaded_at": 1},
        {"uploaded_at": "tomorrow"}, {"uploaded_at": "0001-01-01T00:00:00+14:00"}, {"more": 1},
    ],
)  # fmt: skip
def test_an_export_with_a_malformed_list_is_refused(
    refused: Refused, exported: Path, change: dict[str, object]
) -> None:
    def changed(member: tarfile.TarInfo, content: bytes) -> tuple[tarfile.TarInfo, bytes]:
        is_list = member.name == "files.jsonl"
        return member, json.dumps(json.loads(content.splitlines()[0]) | change).encode() if is_list else content

    rewritten(exported, changed)

    assert "malformed list" in refused("upstream", "import", str(exported))
    assert kept() == set()


def test_an_export_whose_list_is_nested_without_end_is_refused(refused: Refused, exported: Path) -> None:
    def nested(member: tarfile.TarInfo, content: bytes) -> tuple[tarfile.TarInfo, bytes]:
        return member, b"[" * 100_000 if member.name == "files.jsonl" else content

    rewritten(exported, nested)

    assert "malformed list" in refused("upstream", "import", str(exported))


def test_a_truncated_export_is_refused(refused: Refused, exported: Path) -> None:
    content = exported.read_bytes()
    exported.write_bytes(content[: content.index(b"files/" + WHEEL.sha256[:2].encode()) + 700])

    assert "damaged" in refused("upstream", "import", str(exported))


def test_an_export_that_is_larger_than_the_cache_is_refused(refused: Refused, exported: Path, app: Flask) -> None:
    app.extensions["upstream_files"].cache_bytes = 100

    assert "REGISTRY_UPSTREAM_CACHE_SIZE" in refused("upstream", "import", str(exported))


def test_an_export_replaces_no_file(refused: Refused, exported: Path) -> None:
    assert "already exists" in refused("upstream", "export", str(exported))


def test_two_exports_into_one_file_do_not_mix(run: Run, refused: Refused, tmp_path: Path) -> None:
    path = tmp_path / "cache.tar"
    path.with_name("cache.tar.partial").write_bytes(b"the first one")
    with path.with_name("cache.tar.partial").open("rb") as first:
        fcntl.flock(first, fcntl.LOCK_EX)

        assert "Another process is writing" in refused("upstream", "export", str(path))

    assert path.with_name("cache.tar.partial").read_bytes() == b"the first one"


def test_an_export_that_cannot_be_written_is_refused(refused: Refused, tmp_path: Path) -> None:
    assert "No such file or directory" in refused("upstream", "export", str(tmp_path / "absent" / "cache.tar"))
