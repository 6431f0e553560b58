"""Uploads that are being received: what is promised to all of them together."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

import pytest

from registry.errors import DiskFull, Unavailable
from registry.storage.receptions import Promised, Receptions
from registry.storage.staging import locked_temporary


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "receiving"


@pytest.fixture
def receptions(folder: Path) -> Receptions:
    return Receptions(folder, most_bytes=1000)


@pytest.fixture
def elsewhere(folder: Path) -> Receptions:
    """Those of another process."""
    return Receptions(folder, most_bytes=1000)


def test_an_upload_counts_for_its_namespaces_until_it_is_closed(receptions: Receptions, elsewhere: Receptions) -> None:
    with closing(elsewhere.promise(None, [], 1, caller="bob")) as other:
        with closing(receptions.promise(None, [3, 14], 600, caller="ann")) as receiving:
            assert list(elsewhere.others(other)) == [Promised(frozenset({3, 14}), receiving.caller, 600)]

        assert list(elsewhere.others(other)) == []


def test_a_reception_that_another_process_removed_first_is_closed(receptions: Receptions) -> None:
    receiving = receptions.promise(None, [3], 600, caller="ann")
    receiving.path.unlink()

    receiving.close()

    assert not receiving.path.exists()


def test_uploads_of_processes_of_an_earlier_version_count_too(receptions: Receptions, folder: Path) -> None:
    folder.mkdir()
    with closing(locked_temporary(folder, "3-14.")) as file:
        file.truncate(600)

        with closing(receptions.promise(None, [], 400, caller="ann")) as receiving:
            assert list(receptions.others(receiving)) == [Promised(frozenset({3, 14}), "", 600)]


def test_uploads_of_all_processes_share_the_room(receptions: Receptions, elsewhere: Receptions) -> None:
    begun = receptions.promise(None, [], 600, caller="ann")
    with closing(begun), closing(elsewhere.promise(None, [], 400, caller="bob")) as other:
        with pytest.raises(Unavailable) as refusal:
            elsewhere.promise(other, [], 401, caller="bob")

        assert refusal.value.status == 503
        elsewhere.promise(None, [], 400, caller="bob").close()


def test_no_number_of_uploads_keeps_other_callers_out(receptions: Receptions, elsewhere: Receptions) -> None:
    with (
        closing(receptions.promise(None, [], 100, caller="ann")),
        closing(receptions.promise(None, [], 400, caller="ann")),
    ):
        with pytest.raises(Unavailable) as refusal:
            elsewhere.promise(None, [], 1, caller="ann")

        assert "500 bytes" in str(refusal.value)
        elsewhere.promise(None, [], 500, caller="bob").close()
        with closing(elsewhere.promise(None, [], 200, caller="bob")), pytest.raises(Unavailable):
            receptions.promise(None, [], 51, caller="bob")


def test_an_upload_that_is_too_large_without_others_is_refused_as_by_a_full_disk(receptions: Receptions) -> None:
    with pytest.raises(DiskFull):
        receptions.promise(None, [], 1001, caller="ann")


def test_what_a_terminated_process_has_left_counts_no_more(receptions: Receptions, folder: Path) -> None:
    folder.mkdir()
    with (folder / "3-14.caller.left").open("wb") as left:
        left.truncate(1000)

    receptions.promise(None, [], 1000, caller="ann").close()

    assert list(folder.iterdir()) == []


def test_a_folder_that_cannot_be_written_refuses_uploads(folder: Path) -> None:
    with pytest.raises(Unavailable, match="cannot be written: No such file or directory"):
        Receptions(folder / "moved" / "receiving", None).promise(None, [1], 100, caller="someone")


def test_half_of_the_free_room_is_the_default(folder: Path) -> None:
    receptions = Receptions(folder, None)
    free_bytes = shutil.disk_usage(folder.parent).free

    receptions.promise(None, [], int(free_bytes * 0.4), caller="ann").close()
    with pytest.raises(DiskFull):
        receptions.promise(None, [], int(free_bytes * 0.6), caller="ann")
