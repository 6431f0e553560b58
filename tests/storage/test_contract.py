"""The promises of every store."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest

from registry.errors import ConfigurationError
from registry.storage import ObjectMissing, StagedFile, Storage, digest_in, object_key, open_storage
from tests.fakes.s3 import S3Server

CONTENT = b"the bytes of a wheel, for all the store knows"
KEY = object_key(hashlib.sha256(CONTENT).hexdigest())
OTHER_KEY = object_key("0" * 64)


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "folder":
        return open_storage((tmp_path / "packages").as_uri(), {})
    s3: S3Server = request.getfixturevalue("s3")
    return open_storage(s3.address(), {**s3.settings, "INSTANCE_PATH": tmp_path})


@pytest.fixture
def staged(store: Storage) -> Callable[[bytes], StagedFile]:
    def stage(content: bytes = CONTENT) -> StagedFile:
        file = store.stage()
        file.write(content)
        return file

    return stage


Stage = Callable[..., StagedFile]


def test_a_staged_file_knows_size_and_digests_of_content_written_in_pieces(store: Storage) -> None:
    file = store.stage()

    for start in range(0, len(CONTENT), 7):
        file.write(CONTENT[start : start + 7])

    assert file.size_bytes == len(CONTENT)
    assert file.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert file.md5 == hashlib.md5(CONTENT).hexdigest()
    assert file.blake2b_256 == hashlib.blake2b(CONTENT, digest_size=32).hexdigest()


def test_a_staged_file_can_be_read_from_its_beginning(staged: Stage) -> None:
    file = staged()

    file.seek(0)

    assert file.file.read() == CONTENT


@pytest.mark.parametrize("piece_bytes", [1 << 18, 999_999, 5 << 20], ids=["even", "odd", "one"])
def test_the_digests_of_a_large_file_are_those_of_all_its_bytes(staged: Stage, piece_bytes: int) -> None:
    content = Random(0).randbytes(5 << 20)

    file = staged(b"")
    for start in range(0, len(content), piece_bytes):
        file.write(content[start : start + piece_bytes])
    early = file.md5
    file.write(b"more")

    assert early == hashlib.md5(content).hexdigest()
    assert file.sha256 == hashlib.sha256(content + b"more").hexdigest()
    assert file.md5 == hashlib.md5(content + b"more").hexdigest()
    assert file.blake2b_256 == hashlib.blake2b(content + b"more", digest_size=32).hexdigest()


def test_reading_a_staged_file_leaves_its_digests_alone(staged: Stage) -> None:
    file = staged()

    file.seek(4)
    file.file.read(3)

    assert file.sha256 == hashlib.sha256(CONTENT).hexdigest()


def test_a_staged_file_that_was_not_put_is_no_object(store: Storage, staged: Stage) -> None:
    staged().close()

    assert list(store.objects()) == []
    assert not store.exists(KEY)


def test_a_staged_file_can_be_closed_twice(staged: Stage) -> None:
    file = staged()
    file.close()

    file.close()

    assert file.size_bytes == len(CONTENT)


def test_a_stored_object_can_be_read_after_the_staged_file_is_closed(store: Storage, staged: Stage) -> None:
    file = staged()
    store.put(KEY, file)
    file.close()

    with store.open(KEY) as kept:
        assert kept.read() == CONTENT
    assert store.exists(KEY)


def test_an_object_is_read_from_any_position(store: Storage, staged: Stage) -> None:
    store.put(KEY, staged())

    with store.open(KEY) as kept:
        kept.seek(10)
        assert kept.read(5) == CONTENT[10:15]
        kept.seek(-4, 2)
        assert kept.read() == CONTENT[-4:]


def test_one_staged_file_can_be_put_again_after_its_object_was_removed(store: Storage, staged: Stage) -> None:
    file = staged()
    store.put(KEY, file)
    store.delete(KEY)

    store.put(KEY, file)

    with store.open(KEY) as kept:
        assert kept.read() == CONTENT


def test_putting_an_existing_object_keeps_it(store: Storage, staged: Stage) -> None:
    store.put(KEY, staged())
    store.put(KEY, staged())

    assert [found.key for found in store.objects()] == [KEY]


def test_several_objects_are_kept_at_once_also_where_one_is_there_already(store: Storage, staged: Stage) -> None:
    other_key = object_key(hashlib.sha256(b"other").hexdigest())
    store.put(KEY, staged())

    store.put_all({KEY: staged(), other_key: staged(b"other")})

    assert {found.key for found in store.objects()} == {KEY, other_key}
    with store.open(other_key) as kept:
        assert kept.read() == b"other"


def test_an_empty_object_can_be_kept(store: Storage, staged: Stage) -> None:
    store.put(KEY, staged(b""))

    with store.open(KEY) as kept:
        assert kept.read() == b""


@pytest.mark.parametrize("key", [OTHER_KEY, "../secret", "/etc/passwd", "sha256/../../secret", "", "sha256/", "UPPER"])
def test_a_missing_object_cannot_be_opened(store: Storage, key: str) -> None:
    with pytest.raises(ObjectMissing):
        store.open(key)


def test_a_missing_object_does_not_exist(store: Storage) -> None:
    assert not store.exists(OTHER_KEY)


def test_a_removed_object_is_gone(store: Storage, staged: Stage) -> None:
    store.put(KEY, staged())

    store.delete(KEY)

    assert not store.exists(KEY)
    assert list(store.objects()) == []
    with pytest.raises(ObjectMissing):
        store.open(KEY)


def test_removing_a_missing_object_is_no_error(store: Storage) -> None:
    store.delete(OTHER_KEY)

    assert not store.exists(OTHER_KEY)


def test_an_object_open_while_it_is_removed_can_be_read_to_its_end(store: Storage, staged: Stage) -> None:
    store.put(KEY, staged())

    with store.open(KEY) as kept:
        store.delete(KEY)

        assert kept.read() == CONTENT


def test_the_list_holds_every_object_with_size_and_time_and_nothing_staged(store: Storage, staged: Stage) -> None:
    before = datetime.now(UTC) - timedelta(seconds=5)
    store.put(KEY, staged())
    store.put(OTHER_KEY, staged(b"short"))
    staged(b"on its way")

    found = {found.key: found for found in store.objects()}

    assert {key: one.size_bytes for key, one in found.items()} == {KEY: len(CONTENT), OTHER_KEY: 5}
    assert all(before <= one.modified_at <= datetime.now(UTC) + timedelta(seconds=5) for one in found.values())


def test_a_sweep_keeps_objects_and_uploads_in_progress(store: Storage, staged: Stage) -> None:
    store.put(KEY, staged())
    on_its_way = staged(b"on its way")

    assert store.sweep() == 0

    store.put(OTHER_KEY, on_its_way)
    assert store.exists(KEY)
    assert store.exists(OTHER_KEY)


@pytest.mark.parametrize(("is_before", "removed"), [(False, 0), (True, 1)], ids=["running", "started again"])
def test_a_sweep_keeps_what_others_continue_unless_the_machine_was_started_again(
    store: Storage, is_before: bool, removed: int
) -> None:
    file = store.share("0" * 64)
    assert file is not None
    file.write(b"the first half")
    if is_before:
        started_at = time.time() - time.monotonic()
        os.utime(file.file.fileno(), (started_at - 60, started_at - 60))
    file.close()

    assert store.sweep() == removed

    again = store.share("0" * 64)
    assert again is not None
    assert again.size_bytes == (0 if is_before else len(b"the first half"))
    again.discard()


def test_a_store_that_works_passes_its_check_and_keeps_nothing_of_it(store: Storage) -> None:
    store.check()

    assert list(store.objects()) == []


@pytest.mark.parametrize("address", ["http://example.com/packages", "packages", "ftp://host/folder", ""])
def test_an_address_of_no_known_kind_is_refused_by_name(address: str) -> None:
    with pytest.raises(ConfigurationError, match=r"STORAGE_URL is .*; expected "):
        open_storage(address, {})


def test_the_digest_is_found_in_the_key_made_of_it() -> None:
    digest = hashlib.sha256(CONTENT).hexdigest()

    assert digest_in(object_key(digest)) == digest


@pytest.mark.parametrize(
    "key",
    ["readme", "sha256/00/" + "1" * 64, "sha256/00/" + "0" * 63, "sha256/00/" + "0" * 63 + "G", "md5/00/" + "0" * 64],
    ids=["another file", "folder of another digest", "short", "no hex", "another digest"],
)
def test_a_key_of_another_form_holds_no_digest(key: str) -> None:
    assert digest_in(key) is None
