from __future__ import annotations

import json
import re
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from registry import create_app, database
from registry.database import db
from registry.models import PackageFile, Project
from registry.storage import Storage, object_key
from tests import factories
from tests.builders import build_wheel
from tests.cli.running import Refused, Run, Shell, loaded, succeeded
from tests.conftest import SECRET_KEY


@pytest.fixture
def lost(storage: Storage, demo: PackageFile) -> str:
    """The key of an object that a file needs and that is not there."""
    storage.delete(object_key(demo.sha256))
    return object_key(demo.sha256)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "registry.tar")


@pytest.fixture
def run_elsewhere(tmp_path: Path) -> Callable[..., Result]:
    """Runs a command in a new installation."""
    elsewhere = create_app({"INSTANCE_PATH": tmp_path / "elsewhere"})

    def run(*arguments: str) -> Result:
        result = elsewhere.test_cli_runner().invoke(args=list(arguments))
        with elsewhere.app_context():
            db.engine.dispose()
        return result

    return run


def test_an_installation_is_backed_up_verified_and_restored(
    run: Run, demo: PackageFile, path: str, run_elsewhere: Callable[..., Result]
) -> None:
    sentence = succeeded(run("backup", "create", path)).removeprefix("Backed up ").partition(" to ")
    rows = int(sentence[0].split()[0])
    size_bytes = demo.size_bytes + 71

    assert sentence == (f"{rows} rows and 2 of 2 objects ({size_bytes} bytes)", " to ", f"{path}.\n")
    assert succeeded(run("backup", "verify", path)) == f"Found {sentence[0]} in {path}.\n"
    assert succeeded(run_elsewhere("backup", "restore", path)) == f"Restored {sentence[0]} from {path}.\n"
    listed = run_elsewhere("packages", "list", "--project", "acme/tools")
    assert succeeded(listed) == succeeded(run("packages", "list", "--project", "acme/tools"))


def test_the_contents_of_a_backup_as_json(run: Run, demo: PackageFile, path: str) -> None:
    made: dict[str, Any] = loaded(run("backup", "create", path, "--inventory", "--json"))

    assert made == loaded(run("backup", "verify", path, "--json"))
    assert (made["file"], made["schema_version"], made["inventory"]) == (path, database.newest_version(), True)
    assert made["tables"]["package_files"] == {"rows": 1, "last_id": demo.id}
    assert (made["objects"], made["problems"]) == ({"listed": 2, "included": 0, "size_bytes": 0}, [])
    assert SECRET_KEY not in json.dumps(made)


def test_missing_objects_are_listed_in_front_of_the_refusal(run: Run, lost: str, path: str) -> None:
    result = run("backup", "create", path)

    assert result.exit_code == 1
    assert result.stdout == f"missing\t{lost}\tacme/tools: demo-1.0-py3-none-any.whl\n"
    assert result.stderr == (
        "Error: 1 objects are missing or damaged, so no backup was made; --allow-missing omits them.\n"
    )
    refused = run("backup", "create", path, "--json")
    problem = {"defect": "missing", "key": lost, "files": ["acme/tools: demo-1.0-py3-none-any.whl"]}
    assert (refused.exit_code, json.loads(refused.stdout)) == (1, {"file": path, "problems": [problem]})


def test_a_backup_made_without_missing_objects_is_reported_as_incomplete(
    run: Run, lost: str, path: str, run_elsewhere: Callable[..., Result]
) -> None:
    made = succeeded(run("backup", "create", path, "--allow-missing")).splitlines()
    assert made[0].startswith(f"missing\t{lost}\t")
    assert "1 of 2 objects (71 bytes)" in made[1]

    result = run("backup", "verify", path)

    assert (result.exit_code, result.stdout.splitlines()[0]) == (1, f"missing\t{lost}\t")
    assert result.stderr == "Error: 1 objects are missing or damaged.\n"
    assert run_elsewhere("backup", "restore", path).exit_code == 1
    assert "1 of 2 objects" in succeeded(run_elsewhere("backup", "restore", path, "--allow-missing"))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("create", "here.tar"), "{folder}/here.tar already exists, and is not replaced."),
        (("create", "no/folder.tar"), "{folder}/no/folder.tar.partial: No such file or directory."),
        (("restore", "gone.tar"), "Invalid value for 'FILE': File '{folder}/gone.tar' does not exist."),
        (("verify", "here.tar"), "{folder}/here.tar is not a backup of this registry, or its beginning is damaged."),
        (("restore", "here.tar"), "{folder}/here.tar is not a backup of this registry, or its beginning is damaged."),
    ],
    ids=["file that is there", "folder that is not there", "file that is not there", "no backup", "nothing to restore"],
)
def test_an_impossible_request_is_refused_in_one_sentence(
    refused: Refused, tmp_path: Path, arguments: tuple[str, str], sentence: str
) -> None:
    (tmp_path / "here.tar").write_text("something else")

    assert refused("backup", arguments[0], str(tmp_path / arguments[1])) == sentence.format(folder=tmp_path)


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file grows beyond 100 kB: writing answers EFBIG, as a full disk answers ENOSPC."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk_is_reported_and_nothing_is_left_on_it(
    run: Run, project: Project, path: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    factories.published(project, build_wheel(size_bytes=200_000))
    request.getfixturevalue("full_disk")

    result = run("backup", "create", path)

    assert (result.exit_code, result.stderr) == (1, f"Error: {path}: File too large.\n")
    assert list(tmp_path.iterdir()) == []


def test_progress_is_shown_on_a_terminal(shell: Shell, path: str) -> None:
    other = create_app({"INSTANCE_PATH": shell.instance})
    with other.app_context():
        factories.published(factories.project(), build_wheel())
        db.engine.dispose()

    status, screen = shell.on_a_terminal("backup", "create", path, answers=[])

    assert status == 0
    assert re.search(r"Copying  \[#+\]  2/2", screen)
    assert re.search(r"Backed up \d+ rows and 2 of 2 objects ", screen)
