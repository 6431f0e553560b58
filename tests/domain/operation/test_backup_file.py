from __future__ import annotations

import io
import json
import os
import stat
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask

from registry.domain.new_files import new_file
from registry.domain.operation import backup_file, backups
from registry.domain.operation.verification import Defect, Finding
from registry.errors import BackupRefused
from registry.storage import object_key
from tests.builders import build_sdist
from tests.domain.operation.installations import Make, Restore, is_new, members, objects


def test_a_backup_is_readable_by_its_owner_only_and_leaves_no_temporary_file(make: Make, path: Path) -> None:
    make()

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(path.parent) == [path.name]


def test_common_tools_can_read_and_check_a_backup(made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "unpacked"
    folder.mkdir()

    subprocess.run(["tar", "-xf", made, "-C", folder], check=True, stderr=subprocess.PIPE)

    subprocess.run(["sha256sum", "--check", "manifest.json.sha256"], cwd=folder, check=True, stdout=subprocess.PIPE)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["tables"]["package_files"] == {"rows": 2, "last_id": 2}
    assert manifest["objects"]["listed"] == len((folder / "objects.txt").read_text().splitlines()) == 4
    stored = [file for file in (folder / "objects").rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in stored) == manifest["objects"]["size_bytes"]


def test_a_backup_replaces_no_file(make: Make, path: Path) -> None:
    path.write_text("an older backup")

    with pytest.raises(BackupRefused, match="already exists"):
        make()

    assert path.read_text() == "an older backup"


def test_two_backups_into_one_file_do_not_mix(make: Make, path: Path) -> None:
    with new_file(path, BackupRefused) as first:
        with pytest.raises(BackupRefused, match=r"Another process is writing .*\.partial\.$"):
            make()
        first.write(b"the first one")

    assert path.read_bytes() == b"the first one"


def test_the_remains_of_a_killed_backup_are_overwritten(make: Make, path: Path) -> None:
    path.with_name("registry.tar.partial").write_bytes(b"half" * 100_000)

    make()

    backups.verify(path, report=pytest.fail)
    assert os.listdir(path.parent) == [path.name]


def place_of(path: Path, name: str) -> tarfile.TarInfo:
    with tarfile.open(path) as archive:
        return archive.getmember(name)


def flip(path: Path, place: int) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        (byte,) = file.read(1)
        file.seek(place)
        file.write(bytes([byte ^ 1]))


def without(path: Path, name: str) -> None:
    """Write the archive again, as tar does, without one member."""
    kept = members(path)
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        for other, content in kept.items():
            if other != name:
                entry = tarfile.TarInfo(other)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))


DAMAGES = {
    "in the manifest": lambda path: flip(path, place_of(path, "manifest.json").offset_data + 30),
    "in the secret key": lambda path: flip(path, place_of(path, "secret_key").offset_data),
    "in a table": lambda path: flip(path, place_of(path, "tables/users.jsonl").offset_data + 20),
    "in the list of objects": lambda path: flip(path, place_of(path, "objects.txt").offset_data + 5),
    "in the header of a member": lambda path: flip(path, place_of(path, "objects.txt").offset + 5),
    "in the seal": lambda path: flip(path, place_of(path, "manifest.json.sha256").offset_data),
    "cut in the middle": lambda path: os.truncate(path, path.stat().st_size // 2),
    "cut before the seal": lambda path: os.truncate(path, place_of(path, "manifest.json.sha256").offset),
    "cut in the seal": lambda path: os.truncate(path, place_of(path, "manifest.json.sha256").offset_data + 10),
    "cut to nothing": lambda path: os.truncate(path, 0),
    "a table missing": lambda path: without(path, "tables/users.jsonl"),
    "no secret key": lambda path: without(path, "secret_key"),
    "no manifest": lambda path: without(path, "manifest.json"),
    "no backup": lambda path: path.write_bytes(os.urandom(100_000)),
    "another archive": lambda path: path.write_bytes(build_sdist().content),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_backup_is_refused_and_the_installation_stays_new(
    backup: Path, untouched: Flask, restore: Restore, damage: Callable[[Path], None]
) -> None:
    damage(backup)

    for use in (lambda: restore(untouched, allow_missing=True), lambda: backups.verify(backup, report=pytest.fail)):
        with pytest.raises(BackupRefused, match=rf"^(The backup )?{backup} is (damaged: .*|not a backup.*)\.$"):
            use()
    assert is_new(untouched)


@pytest.mark.parametrize(
    ("damage", "defect"),
    [
        (lambda path, name: flip(path, place_of(path, name).offset_data + 40), Defect.DAMAGED),
        (without, Defect.MISSING),
    ],
    ids=["damaged", "missing"],
)
def test_a_backup_with_a_broken_object_can_be_restored_without_it(
    origin: Flask, backup: Path, other: Flask, restore: Restore, problems: list[Finding],
    damage: Callable[[Path, str], None], defect: Defect,
) -> None:  # fmt: skip
    digest = build_sdist().sha256
    damage(backup, backup_file.object_name(digest))
    told: list[Finding] = []
    backups.verify(backup, report=told.append)
    assert told == [Finding(defect, object_key(digest))]
    with pytest.raises(BackupRefused, match=r"^1 objects are missing or damaged"):
        restore(other)
    assert is_new(other)

    restore(other, allow_missing=True)

    assert objects(origin).keys() - objects(other).keys() == {object_key(digest)}
    assert problems == told * 2
