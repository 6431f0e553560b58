from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from sqlalchemy import select

from registry import create_app
from registry.cli import importing
from registry.database import db
from registry.models import PackageFile, Project
from tests import factories
from tests.builders import BuiltFile, build_sdist, build_wheel
from tests.cli.running import Refused, Run, Shell, succeeded
from tests.fakes.gitlab import GitLab
from tests.fakes.index import StaticIndex
from tests.processes import Captured, flask

WHEEL, SDIST = build_wheel(), build_sdist()
BROKEN = BuiltFile("demo-2.0.tar.gz", b"broken", "demo", "2.0", SDIST.kind)
COMMAND = ("packages", "import", "--project", "acme/tools")


def filenames() -> list[str]:
    return list(db.session.scalars(select(PackageFile.filename).order_by(PackageFile.filename)))


def size_of(*files: BuiltFile) -> int:
    return sum(len(file.content) for file in files)


def test_the_packages_of_an_index_are_imported(run: Run, project: Project, served: StaticIndex) -> None:
    served.offer(WHEEL, SDIST)

    assert succeeded(run(*COMMAND, served.url)) == (
        f"Imported 2 files ({size_of(WHEEL, SDIST)} bytes) into acme/tools: "
        "0 already present, 0 refused, 0 conflicts, 0 failed.\n"
    )
    assert filenames() == [WHEEL.filename, SDIST.filename]


def test_refused_files_are_listed_and_are_no_failure(run: Run, project: Project, tmp_path: Path) -> None:
    for file in (WHEEL, BROKEN):
        (tmp_path / file.filename).write_bytes(file.content)

    printed = succeeded(run(*COMMAND, str(tmp_path))).splitlines()

    assert printed[0].split("\t")[:2] == ["refused", BROKEN.filename]
    assert printed[1].startswith(
        f"Imported 1 files ({size_of(WHEEL)} bytes) into acme/tools: 0 already present, 1 refused"
    )


def test_failures_and_conflicts_are_listed_and_end_with_status_1(
    run: Run, project: Project, served: StaticIndex
) -> None:
    factories.published(project, build_wheel(summary="Another"))
    served.offer(WHEEL, SDIST)
    served.fail(f"/files/{SDIST.filename}", 404)

    result = run(*COMMAND, served.url)

    assert result.exit_code == 1
    lines = [line.split("\t") for line in result.stdout.splitlines()[:2]]
    assert lines[0][:2] == ["conflict", WHEEL.filename]
    assert lines[1] == ["failed", SDIST.filename, "the response is 404 Not Found"]
    counts = "0 already present, 0 refused, 1 conflicts, 1 failed"
    assert result.stdout.splitlines()[2] == f"Imported 0 files (0 bytes) into acme/tools: {counts}."
    assert result.stderr == f"Error: The import is incomplete: {counts}.\n"


def test_the_summary_as_json_holds_every_problem(run: Run, project: Project, served: StaticIndex) -> None:
    served.offer(WHEEL, SDIST)
    served.fail(f"/files/{SDIST.filename}", 404)

    result = run(*COMMAND, served.url, "--json", "--package", "demo", "--jobs", "2")

    assert result.exit_code == 1
    reason = "the response is 404 Not Found"
    assert json.loads(result.stdout) == {
        "source": served.url, "project": "acme/tools", "imported": 1, "present": 0, "refused": 0, "conflicts": 0,
        "failed": 1, "size_bytes": size_of(WHEEL), "is_interrupted": False,
        "problems": [{"result": "failed", "subject": SDIST.filename, "reason": reason}],
        "more_problems": 0, "remarked": 0,
    }  # fmt: skip


def test_files_without_a_digest_are_listed_and_imported_only_on_request(
    run: Run, project: Project, served: StaticIndex
) -> None:
    served.offer(WHEEL, fragment="#md5=00")
    served.offer(SDIST, fragment="")

    result = run(*COMMAND, served.url)

    assert (result.exit_code, filenames()) == (1, [])
    assert [line.split("\t")[:2] for line in result.stdout.splitlines()[:2]] == [
        ["failed", WHEEL.filename], ["failed", SDIST.filename],
    ]  # fmt: skip
    assert "neither a SHA-256 digest nor a stronger one; --accept-unverified imports it anyway" in result.stdout

    run(*COMMAND, served.url, "--accept-unverified")

    assert filenames() == [SDIST.filename]  # the other has another MD5 than stated


