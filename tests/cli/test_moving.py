from __future__ import annotations

from pathlib import Path

import pytest
from flask import Flask

from registry.models import Project
from registry.storage import Storage, object_key
from registry.storage.local import LocalStorage
from tests import factories
from tests.builders import build_wheel, metadata
from tests.cli.running import Refused, Run, loaded, succeeded

WHEEL = build_wheel("demo", "1.0")
COMMAND = ("packages", "move-storage")


@pytest.fixture
def size_bytes(project: Project) -> int:
    """The size of the objects of a published wheel."""
    factories.published(project, WHEEL)
    return len(WHEEL.content) + len(metadata("demo", "1.0"))


def test_the_stored_files_are_copied_and_the_next_steps_shown(
    run: Run, app: Flask, storage: Storage, size_bytes: int, tmp_path: Path
) -> None:
    old, new = app.config["STORAGE_URL"], (tmp_path / "new").as_uri()

    printed = succeeded(run(*COMMAND, "--to", new))

    assert printed == (
        f"Copied 2 objects ({size_bytes} bytes) from {old} to {new}; 0 already existed.\n"
        "Next: run the same command again to copy the files published in the meantime; set REGISTRY_STORAGE_URL to\n"
        f"{new} and restart the registry; then copy the remaining files with\n"
        f"pypi-registry packages move-storage --from {old}\n"
    )
    assert LocalStorage(tmp_path / "new").exists(object_key(WHEEL.sha256))
    assert storage.exists(object_key(WHEEL.sha256))


def test_after_the_restart_the_rest_is_copied_from_the_old_store(
    run: Run, app: Flask, storage: Storage, size_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = app.config["STORAGE_URL"], (tmp_path / "new").as_uri()
    monkeypatch.setitem(app.config, "STORAGE_URL", new)

    printed = succeeded(run(*COMMAND, "--from", old)).splitlines()

    assert printed == [
        f"Copied 2 objects ({size_bytes} bytes) from {old} to {new}; 0 already existed.",
        f"{old} is no longer needed once `pypi-registry packages verify` finds no problems.",
    ]


def test_files_that_cannot_be_copied_are_listed_and_end_with_status_1(
    run: Run, storage: Storage, size_bytes: int, tmp_path: Path
) -> None:
    storage.delete(object_key(WHEEL.sha256))

    result = run(*COMMAND, "--to", (tmp_path / "new").as_uri())

    assert result.exit_code == 1
    assert result.stdout.splitlines()[0] == f"missing\t{object_key(WHEEL.sha256)}"
    assert result.stderr == "Error: 1 missing and 0 damaged objects were not copied.\n"


def test_the_copy_as_json(run: Run, size_bytes: int, tmp_path: Path) -> None:
    assert loaded(run(*COMMAND, "--to", (tmp_path / "new").as_uri(), "--json")) == {
        "copied": 2, "present": 0, "missing": 0, "damaged": 0, "size_bytes": size_bytes, "problems": []
    }  # fmt: skip


@pytest.mark.parametrize("options", [(), ("--to", "{configured}/")], ids=["nowhere", "to itself"])
def test_another_store_has_to_be_named(refused: Refused, app: Flask, size_bytes: int, options: tuple[str, ...]) -> None:
    configured = app.config["STORAGE_URL"]

    sentence = refused(*COMMAND, *(option.format(configured=configured) for option in options))

    assert sentence == f"Specify a store other than {configured} with --to or --from."


def test_an_address_of_no_store_is_refused(refused: Refused, app: Flask) -> None:
    assert refused(*COMMAND, "--to", "/srv/packages") == (
        "STORAGE_URL is '/srv/packages'; expected file:///<folder>, or s3://, gs:// or az:// with <bucket>/<prefix>."
    )
