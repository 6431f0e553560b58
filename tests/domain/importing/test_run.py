from __future__ import annotations

import hashlib
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select
from werkzeug.serving import make_server

from registry import create_app
from registry.database import db, transaction
from registry.domain import listings
from registry.domain.access import SHELL
from registry.domain.http import CHUNK_BYTES
from registry.domain.importing import run as importing
from registry.domain.importing.files import UNVERIFIED, Destination, ImportOutcome
from registry.domain.importing.folder import Folder
from registry.domain.importing.gitlab import GitLab
from registry.domain.importing.index import Index
from registry.domain.importing.run import ImportSummary
from registry.domain.importing.selections import parse_selections
from registry.domain.importing.source import Source
from registry.domain.packages import lists, releases
from registry.errors import Code, NotFound, SourceError
from registry.models import AuditEvent, NameStatus, Package, PackageFile, PackageName, Project
from registry.storage import Storage, StorageFull
from tests import factories
from tests.builders import BuiltFile, build_sdist, build_wheel
from tests.clients import pypi_path
from tests.fakes import gitlab as fake_gitlab
from tests.fakes.index import StaticIndex
from tests.processes import migrated_database

WHEEL, SDIST = build_wheel("Demo.Pkg", "1.0"), build_sdist("Demo.Pkg", "1.0")
MD5 = hashlib.md5(WHEEL.content).hexdigest()
UPLOADED = datetime(2020, 2, 3, 4, 5, 6, 789000, UTC)
CLEAN = ImportSummary(0, 0, 0, 0, 0, 0, is_interrupted=False)


class Import:
    """Runs imports into one project, and keeps the outcomes of the last one."""

    def __init__(self, app: Flask, project: Project) -> None:
        self.destination = Destination(project.id, SHELL, app.extensions["storage"], app.app_context)
        self.outcomes: list[ImportOutcome] = []
        self.remaining: list[int] = []

    def __call__(
        self, source: Source, *texts: str, jobs: int = 1, then: Callable[[ImportOutcome], object] = str, **changes: Any
    ) -> ImportSummary:
        """``then`` is called with each outcome; ``changes`` are of the destination."""
        self.outcomes, self.remaining = [], []

        def report(outcome: ImportOutcome, remaining: int) -> None:
            self.outcomes.append(outcome)
            self.remaining.append(remaining)
            then(outcome)

        destination = Destination(**vars(self.destination) | changes)
        db.session.rollback()
        summary = importing.import_packages(source, destination, parse_selections(texts), jobs=jobs, report=report)
        db.session.expire_all()
        return summary

    @property
    def results(self) -> list[tuple[str, str]]:
        return sorted((str(outcome.result), outcome.subject) for outcome in self.outcomes)

    @property
    def reason(self) -> str:
        (outcome,) = self.outcomes
        return outcome.reason


@pytest.fixture
def run(app: Flask, project: Project) -> Import:
    return Import(app, project)


def files() -> list[PackageFile]:
    return list(db.session.scalars(select(PackageFile).order_by(PackageFile.filename)))


def packages() -> list[Package]:
    return list(db.session.scalars(select(Package).order_by(Package.id)))


def filenames() -> list[str]:
    return [file.filename for file in files()]