def test_remarks_are_counted_and_listed_on_request(run: Run, project: Project, tmp_path: Path) -> None:
    remarked = build_wheel("odd", headers=["License-Expression: MIT", "Dynamic: License"])
    for file in (WHEEL, remarked):
        (tmp_path / file.filename).write_bytes(file.content)

    *lines, summary = succeeded(run(*COMMAND, str(tmp_path), "--remarks")).splitlines()

    expected = ("2.2 or later, for there is a field Dynamic", "2.4 or later, for there is a field License-Expression")
    assert [line.split("\t") for line in lines] == [
        ["remark", remarked.filename, f"Metadata-Version is '2.1', expected is {version}"] for version in expected
    ]
    assert summary.endswith("0 conflicts, 0 failed, 1 imported with remarks.")


def test_a_strict_project_refuses_files_with_remarks(run: Run, project: Project, served: StaticIndex) -> None:
    project.strict_uploads = True
    factories.commit()
    served.offer(build_wheel("odd", "2.0", headers=["License-Expression: MIT"]), build_wheel("odd", "3.0"))

    summary = json.loads(succeeded(run(*COMMAND, served.url, "--json", "--remarks")))
    assert (summary["imported"], summary["refused"], summary["remarked"], summary["remarks"]) == (1, 1, 0, [])


def test_only_so_many_problems_are_kept_for_the_end(
    run: Run, project: Project, served: StaticIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "MAX_LINES", 1)
    served.offer(WHEEL, SDIST, fragment="")

    summary = json.loads(run(*COMMAND, served.url, "--json").stdout)

    assert (summary["failed"], len(summary["problems"]), summary["more_problems"]) == (2, 1, 1)


@pytest.mark.parametrize("place", ["address", "standard input"])
def test_credentials_are_used_and_never_shown(run: Run, project: Project, served: StaticIndex, place: str) -> None:
    served.offer(WHEEL, BROKEN)
    served.credentials = ("ada", "secret")
    if place == "address":
        result = run(*COMMAND, served.url.replace("http://", "http://ada:secret@"), "--json")
    else:
        result = run(*COMMAND, served.url, "--username", "ada", "--password-stdin", "--json", typed="secret\nrest\n")

    assert json.loads(succeeded(result))["imported"] == 1
    assert "secret" not in result.output
    assert "secret" not in str(db.session.connection().exec_driver_sql("SELECT * FROM audit_events").all())


def test_wrong_credentials_are_reported_in_one_sentence(
    refused: Refused, project: Project, served: StaticIndex
) -> None:
    served.credentials = ("ada", "secret")

    assert refused(*COMMAND, served.url, "--password-stdin", typed="wrong") == (
        f"{served.url}: the response is 401 Unauthorized: the credentials are missing or not accepted"
    )


FROM_GITLAB = ("--from-gitlab", "{url}", "--project-or-group", "team/tools", "--token-stdin")


def from_gitlab(gitlab: GitLab) -> tuple[str, ...]:
    return (*COMMAND, *(argument.format(url=gitlab.url) for argument in FROM_GITLAB))


