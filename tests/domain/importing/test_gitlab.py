from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from packaging.utils import NormalizedName
from packaging.version import Version

from registry.domain.importing import gitlab as importing
from registry.domain.importing.gitlab import GitLab
from registry.domain.importing.source import LeftOut, SourceFile
from registry.errors import SourceError
from tests import factories
from tests.builders import BuiltFile, build_sdist, build_wheel
from tests.domain.importing.sinks import Received
from tests.fakes import gitlab as fakes
from tests.fakes.index import Fault, StaticIndex

DEMO = NormalizedName("demo")
WHEEL, SDIST = build_wheel(), build_sdist()
NEWER = build_wheel(summary="Built again")
UPLOADED_AT = datetime(2021, 2, 3, 4, 5, 6, 789000, UTC)

Source = Callable[..., GitLab]


@pytest.fixture
def source(gitlab: fakes.GitLab) -> Source:
    """Makes sources of a namespace of the instance, by default the project ``acme/tools``."""

    def make(namespace: str = "acme/tools", token: str = "") -> GitLab:
        return GitLab(gitlab.url, namespace, token=token)

    return make


@pytest.fixture
def project(gitlab: fakes.GitLab) -> fakes.Project:
    return gitlab.add_project("acme/tools")


def failure(read: Callable[[], object]) -> str:
    with pytest.raises(SourceError) as error:
        read()
    return error.value.sentence


def received(source: GitLab, file: SourceFile) -> bytes:
    sink = Received()
    source.receive(file, sink)
    return sink.content


def test_a_project_lists_its_files_with_digests_sizes_and_times(
    gitlab: fakes.GitLab, project: fakes.Project, source: Source
) -> None:
    gitlab.publish(project, WHEEL, SDIST)
    tools = source()

    assert tools.names() == [DEMO]
    wheel, sdist = sorted(tools.page(DEMO).files, key=lambda file: file.filename)
    assert (wheel.filename, wheel.digests["sha256"], wheel.size_bytes) == (
        WHEEL.filename, WHEEL.sha256, len(WHEEL.content),
    )  # fmt: skip
    assert (sdist.filename, sdist.uploaded_at) == (SDIST.filename, UPLOADED_AT)
    assert received(tools, wheel) == WHEEL.content


@pytest.mark.parametrize("uses_keyset", [False, True], ids=["numbered pages", "cursors"])
def test_all_pages_are_read_from_the_instance_itself(
    gitlab: fakes.GitLab, project: fakes.Project, source: Source, uses_keyset: bool
) -> None:
    gitlab.uses_keyset = uses_keyset
    gitlab.publish(project, *[build_wheel(f"demo{number}") for number in range(5)])
    gitlab.publish(project, *[build_wheel("many", tag=f"py{number}-none-any") for number in range(1, 6)])
    tools = source()

    assert tools.names() == [*(f"demo{number}" for number in range(5)), "many"]
    assert len(tools.page(NormalizedName("many")).files) == 5


def test_only_the_files_of_the_wanted_versions_are_listed(
    gitlab: fakes.GitLab, project: fakes.Project, source: Source
) -> None:
    gitlab.publish(project, *[build_wheel("demo", f"{number}.0") for number in range(3)])

    page = source().page(DEMO, {Version("1")})

    assert [file.filename for file in page.files] == ["demo-1.0-py3-none-any.whl"]
    assert sum("package_files" in request.path for request in gitlab.requests) == 1


def test_pages_without_an_end_are_given_up(
    gitlab: fakes.GitLab, project: fakes.Project, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "MAX_PAGES", 2)
    gitlab.publish(project, *[build_wheel(f"demo{number}") for number in range(5)])

    assert failure(source().names) == "a list has more than 2 pages"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ([{}] * 101, "a page of a list has more than 100 entries"),
        ({"message": "hello"}, "a response is not as in GitLab's REST API"),
        ([{"package_type": "pypi"}], "the list of packages is not as in GitLab's REST API"),
    ],
    ids=["too many", "no list", "no package"],
)
def test_a_list_that_is_not_gitlabs_is_reported(served: StaticIndex, body: object, reason: str) -> None:
    path = "/api/v4/projects/tools/packages?package_type=pypi&order_by=created_at&sort=asc&per_page=100"
    served.put(path, json.dumps(body), "application/json")

    assert failure(GitLab(f"http://{served.host}", "tools").names) == reason


