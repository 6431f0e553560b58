from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from sqlalchemy import select

from registry import create_app
from registry.database import INDEX, db, part_of_name
from registry.models import Group, Package, PackageFile, PackageStatus, Project
from registry.storage import Storage, object_key
from tests import factories
from tests.builders import BuiltFile, build_sdist, build_wheel
from tests.cli.running import Refused, Run, columns, loaded, succeeded


@pytest.fixture
def package(project: Project) -> Package:
    return db.session.get_one(Package, factories.published(project, build_wheel("Demo.Pkg", "1.0")).package_id)


def test_the_packages_of_a_project_are_listed(run: Run, project: Project, package: Package) -> None:
    factories.published(factories.project(), build_wheel("other", "1.0"))

    [line] = columns(run("packages", "list", "--project", "acme/tools"))

    assert line == [
        str(package.id), "acme/tools", "Demo.Pkg", "1.0", "default", package.created_at.isoformat(timespec="seconds")
    ]  # fmt: skip


def test_the_packages_of_a_group_are_listed_with_those_of_its_subgroups(
    run: Run, group: Group, package: Package
) -> None:
    inner = factories.project("deep", parent=factories.group("inner", parent=group))
    factories.published(inner, build_wheel("other", "1.0"))

    listed = loaded(run("packages", "list", "--group", "acme", "--json"))

    assert [(package["project"], package["name"]) for package in listed] == [
        ("acme/inner/deep", "other"),
        ("acme/tools", "Demo.Pkg"),
    ]


@pytest.mark.parametrize("options", [(), ("--project", "acme/tools", "--group", "acme")], ids=["neither", "both"])
def test_packages_of_nothing_in_particular_are_not_listed(
    refused: Refused, project: Project, options: tuple[str, ...]
) -> None:
    assert refused("packages", "list", *options) == "Specify one of --project or --group."


@pytest.mark.parametrize("spelled", ["Demo.Pkg", "demo-pkg", "DEMO__pkg"])
def test_a_package_is_deleted_under_any_spelling_of_its_name(run: Run, package: Package, spelled: str) -> None:
    result = run("packages", "delete", "--project", "acme/tools", spelled, "1.0", "--yes")

    assert succeeded(result) == "Deleted Demo.Pkg 1.0 from acme/tools.\n"
    assert db.session.scalars(select(Package.status)).all() == [PackageStatus.PENDING_DESTRUCTION]


def test_a_change_of_a_package_leaves_the_cached_responses_about_others(run: Run, package: Package) -> None:
    before = factories.content_generation()

    for command in (("yank",), ("unyank",), ("delete", "--yes")):
        succeeded(run("packages", *command, "--project", "acme/tools", "Demo.Pkg", "1.0"))

    assert factories.raised_parts(before) == [part_of_name("demo-pkg"), INDEX]


def test_a_package_is_not_deleted_without_a_terminal_to_confirm_it(refused: Refused, package: Package) -> None:
    sentence = refused("packages", "delete", "--project", "acme/tools", "demo-pkg", "1.0", typed="y\n")

    assert sentence == "Standard input is not a terminal; use --yes to confirm the deletion."
    assert db.session.scalars(select(Package.status)).all() == [PackageStatus.DEFAULT]


def test_a_missing_package_is_reported_by_name(refused: Refused, package: Package) -> None:
    sentence = refused("packages", "delete", "--project", "acme/tools", "demo-pkg", "2.0", "--yes")

    assert sentence == "There is no package demo-pkg 2.0 in acme/tools."


def yanked(project: Project) -> dict[str, str | None]:
    return {file.filename: file.yanked_reason for file in db.session.scalars(select(PackageFile))}