def test_a_project_of_gitlab_is_imported_and_the_token_never_shown(
    run: Run, project: Project, gitlab: GitLab, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    gitlab.token = "glpat-secret"
    gitlab.publish(gitlab.add_project("team/tools"), WHEEL, SDIST, BROKEN)

    result = run(*from_gitlab(gitlab), "--json", typed="glpat-secret\nrest\n")

    summary = json.loads(succeeded(result))
    assert (summary["source"], summary["imported"], summary["refused"]) == (f"{gitlab.url}/team/tools", 2, 1)
    assert filenames() == [WHEEL.filename, SDIST.filename]
    refused = run(*from_gitlab(gitlab), typed="glpat-other\n")
    assert "/team/tools: the response is 401 Unauthorized: the credentials are missing" in refused.stderr
    shown = result.output + refused.output + caplog.text + str(gitlab.store.requests)
    assert "glpat" not in shown
    assert "glpat" not in str(db.session.connection().exec_driver_sql("SELECT * FROM audit_events").all())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--from-gitlab", "https://x"), "--from-gitlab and --project-or-group belong together."),
        (("--project-or-group", "1"), "--from-gitlab and --project-or-group belong together."),
        ((".", "--token-stdin"), "--from-gitlab excludes SOURCE, --username, and --password-stdin."),
        ((), "Specify SOURCE or --from-gitlab."),
        (("nowhere",), "'nowhere' is neither the http:// or https:// URL of an index nor a folder."),
        (("https:///simple/",), "The source is not an http:// or https:// URL"),
        ((".", "--username", "ada"), "--username and --password-stdin are for an index; SOURCE is a folder."),
        ((".", "--jobs", "9"), "--jobs is 9; the maximum is REGISTRY_THREADS, which is 8."),
        ((".", "--package", "a>1"), "'a>1' is neither a package name nor a name and version such as demo==1.0"),
        ((".", "--project", "acme/other"), "There is no project acme/other."),
    ],
    ids=[
        "no project on GitLab", "no GitLab", "two sources", "no source at all", "no source", "no address",
        "folder with credentials", "too many jobs", "package", "project",
    ],
)  # fmt: skip
def test_an_impossible_request_is_refused_in_one_sentence(
    refused: Refused, project: Project, arguments: tuple[str, ...], sentence: str
) -> None:
    assert refused(*COMMAND, *arguments) == sentence


def test_an_interrupted_import_from_gitlab_is_resumed(shell: Shell, gitlab: GitLab) -> None:
    other = create_app({"INSTANCE_PATH": shell.instance})
    with other.app_context():
        factories.project("tools", parent=factories.group("acme"))
    gitlab.publish(gitlab.add_project("team/tools"), WHEEL, SDIST)
    hold = gitlab.store.hold(f"/objects/{SDIST.filename}?signature=for-this-object")
    process = Captured(flask, *from_gitlab(gitlab)[:-1], "--jobs", "1", environment=shell.environment)
    assert gitlab.store.held.wait(30)

    process.send_signal(signal.SIGINT)

    printed, _ = process.communicate(timeout=30)
    hold.set()
    assert printed.startswith(f"Imported 1 files ({size_of(WHEEL)} bytes) into acme/tools: 0 already present")
    gitlab.store.requests.clear()
    status, screen = shell.on_a_terminal(*from_gitlab(gitlab)[:-1], answers=[])
    assert (status, "Imported 1 files " in screen, "1 already present" in screen) == (0, True, True)
    assert len(gitlab.store.requests) == 1


def test_an_interrupted_import_is_resumed(shell: Shell, served: StaticIndex) -> None:
    other = create_app({"INSTANCE_PATH": shell.instance})
    with other.app_context():
        factories.project("tools", parent=factories.group("acme"))
    incoming = shell.instance / "packages" / "incoming"
    served.offer(WHEEL, SDIST, BROKEN)
    hold = served.hold(f"/files/{SDIST.filename}")
    process = Captured(flask, *COMMAND, served.url, "--jobs", "1", environment=shell.environment)
    assert served.held.wait(30)

    process.send_signal(signal.SIGINT)

    printed, complaint = process.communicate(timeout=30)
    hold.set()
    assert process.wait() == 1
    assert printed == (
        f"Imported 1 files ({size_of(WHEEL)} bytes) into acme/tools: "
        "0 already present, 0 refused, 0 conflicts, 0 failed.\n"
    )
    assert complaint == "Error: The import was interrupted; run the same command again to resume it.\n"
    assert list(incoming.iterdir()) == []

    status, screen = shell.on_a_terminal(*COMMAND, served.url, answers=[])

    assert status == 0
    bar, refusal, summary, _ = screen.split("\r\n")
    assert bar.endswith("]  3/3\x1b[?25h")
    assert refusal.startswith(f"refused\t{BROKEN.filename}\t")
    assert summary.startswith("Imported 1 files ")
