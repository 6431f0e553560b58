"""What is in a package file: read from each kind of store, kept in memory, or not shown, with the reason."""

from __future__ import annotations

import random
from contextlib import closing
from pathlib import Path

import pytest

from registry.database import utcnow
from registry.domain.packages import contents
from registry.domain.packages.contents import Contents, NotShown, Obstacle
from registry.domain.packages.index import DownloadableFile
from registry.storage import Storage, object_key, open_storage
from tests.builders import BuiltFile, build_sdist, build_wheel
from tests.fakes.s3 import S3Server


@pytest.fixture
def folder(tmp_path: Path) -> Storage:
    return open_storage((tmp_path / "packages").as_uri(), {})


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "folder":
        found: Storage = request.getfixturevalue("folder")
        return found
    s3: S3Server = request.getfixturevalue("s3")
    return open_storage(s3.address(), {**s3.settings, "INSTANCE_PATH": tmp_path})


def stored(store: Storage, built: BuiltFile, content: bytes | None = None) -> DownloadableFile:
    """A file in a store, under its digest even if it has other content."""
    with closing(store.stage()) as staged:
        staged.write(built.content if content is None else content)
        store.put(object_key(built.sha256), staged)
    return DownloadableFile(1, "demo", built.filename, len(built.content), built.sha256, None, utcnow())


@pytest.mark.parametrize("built", [build_wheel(), build_sdist()], ids=["wheel", "sdist"])
def test_a_file_is_listed_and_its_text_is_shown(store: Storage, built: BuiltFile) -> None:
    file, shown = stored(store, built), Contents(store)

    listing = shown.listing(file, "ada")
    module = next(member for path, member in listing.members.items() if path.endswith("demo.py"))

    assert shown.text(file, module, "ada").text == '__version__ = "1.0"\n'


def test_only_the_end_of_a_wheel_is_read_and_the_part_with_the_member(store: Storage) -> None:
    built = build_wheel(files={"big.bin": random.Random(1).randbytes(3 << 20), "last.py": b"found"})
    file, shown = stored(store, built, bytes(1 << 20) + built.content[1 << 20 :]), Contents(store)

    listing = shown.listing(file, "ada")

    assert shown.text(file, listing.members["last.py"], "ada").text == "found"


def test_listings_used_last_are_kept_within_bounds(folder: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [stored(folder, build_wheel(version=f"{number}.0")) for number in range(3)]
    shown = Contents(folder)
    weight = shown.listing(files[0], "ada").weight
    monkeypatch.setattr(contents, "MOST_KEPT_BYTES", 2 * weight)
    for file in (files[1], files[0], files[2]):
        shown.listing(file, "ada")

    folder.delete(*(object_key(file.sha256) for file in files))

    assert "demo.py" in shown.listing(files[0], "ada").members
    assert "demo.py" in shown.listing(files[2], "ada").members
    with pytest.raises(NotShown) as refusal:
        shown.listing(files[1], "ada")
    assert refusal.value.obstacle is Obstacle.MISSING


@pytest.mark.parametrize(
    ("content", "obstacle"),
    [(b"\x7fELF\0", Obstacle.BINARY), (b"a" * (contents.LONGEST_TEXT_BYTES + 1), Obstacle.LONG), (b"", None)],
    ids=["binary", "long", "empty"],
)
def test_what_is_no_short_text_is_not_shown(folder: Storage, content: bytes, obstacle: Obstacle | None) -> None:
    file, shown = stored(folder, build_wheel(files={"data": content})), Contents(folder)

    found = shown.text(file, shown.listing(file, "ada").members["data"], "ada")

    assert (found.text, found.obstacle) == ("", obstacle)


@pytest.mark.parametrize("built", [build_wheel(), build_sdist()], ids=["wheel", "sdist"])
def test_a_file_that_was_damaged_in_the_store_is_not_shown(store: Storage, built: BuiltFile) -> None:
    file = stored(store, built, b"something else")

    with pytest.raises(NotShown) as refusal:
        Contents(store).listing(file, "ada")

    assert refusal.value.obstacle is Obstacle.INVALID