def test_a_version_is_yanked_under_every_spelling_and_offered_again(
    run: Run, project: Project, package: Package
) -> None:
    factories.published(project, build_sdist("demo_pkg", "1.0"))
    factories.published(project, build_wheel("demo-pkg", "2.0"))
    release = ("--project", "acme/tools", "demo-PKG", "1.0")

    assert succeeded(run("packages", "yank", *release, "--reason", "Loses data")) == (
        "Yanked Demo.Pkg 1.0 in acme/tools.\n"
    )

    wheel, sdist = "demo_pkg-1.0-py3-none-any.whl", "demo_pkg-1.0.tar.gz"
    others = {"demo_pkg-2.0-py3-none-any.whl": None}
    assert yanked(project) == {wheel: "Loses data", sdist: "Loses data"} | others

    assert succeeded(run("packages", "unyank", *release, "--file", sdist)) == f"Unyanked {sdist} in acme/tools.\n"
    assert yanked(project) == {wheel: "Loses data", sdist: None} | others
    assert loaded(run("packages", "unyank", *release, "--json")) == {
        "project": "acme/tools", "name": "Demo.Pkg", "version": "1.0",
        "files": [
            {"filename": wheel, "yanked": False, "yanked_reason": None},
            {"filename": sdist, "yanked": False, "yanked_reason": None},
        ],
    }  # fmt: skip


def test_one_file_is_yanked(run: Run, project: Project, package: Package) -> None:
    factories.published(project, build_sdist("Demo.Pkg", "1.0"))
    sdist = "demo_pkg-1.0.tar.gz"

    told = loaded(run("packages", "yank", "--project", "acme/tools", "demo-pkg", "1.0", "--file", sdist, "--json"))

    assert [(file["filename"], file["yanked"], file["yanked_reason"]) for file in told["files"]] == [
        ("demo_pkg-1.0-py3-none-any.whl", False, None),
        (sdist, True, ""),
    ]


@pytest.mark.parametrize("command", ["yank", "unyank"])
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("demo-pkg", "2.0"), "There is no package demo-pkg 2.0 in acme/tools."),
        (("demo-pkg", "1.0", "--file", "x.whl"), "demo-pkg 1.0 in acme/tools has no file x.whl."),
    ],
    ids=["version", "file"],
)
def test_a_missing_package_cannot_be_yanked(
    refused: Refused, package: Package, command: str, arguments: tuple[str, ...], sentence: str
) -> None:
    assert refused("packages", command, "--project", "acme/tools", *arguments) == sentence


def test_a_reason_that_cannot_be_shown_is_refused(refused: Refused, package: Package) -> None:
    sentence = refused("packages", "yank", "--project", "acme/tools", "demo-pkg", "1.0", "--reason", "x" * 1001)

    assert sentence == "reason is too long (maximum is 1000 characters)"


def test_the_status_of_a_name_is_shown_and_set(run: Run, package: Package) -> None:
    command = ("packages", "status", "--project", "acme/tools", "Demo_Pkg")
    assert succeeded(run(*command)) == "demo-pkg in acme/tools is active.\n"

    assert succeeded(run(*command, "archived", "--reason", "Moved to demo2")) == (
        "demo-pkg in acme/tools is archived: Moved to demo2\n"
    )
    assert loaded(run(*command, "--json")) == {
        "project": "acme/tools", "name": "demo-pkg", "status": "archived", "reason": "Moved to demo2"
    }  # fmt: skip
    assert succeeded(run(*command, "active")) == "demo-pkg in acme/tools is active.\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("other",), "There is no package other in acme/tools."),
        (("other", "archived"), "There is no package other in acme/tools."),
        (("demo-pkg", "--reason", "Why not"), "--reason requires a STATUS."),
        (("demo-pkg", "gone"), "Invalid value for '[active|deprecated|archived|quarantined]': 'gone' is not one of"),
    ],
    ids=["unknown name", "unknown name to set", "reason alone", "unknown status"],
)
def test_an_impossible_status_is_refused_in_one_sentence(
    refused: Refused, package: Package, arguments: tuple[str, ...], sentence: str
) -> None:
    assert refused("packages", "status", "--project", "acme/tools", *arguments).startswith(sentence)