@pytest.mark.parametrize(
    ("namespace", "names"),
    [("7", ["demo"]), ("acme/tools", ["demo"]), ("8", ["demo", "other"]), ("acme", ["demo", "other"])],
    ids=["project by ID", "project by path", "group by ID", "group by path"],
)
def test_a_namespace_is_a_project_or_a_group_with_all_projects_below_it(
    gitlab: fakes.GitLab, source: Source, namespace: str, names: list[str]
) -> None:
    gitlab.add_group("acme", 8)
    gitlab.publish(gitlab.add_project("acme/tools", 7), WHEEL)
    gitlab.publish(gitlab.add_project("acme/deep/libraries"), build_wheel("other"))
    gitlab.publish(gitlab.add_project("elsewhere/tools"), build_wheel("unrelated"))

    read = source(namespace)

    assert read.names() == names
    for name in read.names():
        for file in read.page(name).files:
            assert received(read, file)


def test_an_id_of_a_project_and_also_of_a_group_is_refused(gitlab: fakes.GitLab, source: Source) -> None:
    gitlab.add_project("acme/tools", 7)
    gitlab.add_group("other", 7)

    assert failure(source("7").names) == "the ID is that of a project and also of a group; use the full path"
    assert failure(source("8").names) == "there is no project or group with this ID or path that the token can read"


@pytest.mark.parametrize(
    ("token", "header"), [("glpat-1", "PRIVATE-TOKEN"), ("gldt-1", "Deploy-Token"), ("glcbt-1", "JOB-TOKEN")]
)
def test_a_token_is_sent_as_its_kind_requires_and_not_to_the_object_store(
    gitlab: fakes.GitLab, project: fakes.Project, source: Source, token: str, header: str
) -> None:
    gitlab.token = token
    gitlab.publish(project, WHEEL)
    tools = source(token=token)

    (file,) = tools.page(DEMO).files

    assert received(tools, file) == WHEEL.content
    assert gitlab.requests[0].headers[header] == token
    (stored,) = gitlab.store.requests
    assert {"Authorization", header}.isdisjoint(stored.headers)
    assert token not in str(stored)


def test_a_wrong_token_is_reported_without_it(gitlab: fakes.GitLab, project: fakes.Project, source: Source) -> None:
    gitlab.token = "glpat-right"

    assert failure(source(token="glpat-wrong").names) == (
        "the response is 401 Unauthorized: the credentials are missing or not accepted"
    )
    assert failure(lambda: GitLab("https://ada:secret@gitlab.test", "acme")) == (
        "The URL of a GitLab instance contains no credentials; --token-stdin reads the token"
    )


def test_lists_are_not_read_from_another_server(gitlab: fakes.GitLab, project: fakes.Project, source: Source) -> None:
    gitlab.fail("projects/acme%2Ftools/packages", Fault(302, (("Location", gitlab.store.url),)))

    assert failure(source(token="glpat-1").names) == (
        f"the response redirects to another server, http://{gitlab.store.host}"
    )
    assert gitlab.store.requests == []


def test_rate_limits_are_respected(gitlab: fakes.GitLab, project: fakes.Project, source: Source) -> None:
    gitlab.publish(project, WHEEL)
    gitlab.fail("projects/acme%2Ftools/packages", *[Fault(429, (("Retry-After", "0"),))] * 2)

    assert source().names() == [DEMO]
    assert len(gitlab.asked_for("projects/acme%2Ftools/packages")) == 3