@pytest.fixture(scope="module")
def other_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Flask, str]]:
    """Another registry, and where it is served."""
    instance = tmp_path_factory.mktemp("other")
    shutil.copy(migrated_database(), instance)
    other = create_app({"INSTANCE_PATH": instance})
    server = make_server("127.0.0.1", 0, other, threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield other, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()
    with other.app_context():
        db.engine.dispose()


@pytest.fixture(scope="module")
def other_index(other_registry: tuple[Flask, str]) -> Callable[[], Index]:
    """A private project of another registry, with yanks and statuses, asked with a deploy token."""
    other, address = other_registry
    with other.app_context():
        project = factories.project("theirs", parent=factories.group("others"))
        wheel = factories.published(project, WHEEL, now=UPLOADED)
        factories.published(project, SDIST, now=UPLOADED)
        factories.published(project, build_wheel("second", "0.1"))
        package = db.session.get_one(Package, wheel.package_id)
        releases.yank_file(wheel, package, project, "Loses <data>", by=SHELL)
        releases.set_name_status(project, "second", NameStatus.ARCHIVED, "Use third", by=SHELL)
        url, token = f"{address}{pypi_path(project)}/simple", factories.deploy_token(project)
    return lambda: Index(url, username="deployment", password=token)


@pytest.mark.parametrize("accept", [listings.ACCEPT, "text/html"], ids=["json", "html"])
def test_an_imported_registry_has_the_same_packages(
    run: Import, project: Project, other_index: Callable[[], Index], monkeypatch: pytest.MonkeyPatch, accept: str
) -> None:
    monkeypatch.setattr(listings, "ACCEPT", accept)

    summary = run(other_index(), jobs=2)

    size_bytes = sum(file.size_bytes for file in files())
    assert summary == ImportSummary(3, 0, 0, 0, 0, size_bytes, is_interrupted=False)
    assert summary.is_complete
    found = {file.filename: file for file in files()}
    assert [found[built.filename].sha256 for built in (WHEEL, SDIST)] == [WHEEL.sha256, SDIST.sha256]
    assert [found[built.filename].created_at for built in (WHEEL, SDIST)] == [UPLOADED, UPLOADED]
    assert [found[built.filename].yanked_reason for built in (WHEEL, SDIST)] == ["Loses <data>", None]
    demo = next(package for package in packages() if package.normalized_name == "demo-pkg")
    assert (demo.name, demo.version, demo.created_at, demo.summary) == ("Demo.Pkg", "1.0", UPLOADED, "A demonstration")
    (said,) = db.session.scalars(select(PackageName))
    assert (said.normalized_name, said.status, said.reason) == ("second", NameStatus.ARCHIVED, "Use third")
    assert run.remaining[-1] == 0


@pytest.mark.parametrize("namespace", ["others/theirs", "others"], ids=["project", "group"])
def test_a_registry_is_also_imported_through_its_rest_api(
    run: Import, other_registry: tuple[Flask, str], other_index: Callable[[], Index], namespace: str
) -> None:
    other, address = other_registry
    with other.app_context():
        token = factories.access_token(factories.user(is_admin=True), "read_api")

    summary = run(GitLab(address, namespace, token=token, connections=2), jobs=2)

    assert (summary.imported, summary.is_complete) == (3, True)
    assert {file.filename: file.sha256 for file in files()}.items() >= {
        WHEEL.filename: WHEEL.sha256, SDIST.filename: SDIST.sha256
    }.items()  # fmt: skip
    assert [file.created_at for file in files() if file.filename == WHEEL.filename] == [UPLOADED]
    assert run(GitLab(address, namespace, token=token)).present == 3


def test_projects_of_a_gitlab_group_add_up_in_the_project(run: Import, gitlab: fake_gitlab.GitLab) -> None:
    gitlab.add_group("acme")
    first, second = gitlab.add_project("acme/first"), gitlab.add_project("acme/second")
    gitlab.publish(first, WHEEL, build_wheel("other"))
    gitlab.publish(second, SDIST, build_wheel("other"))
    gitlab.publish(second, build_wheel("Demo.Pkg", "1.0", summary="Another"), created_at="2030-01-01T00:00:00Z")
    gitlab.publish(first, build_wheel("broken"), status="error")

    summary = run(GitLab(gitlab.url, "acme"), jobs=4)

    assert run.results == [
        ("conflict", WHEEL.filename), ("imported", WHEEL.filename), ("imported", SDIST.filename),
        ("imported", "other-1.0-py3-none-any.whl"), ("present", "other-1.0-py3-none-any.whl"),
        ("refused", "broken 1.0"),
    ]  # fmt: skip
    assert not summary.is_complete
    assert {file.sha256 for file in files()} >= {WHEEL.sha256, SDIST.sha256}
    assert run(GitLab(gitlab.url, "acme"), "demo-pkg==2.0").failed == 1


def test_who_published_a_file_on_gitlab_is_kept_and_on_record(run: Import, gitlab: fake_gitlab.GitLab) -> None:
    gitlab.publish(gitlab.add_project("acme/tools"), WHEEL, pipelines=[fake_gitlab.PIPELINE] * 2)

    run(GitLab(gitlab.url, "acme/tools"))

    (file,) = files()
    shown = lists.package_file(db.session.get_one(Package, file.package_id), file.id)
    assert [(pipeline.id, pipeline.ref, pipeline.username) for pipeline in shown.pipelines] == [
        (123, "main", "ada")
    ] * 2  # fmt: skip
    event = db.session.scalars(select(AuditEvent).where(AuditEvent.action == "package_published")).one()
    assert event.details["originally_published_by"] == "Ada Lovelace (ada)"


def test_an_import_is_on_record(run: Import, other_index: Callable[[], Index]) -> None:
    source = other_index()

    run(source, "demo-pkg")

    events = db.session.scalars(select(AuditEvent).order_by(AuditEvent.id.desc()).limit(3)).all()
    assert [event.action for event in events] == ["packages_imported", "package_published", "package_published"]
    assert (events[0].author, events[0].target) == (SHELL.label, source.address)
    assert events[0].details == {"files": 2, "size_bytes": sum(file.size_bytes for file in files())}


def test_a_second_import_receives_and_records_nothing(run: Import, other_index: Callable[[], Index]) -> None:
    run(other_index())
    recorded = len(db.session.scalars(select(AuditEvent)).all())

    summary = run(other_index())

    assert summary == ImportSummary(0, 3, 0, 0, 0, 0, is_interrupted=False)
    assert len(db.session.scalars(select(AuditEvent)).all()) == recorded


def test_wrong_credentials_end_an_import_of_everything(run: Import, other_index: Callable[[], Index]) -> None:
    with pytest.raises(SourceError) as error:
        run(Index(other_index().address, password="wrong"))

    assert error.value.sentence == (
        f"{other_index().address}: the response is 401 Unauthorized: the credentials are missing or not accepted"
    )


def test_wrong_credentials_fail_each_name_that_is_asked_for(run: Import, other_index: Callable[[], Index]) -> None:
    summary = run(Index(other_index().address), "demo-pkg", "second")

    assert (summary.failed, summary.is_complete) == (2, False)
    assert run.results == [("failed", "demo-pkg"), ("failed", "second")]


def test_only_selected_packages_are_imported(run: Import, served: StaticIndex) -> None:
    served.offer(WHEEL, build_wheel("Demo.Pkg", "2.0"), build_wheel("other"), build_wheel("third"))

    summary = run(Index(served.url), "demo.pkg==1.0.0", "demo-pkg==9", "third", "unknown")

    assert run.results == [
        ("failed", "demo-pkg==9"), ("failed", "unknown"), ("imported", WHEEL.filename),
        ("imported", "third-1.0-py3-none-any.whl"),
    ]  # fmt: skip
    assert (summary.imported, summary.failed) == (2, 2)
    assert served.asked_for("") == []


@pytest.mark.parametrize(
    ("fragment", "reason"),
    [
        (f"#sha256={WHEEL.sha256}", None),
        (f"#SHA256={WHEEL.sha256.upper()}", None),
        (f"#sha512={hashlib.sha512(WHEEL.content).hexdigest()}", None),
        (f"#sha256={'0' * 64}", f"the received file has the sha256 {WHEEL.sha256}; the source declares {'0' * 64}"),
        ("#sha3_384=00", "the received file has the sha3_384 "),
        (f"#md5={MD5}", UNVERIFIED),
        (f"#sha1={hashlib.sha1(WHEEL.content).hexdigest()}", UNVERIFIED),
        ("#sha999=00", UNVERIFIED),
        ("#sha256=", UNVERIFIED),
        ("", UNVERIFIED),
    ],
    ids=[
        "right", "in capitals", "stronger", "wrong sha256", "wrong stronger one", "md5", "sha1", "unknown algorithm",
        "empty", "none",
    ],
)  # fmt: skip
def test_a_file_must_match_a_strong_digest(
    run: Import, served: StaticIndex, store_files: Callable[[], list[str]], fragment: str, reason: str | None
) -> None:
    served.offer(WHEEL, fragment=fragment)

    summary = run(Index(served.url))

    if reason is None:
        assert filenames() == [WHEEL.filename]
    else:
        assert run.results == [("failed", WHEEL.filename)]
        assert run.reason.startswith(reason)
        assert (summary.is_complete, files(), store_files()) == (False, [], [])
        assert bool(served.asked_for(f"/files/{WHEEL.filename}")) is (reason is not UNVERIFIED)


@pytest.mark.parametrize(
    ("fragment", "reason"),
    [
        ("", None),
        ("#sha999=00", None),
        (f"#md5={MD5}", None),
        ("#md5=00", "the received file has the md5 "),
        ("#sha1=00", "the received file has the sha1 "),
    ],
    ids=["none", "unknown algorithm", "md5", "wrong md5", "wrong sha1"],
)
def test_unverified_files_are_imported_on_request_unless_a_weak_digest_differs(
    run: Import, served: StaticIndex, fragment: str, reason: str | None
) -> None:
    served.offer(WHEEL, fragment=fragment)

    run(Index(served.url), accepts_unverified=True)

    assert filenames() == ([WHEEL.filename] if reason is None else [])
    assert run.reason.startswith(reason or "")


def test_a_file_must_have_the_size_in_the_index(run: Import, served: StaticIndex) -> None:
    served.offer(WHEEL, attributes='data-size="1"')

    run(Index(served.url))

    assert run.reason == f"received {len(WHEEL.content)} bytes; the source declares 1"


def test_files_refused_by_the_inspection_are_listed_and_no_failure(run: Import, served: StaticIndex) -> None:
    served.offer(
        build_wheel("demo", "1.0", without=["demo-1.0.dist-info/RECORD"]),
        build_wheel("demo", "2.0"),
        BuiltFile("demo-1.0.egg", b"egg", "demo", "1.0", WHEEL.kind),
        BuiltFile("other-1.0.tar.gz", b"sdist", "demo", "1.0", WHEEL.kind),
    )

    summary = run(Index(served.url))

    assert (summary.refused, summary.is_complete) == (3, True)
    assert {outcome.subject: outcome.reason for outcome in run.outcomes} == {
        "demo-1.0-py3-none-any.whl": "Validation failed: RECORD is missing, expected is a file in 'demo-1.0.dist-info'",
        "demo-2.0-py3-none-any.whl": "",
        "demo-1.0.egg": "Validation failed: file name is 'demo-1.0.egg', expected is a name that ends in .whl (wheel), "
        ".tar.gz or .zip (sdist)",
        "other-1.0.tar.gz": "the file name belongs to other, not demo",
    }
    assert served.asked_for("/files/demo-1.0.egg") == []


@pytest.mark.parametrize("size", ['data-size="{}"', ""], ids=["told before", "found out"])
def test_a_file_over_the_limit_is_refused_before_it_is_received(run: Import, served: StaticIndex, size: str) -> None:
    large = build_wheel(size_bytes=3 * CHUNK_BYTES)
    served.offer(large, attributes=size.format(len(large.content)))

    run(Index(served.url), max_size_bytes=CHUNK_BYTES)

    assert run.results == [("refused", large.filename)]
    assert run.reason == "File is too large"
    assert len(served.asked_for(f"/files/{large.filename}")) == (0 if size else 1)


def test_a_missing_file_does_not_keep_others_away(run: Import, served: StaticIndex) -> None:
    served.offer(WHEEL, SDIST)
    served.fail(f"/files/{WHEEL.filename}", 404)

    summary = run(Index(served.url), jobs=2)

    assert run.results == [("failed", WHEEL.filename), ("imported", SDIST.filename)]
    assert not summary.is_complete


def test_upload_times_in_the_future_are_not_believed(run: Import, served: StaticIndex) -> None:
    served.offer(WHEEL, attributes='data-upload-time="2999-01-01T00:00:00Z"')
    before = datetime.now(UTC)

    run(Index(served.url))

    assert before <= files()[0].created_at <= datetime.now(UTC)


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_existing_files_are_not_received_again(
    run: Import, served: StaticIndex, project: Project, algorithm: str
) -> None:
    held = factories.published(project, WHEEL)
    served.offer(WHEEL, fragment=f"#{algorithm}={getattr(held, algorithm)}")

    run(Index(served.url))

    assert run.results == [("present", WHEEL.filename)]
    assert served.asked_for(f"/files/{WHEEL.filename}") == []


def test_other_bytes_are_a_conflict_and_not_received(run: Import, served: StaticIndex, project: Project) -> None:
    factories.published(project, build_wheel("Demo.Pkg", "1.0", summary="Another"))
    served.offer(WHEEL)
    (held,) = files()

    summary = run(Index(served.url))

    assert (summary.conflicts, summary.is_complete) == (1, False)
    assert run.reason == f"the project has different content: {held.sha256}; the source has {WHEEL.sha256}"
    assert served.asked_for(f"/files/{WHEEL.filename}") == []


@pytest.mark.parametrize("is_lenient", [True, False], ids=["accepts identical uploads", "does not"])
@pytest.mark.parametrize("is_same", [True, False], ids=["same bytes", "other bytes"])
def test_without_a_digest_bytes_are_received_to_be_compared(
    run: Import, served: StaticIndex, project: Project, is_lenient: bool, is_same: bool
) -> None:
    project.identical_upload_accepted = is_lenient
    factories.commit()
    factories.published(project, WHEEL if is_same else build_wheel("Demo.Pkg", "1.0", summary="Another"))
    served.offer(WHEEL, fragment="")

    run(Index(served.url), accepts_unverified=True)

    assert run.results == [("present" if is_same else "conflict", WHEEL.filename)]


def test_a_yank_made_here_stops_files_that_are_imported_later(
    run: Import, served: StaticIndex, project: Project
) -> None:
    file = factories.published(project, WHEEL)
    releases.yank_version(packages()[0], project, "Stopped here", by=SHELL)
    served.offer(WHEEL, SDIST)

    run(Index(served.url))

    assert [(file.filename, file.yanked_reason) for file in files()] == [
        (file.filename, "Stopped here"), (SDIST.filename, "Stopped here")
    ]  # fmt: skip


def test_a_later_import_does_not_spread_a_yank_of_the_source(run: Import, served: StaticIndex) -> None:
    served.offer(WHEEL, attributes='data-yanked="Loses data"')
    run(Index(served.url))
    served.offer(SDIST)

    run(Index(served.url))

    assert {file.filename: file.yanked_reason for file in files()} == {
        WHEEL.filename: "Loses data", SDIST.filename: None
    }  # fmt: skip


def with_status(served: StaticIndex, status: str) -> None:
    served.offer(WHEEL, SDIST, attributes="")
    page = f'<meta name="pypi:project-status" content="{status}">'
    links = [f'<a href="../../files/{built.filename}#sha256={built.sha256}">x</a>' for built in (WHEEL, SDIST)]
    served.put("demo-pkg/", page + "".join(links))


def statuses() -> list[NameStatus]:
    return list(db.session.scalars(select(PackageName.status)))


def test_a_name_is_archived_when_all_its_files_are_here(run: Import, served: StaticIndex) -> None:
    with_status(served, "archived")
    served.fail(f"/files/{WHEEL.filename}", 404)
    run(Index(served.url))
    assert statuses() == []  # or the file that failed could not be imported any more

    run(Index(served.url))

    assert statuses() == [NameStatus.ARCHIVED]
    assert filenames() == sorted([WHEEL.filename, SDIST.filename])


def test_some_versions_of_an_archived_name_do_not_close_it(run: Import, served: StaticIndex) -> None:
    with_status(served, "archived")

    run(Index(served.url), "demo-pkg==1.0")

    assert statuses() == []


@pytest.mark.parametrize("status", ["active", "unheard-of"])
def test_other_statuses_are_ignored(run: Import, served: StaticIndex, status: str) -> None:
    with_status(served, status)

    run(Index(served.url))

    assert statuses() == []


def test_a_status_given_here_stays(run: Import, served: StaticIndex, project: Project) -> None:
    factories.published(project, WHEEL)
    releases.set_name_status(project, "demo-pkg", NameStatus.DEPRECATED, "Ours", by=SHELL)
    with_status(served, "archived")

    run(Index(served.url))

    assert statuses() == [NameStatus.DEPRECATED]


def test_a_name_closed_here_accepts_no_files(run: Import, served: StaticIndex, project: Project) -> None:
    factories.published(project, WHEEL)
    releases.set_name_status(project, "demo-pkg", NameStatus.ARCHIVED, "Moved", by=SHELL)
    served.offer(WHEEL, SDIST)

    run(Index(served.url))

    assert run.results == [("present", WHEEL.filename), ("refused", SDIST.filename)]


def test_a_quarantined_name_without_files_is_skipped(run: Import, served: StaticIndex) -> None:
    served.put("", '<a href="demo/">demo</a>')
    served.put("demo/", '<meta name="pypi:project-status" content="quarantined">')

    assert run(Index(served.url)) == CLEAN
    assert statuses() == []


def in_folder(folder: Path, files: Iterable[BuiltFile]) -> Folder:
    folder.mkdir(exist_ok=True)
    for file in files:
        (folder / file.filename).write_bytes(file.content)
    return Folder(folder)


def test_the_files_of_a_folder_are_published_now(run: Import, tmp_path: Path) -> None:
    before = datetime.now(UTC)
    zipped = build_sdist("zipped", filename="zipped-1.0.zip")

    summary = run(in_folder(tmp_path, [WHEEL, SDIST, zipped]))

    assert summary.imported == 3
    assert {file.filename: file.sha256 for file in files()} == {
        built.filename: built.sha256 for built in (WHEEL, SDIST, zipped)
    }
    assert all(file.created_at >= before for file in files())


def test_a_folder_is_compared_with_existing_files(run: Import, project: Project, tmp_path: Path) -> None:
    other = build_wheel("other", "1.0")
    factories.published(project, WHEEL)
    factories.published(project, build_wheel("other", "1.0", summary="Another"))
    (tmp_path / "copies").mkdir()
    (tmp_path / "copies" / SDIST.filename).write_bytes(SDIST.content)
    (tmp_path / "demo.zip").write_bytes(b"zip")

    run(in_folder(tmp_path, [WHEEL, SDIST, other]))

    assert run.results == [
        ("conflict", other.filename), ("imported", SDIST.filename), ("present", WHEEL.filename),
        ("present", SDIST.filename), ("refused", "demo.zip"),
    ]  # fmt: skip


def test_a_file_that_disappears_meanwhile_has_failed(run: Import, project: Project, tmp_path: Path) -> None:
    factories.published(project, SDIST)
    folder = in_folder(tmp_path, [WHEEL, SDIST])
    (tmp_path / WHEEL.filename).unlink()
    (tmp_path / SDIST.filename).unlink()

    run(folder)

    assert run.results == [("failed", WHEEL.filename), ("failed", SDIST.filename)]
    assert run.outcomes[0].reason == "the file cannot be read: No such file or directory"


def test_files_are_received_side_by_side(run: Import, served: StaticIndex) -> None:
    """Both are under way at once: each waits until the other has come."""
    served.offer(WHEEL, SDIST)
    both = threading.Barrier(2)
    for built in (WHEEL, SDIST):
        served.meet(f"/files/{built.filename}", both)

    assert run(Index(served.url, connections=2), jobs=2).imported == 2


def test_many_threads_publish_many_files_once(run: Import, served: StaticIndex) -> None:
    built = [build_wheel(f"demo-{number}", version) for number in range(8) for version in ("1.0", "2.0", "3.0")]
    served.offer(*built)

    summary = run(Index(served.url, connections=8), jobs=8)

    assert (summary.imported, len(run.outcomes)) == (24, 24)
    assert filenames() == sorted(file.filename for file in built)


def test_an_interrupted_import_keeps_whole_files_and_is_resumed(
    run: Import, served: StaticIndex, store_files: Callable[[], list[str]]
) -> None:
    large = build_wheel("demo", "2.0", size_bytes=4 * CHUNK_BYTES)
    served.offer(build_wheel("demo", "1.0"), large, build_wheel("demo", "3.0"))
    hold = served.hold(f"/files/{large.filename}")

    def interrupt(_: ImportOutcome) -> None:
        assert served.held.wait(30)
        threading.Timer(0.2, hold.set).start()
        raise KeyboardInterrupt

    summary = run(Index(served.url, connections=2), jobs=2, then=interrupt)

    assert summary == ImportSummary(1, 0, 0, 0, 0, files()[0].size_bytes, is_interrupted=True)
    assert not summary.is_complete
    assert filenames() == ["demo-1.0-py3-none-any.whl"]
    assert len(store_files()) == 2  # the file and its metadata

    summary = run(Index(served.url))

    assert (summary.imported, summary.present, summary.is_complete) == (2, 1, True)


def test_a_full_store_ends_the_import(
    run: Import, served: StaticIndex, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.offer(WHEEL, SDIST)

    class Full:
        stage = storage.stage
        exists = storage.exists
        delete = storage.delete

        def put_all(self, contents: object) -> None:
            raise StorageFull(Code.STORE_FULL)

    with pytest.raises(StorageFull):
        run(Index(served.url), storage=Full())
    assert files() == []


def test_the_deletion_of_the_project_ends_the_import(run: Import, served: StaticIndex) -> None:
    served.offer(WHEEL)

    with pytest.raises(NotFound):
        run(Index(served.url), project_id=0)


def test_a_setting_of_the_project_holds_for_the_files_after_its_change(
    run: Import, project: Project, tmp_path: Path
) -> None:
    folder = in_folder(tmp_path, [build_wheel(name, headers=["License-Expression: MIT"]) for name in ("a", "b", "c")])

    def refuse_remarks(outcome: ImportOutcome) -> None:
        if outcome.subject.startswith("b"):
            with transaction():
                db.session.get_one(Project, project.id).strict_uploads = True

    run(folder, then=refuse_remarks)

    assert [result for result, _ in run.results] == ["imported", "imported", "refused"]


def test_the_project_is_not_read_for_each_file(run: Import, tmp_path: Path, statements: list[str]) -> None:
    run(in_folder(tmp_path, [build_wheel(f"demo{number}") for number in range(9)]))

    # For the first file, which reserves the first name and so changes what others see; after it; and for the summary.
    assert len([sent for sent in statements if "strict_uploads" in sent]) <= 3


def test_a_name_costs_one_statement_and_a_file_a_few(run: Import, served: StaticIndex, statements: list[str]) -> None:
    built = [build_wheel("demo", f"{number}.0") for number in range(5)]
    served.offer(*built)
    run(Index(served.url), "demo")
    statements.clear()
    run(Index(served.url), "demo")
    assert len([sent for sent in statements if sent.startswith("SELECT")]) == 1

    served.offer(build_wheel("demo", "9.0"))
    statements.clear()
    run(Index(served.url), "demo")

    assert len(statements) <= 20