def test_a_cleanup_lists_what_it_removed(run: Run, project: Project, package: Package) -> None:
    succeeded(run("packages", "delete", "--project", "acme/tools", "demo-pkg", "1.0", "--yes"))

    result = run("packages", "cleanup")

    assert succeeded(result) == (
        "Removed 1 packages, 1 package files, 0 tokens, 0 stored objects (0 bytes) and 0 unfinished uploads.\n"
    )
    assert loaded(run("packages", "cleanup", "--json")) == {
        "packages": 0, "files": 0, "tokens": 0, "objects": 0, "size_bytes": 0, "staged_files": 0
    }  # fmt: skip


def test_the_dependencies_of_older_packages_are_read(run: Run, package: Package) -> None:
    package.requirements_sha256 = None
    factories.commit()

    assert loaded(run("packages", "read-dependencies", "--count", "--json")) == {"read": 0, "left": 1}
    assert loaded(run("packages", "read-dependencies", "--json")) == {"read": 1, "left": 0}


def test_a_sound_store_passes_its_verification(run: Run, package: Package) -> None:
    result = run("packages", "verify")

    assert succeeded(result) == (
        "Checked 2 objects: 0 missing, 0 damaged, 0 without a package file, 0 removed, 0 miscounted, 0 corrected.\n"
    )


@pytest.fixture
def lost(storage: Storage, project: Project) -> str:
    """The key of an object that a published file needs and that is not there."""
    key = object_key(factories.published(project, build_wheel("lost", "1.0")).sha256)
    storage.delete(key)
    return key


def test_a_verification_that_finds_something_fails(run: Run, lost: str) -> None:
    result = run("packages", "verify")

    assert result.exit_code == 1
    counts = "1 missing, 0 damaged, 0 without a package file, 0 removed, 0 miscounted, 0 corrected"
    assert result.stdout.splitlines() == [
        f"missing\t{lost}\tacme/tools: lost-1.0-py3-none-any.whl\tno\tno",
        f"Checked 2 objects: {counts}.",
    ]
    assert result.stderr == f"Error: The verification found problems: {counts}.\n"


def test_a_verification_as_json_holds_every_problem(run: Run, lost: str) -> None:
    result = run("packages", "verify", "--json")

    assert result.exit_code == 1
    assert json.loads(result.stdout) == {
        "checked": 2, "missing": 1, "damaged": 0, "orphaned": 0, "removed": 0, "miscounted": 0, "corrected": 0,
        "problems": [
            {
                "defect": "missing", "key": lost, "files": ["acme/tools: lost-1.0-py3-none-any.whl"],
                "removed": False, "corrected": False,
            }
        ],
    }  # fmt: skip


def test_a_repair_removes_old_objects_that_nothing_refers_to(run: Run, storage: Storage) -> None:
    staged = storage.stage()
    staged.write(b"left over")
    key = object_key(staged.sha256)
    storage.put(key, staged)
    staged.close()
    os.utime(storage.root / key, (0, 0))  # type: ignore[attr-defined]
    assert run("packages", "verify").exit_code == 1

    result = run("packages", "verify", "--repair")

    assert succeeded(result).splitlines()[0] == f"orphaned\t{key}\t\tyes\tno"
    assert not storage.exists(key)


def on_disk(folder: Path, *files: BuiltFile) -> list[str]:
    for file in files:
        (folder / file.filename).write_bytes(file.content)
    return [str(folder / file.filename) for file in files]


def test_files_in_order_are_checked_without_a_word_of_complaint(run: Run, tmp_path: Path) -> None:
    paths = on_disk(tmp_path, build_wheel(), build_sdist())

    assert columns(run("packages", "check", *paths)) == [[paths[0], "ok"], [paths[1], "ok"]]


