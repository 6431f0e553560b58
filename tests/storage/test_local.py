"""The folder store: behavior of files on a disk only."""

from __future__ import annotations

import os
import resource
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from registry.errors import ConfigurationError, Unavailable
from registry.storage import ObjectMissing, StorageFull, object_key, open_storage
from registry.storage.local import LocalStorage
from registry.storage.staging import LocalStagedFile
from tests.acceptance.servers import needs_proc
from tests.processes import Forked

KEY = object_key("a" * 64)
ONE_MIB = 1 << 20


@pytest.fixture
def store(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path / "packages")


@pytest.fixture
def without_unnamed_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """A platform where every file has a name."""
    monkeypatch.delattr(os, "O_TMPFILE", raising=False)


@pytest.fixture(params=["as on this platform", "with names"])
def any_staging(request: pytest.FixtureRequest) -> None:
    """Runs the test with each way to stage a file."""
    if request.param == "with names":
        request.getfixturevalue("without_unnamed_files")


def files_in(store: LocalStorage) -> list[str]:
    return sorted(str(path.relative_to(store.root)) for path in store.root.rglob("*") if path.is_file())


def staged(store: LocalStorage, content: bytes = b"content") -> LocalStagedFile:
    file = store.stage()
    file.write(content)
    return file


def write_in_pieces(file: LocalStagedFile, size_bytes: int) -> None:
    for _ in range(size_bytes // 65536):
        file.write(b"x" * 65536)


@pytest.mark.parametrize("name", ["plain", "with space", "hash # percent %41 question ?", "ümlaut"])
def test_the_address_of_a_folder_opens_just_that_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name

    store = open_storage(folder.as_uri(), {})

    assert isinstance(store, LocalStorage)
    assert store.root == folder
    assert folder.is_dir()


@pytest.mark.skipif(sys.platform != "linux", reason="needs O_TMPFILE")
def test_a_staged_file_has_no_name(store: LocalStorage) -> None:
    with closing(staged(store)):
        assert files_in(store) == []


@pytest.mark.usefixtures("without_unnamed_files")
def test_a_staged_file_with_a_name_goes_when_it_is_closed(store: LocalStorage) -> None:
    file = staged(store)
    assert len(files_in(store)) == 1

    file.close()

    assert files_in(store) == []


@pytest.mark.usefixtures("any_staging")
def test_an_object_stays_at_its_key_alone_when_the_staged_file_is_closed(store: LocalStorage) -> None:
    file = staged(store)
    store.put(KEY, file)

    file.close()

    assert files_in(store) == [KEY]


@pytest.mark.usefixtures("any_staging")
def test_files_and_folders_are_closed_to_other_users(store: LocalStorage) -> None:
    store.put(KEY, staged(store))

    path = store.root / KEY
    assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
    assert stat.S_IMODE(path.parent.stat().st_mode) & 0o007 == 0


@pytest.mark.usefixtures("any_staging")
def test_an_object_put_again_counts_as_new(store: LocalStorage) -> None:
    store.put(KEY, staged(store))
    os.utime(store.root / KEY, (0, 0))

    store.put(KEY, staged(store))

    [found] = store.objects()
    assert datetime.now(UTC) - found.modified_at < timedelta(minutes=1)


@pytest.fixture
def synced(store: LocalStorage, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """The calls that write to the disk, in order, and whether the object was at its key by then."""
    seen: list[tuple[str, bool]] = []
    sync = os.fsync

    def noting(descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}")).relative_to(store.root)
        seen.append(("bytes" if path.parent.name == "incoming" else str(path), (store.root / KEY).exists()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", noting)
    return seen


@needs_proc
@pytest.mark.usefixtures("any_staging")
def test_the_disk_has_the_bytes_before_their_name_and_then_the_names_of_all_new_folders(
    store: LocalStorage, synced: list[tuple[str, bool]]
) -> None:
    store.put(KEY, staged(store))

    assert synced[0] == ("bytes", False)
    assert sorted(synced[1:]) == [(".", True), ("sha256", True), ("sha256/aa", True)]


@needs_proc
def test_a_folder_that_another_process_has_just_made_is_taken_for_a_new_one(
    store: LocalStorage, synced: list[tuple[str, bool]]
) -> None:
    LocalStorage(store.root).put(object_key("aa" + "b" * 62), staged(store))
    synced.clear()

    store.put(KEY, staged(store))

    assert sorted(path for path, _ in synced) == [".", "bytes", "sha256", "sha256/aa"]


@needs_proc
def test_of_folders_it_knows_a_store_syncs_only_those_that_got_a_name(
    store: LocalStorage, synced: list[tuple[str, bool]]
) -> None:
    store.put(object_key("aa" + "b" * 62), staged(store))
    synced.clear()

    store.put_all({KEY: staged(store), object_key("aa" + "c" * 62): staged(store)})

    assert sorted(path for path, _ in synced) == ["bytes", "bytes", "sha256/aa", "sha256/aa"]


@pytest.mark.parametrize(
    "key",
    [
        "../outside",
        "/outside",
        "sha256/../../outside",
        "..",
        ".",
        "sha256//x",
        "sha256/x/",
        "a\x00b",
        "a\nb",
        "Ü",
        "a.b",
    ],
)
def test_a_key_cannot_leave_the_folder(store: LocalStorage, tmp_path: Path, key: str) -> None:
    (tmp_path / "outside").write_bytes(b"secret")

    for act in (store.open, store.exists, store.delete, lambda key: store.put(key, staged(store))):
        with pytest.raises(ObjectMissing):
            act(key)

    assert (tmp_path / "outside").read_bytes() == b"secret"
    assert [name for name in files_in(store) if not name.startswith("incoming/")] == []


def test_a_file_staged_by_another_kind_of_store_is_refused(store: LocalStorage) -> None:
    with pytest.raises(TypeError, match="another store"):
        store.put(KEY, object())  # type: ignore[arg-type]


def test_files_of_others_in_the_folder_are_listed_and_not_taken_for_objects(store: LocalStorage) -> None:
    (store.root / "README.txt").write_text("do not touch")

    assert [found.key for found in store.objects()] == ["README.txt"]


def test_a_folder_that_cannot_be_created_is_reported_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(
        ConfigurationError, match=r"The package folder .*file/packages cannot be created: Not a directory\."
    ):
        LocalStorage(tmp_path / "file" / "packages")


def test_what_cannot_be_written_is_refused(store: LocalStorage, caplog: pytest.LogCaptureFixture) -> None:
    with closing(store.stage()) as staged:
        staged.write(b"content")
        store.root.rename(store.root.with_name("moved"))

        for act in (store.stage, lambda: store.share("0" * 64), lambda: store.put(object_key("0" * 64), staged)):
            with pytest.raises(Unavailable, match="cannot be written: No such file or directory"):
                act()

    assert caplog.text.count("The package store cannot be written: ") == 3


def test_a_folder_that_is_gone_fails_the_check(store: LocalStorage) -> None:
    (store.root / "incoming").rmdir()

    with pytest.raises(Unavailable, match="The package store cannot be written"):
        store.check()


def stage_and_wait(root: Path) -> None:
    if hasattr(os, "O_TMPFILE"):
        del os.O_TMPFILE
    file = LocalStorage(root).stage()
    file.write(b"half an upload")
    file.file.flush()
    print("staged", flush=True)
    time.sleep(60)


@pytest.fixture
def uploader(store: LocalStorage) -> Iterator[Forked]:
    """Another process with a staged file that has a name."""
    output, stdout = os.pipe()
    process = Forked(stage_and_wait, store.root, stdout=stdout, stderr=2)
    os.close(stdout)
    with open(output) as lines:
        assert lines.readline() == "staged\n"
    yield process
    process.kill()
    process.wait()


def test_a_sweep_spares_the_files_of_a_living_process(store: LocalStorage, uploader: Forked) -> None:
    assert store.sweep() == 0

    assert len(files_in(store)) == 1


def test_a_sweep_removes_the_files_of_a_killed_process(store: LocalStorage, uploader: Forked) -> None:
    uploader.send_signal(signal.SIGKILL)
    uploader.wait()

    assert store.sweep() == 1

    assert files_in(store) == []


@pytest.mark.usefixtures("any_staging")
def test_a_sweep_under_way_takes_no_file_from_an_upload_that_begins(store: LocalStorage) -> None:
    done = threading.Event()
    sweeper = threading.Thread(target=lambda: [store.sweep() for _ in iter(done.is_set, True)])
    sweeper.start()

    try:
        for number in range(300):
            file = staged(store)
            store.put(object_key(f"{number:064x}"), file)
            file.close()
    finally:
        done.set()
        sweeper.join()

    assert len(list(store.objects())) == 300


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file of this process may grow beyond 1 MiB: writing answers EFBIG, as a full disk answers ENOSPC."""
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ONE_MIB, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, ignored)


def test_a_full_store_raises_and_keeps_nothing(store: LocalStorage, small_files: None) -> None:
    file = store.stage()

    with pytest.raises(StorageFull, match="The package store is full") as refusal:
        write_in_pieces(file, 3 * ONE_MIB)
    file.close()

    assert refusal.value.status == 507
    assert files_in(store) == []


def test_of_several_files_one_that_does_not_fit_is_reported(store: LocalStorage, small_files: None) -> None:
    small, large = staged(store), staged(store, b"x" * (ONE_MIB - 100))
    large.write(b"y" * 200)  # stays in the buffer

    with pytest.raises(StorageFull):
        store.put_all({object_key("b" * 64): small, KEY: large})
    small.close()
    large.close()

    assert not store.exists(KEY)


def test_buffered_content_that_does_not_fit_is_noticed_before_it_is_kept(
    store: LocalStorage, small_files: None
) -> None:
    file = store.stage()
    file.write(b"x" * (ONE_MIB - 100))
    file.write(b"y" * 200)  # stays in the buffer

    with pytest.raises(StorageFull):
        store.put(KEY, file)
    file.close()

    assert files_in(store) == []
    assert not store.exists(KEY)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB, where this machine lets the tests mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=12", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("no file system may be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_file_system_keeps_nothing_and_accepts_files_again_with_free_space(small_disk: Path) -> None:
    store = LocalStorage(small_disk)
    (small_disk / "filler").write_bytes(b"x" * (ONE_MIB - 64 * 1024))
    file = store.stage()
    with pytest.raises(StorageFull):
        write_in_pieces(file, ONE_MIB)
    file.close()
    assert files_in(store) == ["filler"]

    (small_disk / "filler").unlink()
    store.put(KEY, staged(store, b"fits"))

    assert store.exists(KEY)


def test_a_file_system_without_inodes_is_full_too(small_disk: Path) -> None:
    store = LocalStorage(small_disk)
    held: list[LocalStagedFile] = []

    with pytest.raises(StorageFull):
        held.extend(store.stage() for _ in range(20))
    for file in held:
        file.close()

    assert files_in(store) == []