def test_files_keep_the_pipelines_that_published_them(
    gitlab: fakes.GitLab, project: fakes.Project, source: Source
) -> None:
    without_number = {**fakes.PIPELINE, "id": "x"}
    gitlab.publish(project, WHEEL, pipelines=[fakes.PIPELINE, without_number, {"id": 1}])
    gitlab.publish(project, SDIST)

    wheel, sdist = source().page(DEMO).files

    assert wheel.pipelines == (
        factories.imported_pipeline(
            created_at=datetime(2021, 2, 3, 4, tzinfo=UTC), updated_at=datetime(2021, 2, 3, 4, 6, tzinfo=UTC)
        ),
    )
    assert sdist.pipelines == ()


def test_packages_of_other_types_and_statuses_are_not_imported(
    gitlab: fakes.GitLab, project: fakes.Project, source: Source
) -> None:
    gitlab.publish(project, WHEEL)
    gitlab.publish(project, build_wheel("demo", "2.0"), status="deprecated")
    gitlab.publish(project, build_wheel("demo", "3.0"), status="error")
    gitlab.publish(project, build_wheel("generic"), package_type="generic")
    tools = source()

    assert tools.names() == [DEMO]
    page = tools.page(DEMO)
    assert [file.filename for file in page.files] == [WHEEL.filename, "demo-2.0-py3-none-any.whl"]
    assert page.left_out == (LeftOut("demo 3.0", "3.0", "the package has the status error"),)


def test_of_files_of_one_name_in_a_package_the_newest_is_imported(
    gitlab: fakes.GitLab, project: fakes.Project, source: Source
) -> None:
    gitlab.publish(project, WHEEL, NEWER, NEWER)

    page = source().page(DEMO)

    assert [file.digests["sha256"] for file in page.files] == [NEWER.sha256]
    assert page.left_out == (
        LeftOut(WHEEL.filename, "1.0", "GitLab delivers only the newest file of this name in the package"),
    )


def test_names_in_several_projects_of_a_group_add_up_with_the_oldest_files_first(
    gitlab: fakes.GitLab, source: Source
) -> None:
    gitlab.add_group("acme")
    gitlab.publish(gitlab.add_project("acme/new"), SDIST, NEWER, created_at="2022-01-01T00:00:00.000Z")
    gitlab.publish(gitlab.add_project("acme/old"), WHEEL)

    files = source("acme").page(DEMO).files

    assert [file.digests["sha256"] for file in files] == [WHEEL.sha256, SDIST.sha256, NEWER.sha256]


def test_a_file_without_a_sha256_digest_cannot_be_received(
    gitlab: fakes.GitLab, project: fakes.Project, source: Source
) -> None:
    gitlab.publish(project, WHEEL, file_sha256=None)
    tools = source()

    (file,) = tools.page(DEMO).files

    assert list(file.digests) == ["md5"]
    assert failure(lambda: received(tools, file)) == (
        "GitLab states no SHA-256 digest, without which it does not deliver the file"
    )


@pytest.mark.parametrize(
    "changes",
    [{"id": "x"}, {"file_name": "a\x1b[2Jb.whl", "created_at": "yesterday", "size": "large"}],
    ids=["no number", "other texts"],
)
def test_malformed_entries_end_in_a_sentence_or_are_made_harmless(
    gitlab: fakes.GitLab, project: fakes.Project, source: Source, changes: dict[str, object]
) -> None:
    gitlab.publish(project, WHEEL, **changes)

    if "id" in changes:
        assert failure(lambda: source().page(DEMO)) == "the list of files of demo 1.0 is not as in GitLab's REST API"
    else:
        (file,) = source().page(DEMO).files
        assert (file.filename, file.uploaded_at, file.size_bytes) == ("a [2Jb.whl", None, None)


def test_a_name_that_is_not_listed_is_reported(gitlab: fakes.GitLab, project: fakes.Project, source: Source) -> None:
    gitlab.publish(project, BuiltFile("odd.whl", b"", "-odd", "1.0", WHEEL.kind))
    tools = source()

    assert tools.names() == [""]
    assert failure(lambda: tools.page(DEMO)) == "GitLab lists no package of this name"