def test_every_problem_of_a_file_is_reported_on_its_own_line(run: Run, tmp_path: Path) -> None:
    good, bad = on_disk(tmp_path, build_wheel(), build_sdist(requires_python="3+", requires_dist=["a\tb"]))

    result = run("packages", "check", good, bad)

    assert result.exit_code == 1
    assert [line.split("\t") for line in result.stdout.splitlines()] == [
        [good, "ok"],
        [bad, r"Requires-Dist is 'a\tb', expected is a requirement as in PEP 508"],
        [bad, "Requires-Python is '3+', expected is version specifiers as in PEP 440"],
    ]
    assert result.stderr == "Error: 1 of 2 files would be refused.\n"


def test_checked_files_as_json_have_every_problem(run: Run, tmp_path: Path) -> None:
    good, bad = on_disk(tmp_path, build_wheel(), build_wheel(filename="other-1.0-py3-none-any.whl"))

    result = run("packages", "check", "--json", good, bad)

    assert result.exit_code == 1
    assert json.loads(result.stdout) == [
        {"file": good, "name": "demo", "version": "1.0", "errors": []},
        {
            "file": bad,
            "name": "demo",
            "version": "1.0",
            "errors": [
                {
                    "field": ".dist-info folder",
                    "value": "demo-1.0.dist-info",
                    "expected": "that of other 1.0 as in the file name",
                },
                {"field": "Name", "value": "demo", "expected": "other as in the file name"},
            ],
        },
    ]


def test_remarks_fail_a_check_only_if_it_is_strict(run: Run, tmp_path: Path) -> None:
    (odd,) = on_disk(tmp_path, build_wheel(headers=["License-Expression: MIT"]))
    sentence = "Metadata-Version is '2.1', expected is 2.4 or later, for there is a field License-Expression"
    remark = {"field": "Metadata-Version", "value": "2.1", "expected": sentence.partition("expected is ")[2]}

    lenient, strict = run("packages", "check", odd), run("packages", "check", "--strict", odd)
    (record,) = json.loads(run("packages", "check", "--json", odd).stdout)

    assert (lenient.exit_code, columns(lenient)) == (0, [[odd, f"remark: {sentence}"]])
    assert (strict.exit_code, strict.stdout) == (1, f"{odd}\t{sentence}\n")
    assert (record["errors"], record["remarks"]) == ([], [remark])


def test_a_file_to_check_has_to_exist(refused: Refused, tmp_path: Path) -> None:
    assert "'gone.whl' does not exist" in refused("packages", "check", "gone.whl")
    assert "is a directory" in refused("packages", "check", str(tmp_path))


def test_files_are_checked_without_a_database(tmp_path: Path) -> None:
    (path,) = on_disk(tmp_path, build_wheel())
    empty = create_app({"INSTANCE_PATH": tmp_path / "instance"})

    result = empty.test_cli_runner().invoke(args=["packages", "check", path])

    assert succeeded(result) == f"{path}\tok\n"


def test_reserved_names_are_listed_and_released(run: Run, refused: Refused, project: Project, package: Package) -> None:
    factories.published(project, build_wheel("other", "1.0"))
    deleting = ("packages", "delete", "--project", "acme/tools", "--yes")
    succeeded(run(*deleting, "demo.pkg", "1.0"))

    listed = [line[:3] for line in columns(run("packages", "reserved", "--group", "acme"))]
    assert listed == [["demo-pkg", "acme/tools", "unused"], ["other", "acme/tools", "used"]]
    assert succeeded(run("packages", "release", "--group", "acme", "Demo.Pkg")) == "Released Demo.Pkg in acme.\n"
    assert (
        refused("packages", "release", "--group", "acme", "demo-pkg") == "There is no reserved name demo-pkg in acme."
    )
    assert "cannot be released" in refused("packages", "release", "--group", "acme", "other")
    succeeded(run(*deleting, "other", "1.0", "--release-name"))
    assert columns(run("packages", "reserved", "--group", "acme")) == []
