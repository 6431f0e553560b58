"""Files of the upstream on their way to clients and into the store, with every fault of the upstream and the disk."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select

from registry.database import db, utcnow
from registry.domain.upstream import cached, fetching
from registry.domain.upstream.arrivals import LAST_PIECE_BYTES, ArrivingFile, Broken, Wanted
from registry.domain.upstream.files import FINISHED_BYTES, Files, Kept
from registry.domain.upstream.uses import Use
from registry.errors import Code, Unavailable, UpstreamBusy, UpstreamFailed
from registry.models import CachedFile
from registry.storage import Storage, object_key
from registry.storage.local import LocalStorage
from registry.storage.staging import SharedFile
from tests.fakes.s3 import S3Server
from tests.fakes.upstream_files import Transfer, UpstreamFiles

CONTENT = Random(0).randbytes(1 << 20)
HALF = len(CONTENT) // 2
Make = Callable[..., Files]


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "FIRST_PAUSE_SECONDS", 0.001)


@pytest.fixture
def upstream() -> UpstreamFiles:
    return UpstreamFiles()


@pytest.fixture
def make(app: Flask, storage: Storage, upstream: UpstreamFiles) -> Iterator[Make]:
    """Makes the files of a process; those of several share what processes share."""
    made: list[Files] = []

    def make(**options: Any) -> Files:
        store = options.pop("store", storage)
        options = {"cache_bytes": 1 << 30, "largest_bytes": 0, "count": lambda _: None, **options}
        made.append(Files(upstream, store, context=app.app_context, request_threads=8, **options))
        return made[-1]

    yield make
    upstream.release()
    eventually(lambda: all(not files._threads._running for files in made))


@pytest.fixture
def files(make: Make) -> Files:
    return make()


def read(reader: Kept | ArrivingFile) -> bytes:
    """Read to the end, and close the reader."""
    assert isinstance(reader, ArrivingFile)
    try:
        return b"".join(iter(lambda: reader.read(100_000), b""))
    finally:
        reader.close()


def eventually(condition: Callable[[], object]) -> None:
    """The thread of a fetch goes on after its clients have everything."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        db.session.rollback()
        time.sleep(0.005)


def is_kept(files: Files, wanted: Wanted) -> bool:
    db.session.rollback()
    found = files.get(wanted)
    if isinstance(found, ArrivingFile):
        found.close()
    return isinstance(found, Kept)


def shared_files(storage: Storage) -> list[str]:
    assert isinstance(storage, LocalStorage)
    return sorted(path.name for path in (storage.root / "incoming").iterdir())


def stored(storage: Storage, wanted: Wanted) -> bytes:
    with storage.open(object_key(wanted.sha256)) as file:
        return file.read()


def test_a_file_is_fetched_once_and_then_in_the_store(files: Files, upstream: UpstreamFiles, storage: Storage) -> None:
    wanted = upstream.offer(CONTENT)

    first = read(files.get(wanted))

    assert first == CONTENT
    eventually(lambda: cached.is_cached(wanted.sha256))
    assert files.get(wanted) == Kept(wanted, len(CONTENT))
    assert stored(storage, wanted) == CONTENT
    assert upstream.starts == [0]
    eventually(lambda: shared_files(storage) == [])


@pytest.mark.parametrize("size_bytes", [0, 1, LAST_PIECE_BYTES, LAST_PIECE_BYTES + 1])
def test_a_file_of_any_size_arrives(files: Files, upstream: UpstreamFiles, size_bytes: int) -> None:
    wanted = upstream.offer(CONTENT[:size_bytes])

    assert read(files.get(wanted)) == CONTENT[:size_bytes]


def test_the_first_bytes_are_given_out_before_the_last_have_arrived(files: Files, upstream: UpstreamFiles) -> None:
    upstream.hold(HALF)
    reader = files.get(upstream.offer(CONTENT))
    assert isinstance(reader, ArrivingFile)

    first = reader.read(1000)

    assert first == CONTENT[:1000]
    upstream.release()
    assert first + read(reader) == CONTENT


def test_eight_clients_of_two_processes_cost_one_request(make: Make, upstream: UpstreamFiles) -> None:
    upstream.hold(HALF)
    processes, wanted = [make(), make()], upstream.offer(CONTENT)
    readers = [processes[number % 2].get(wanted) for number in range(8)]

    with ThreadPoolExecutor(8) as clients:
        contents = clients.map(read, readers)
        upstream.held.wait(10)
        upstream.release()

        assert set(contents) == {CONTENT}
    assert upstream.starts == [0]


def test_a_process_that_asks_just_after_another_has_finished_copies_the_stored_file(
    make: Make, upstream: UpstreamFiles
) -> None:
    wanted = upstream.offer(CONTENT)
    read(make().get(wanted))
    eventually(lambda: cached.is_cached(wanted.sha256))

    assert read(make().fetch(wanted)) == CONTENT  # as if it had looked a moment before

    assert upstream.starts == [0]


@pytest.mark.parametrize(
    ("transfers", "starts"),
    [
        ([Transfer(ends_at=HALF)], [0, HALF]),
        ([Transfer(ends_at=HALF), Transfer(ignores_ranges=True)], [0, HALF]),
        ([Transfer(status=503), Transfer(ends_at=HALF), Transfer(ends_at=HALF)], [0, 0, HALF, HALF]),
        ([Transfer(status=429), Transfer(total_bytes=-1)], [0, 0]),
    ],
    ids=["cut", "without ranges", "several faults", "unknown size"],
)
def test_a_transfer_goes_on_where_it_broke_off(
    files: Files, upstream: UpstreamFiles, transfers: list[Transfer], starts: list[int]
) -> None:
    upstream.answer(*transfers)

    assert read(files.get(upstream.offer(CONTENT))) == CONTENT

    assert upstream.starts == starts


@pytest.mark.parametrize(
    ("offer", "transfer"),
    [
        ({"sends": CONTENT[:-1] + b"x"}, Transfer()),
        ({"sends": CONTENT + b"x"}, Transfer()),
        ({"sends": CONTENT + b"x"}, Transfer(total_bytes=-1)),
        ({"sends": CONTENT[:-1]}, Transfer(total_bytes=-1)),
        ({"size_bytes": len(CONTENT) + 1}, Transfer(total_bytes=-1)),
        ({"size_bytes": len(CONTENT) - 1}, Transfer(total_bytes=-1)),
    ],
    ids=["other bytes", "a byte more", "a byte more unannounced", "a byte less", "page too large", "page too small"],
)
def test_what_is_not_the_file_of_the_page_is_neither_kept_nor_given_out_whole(
    files: Files, upstream: UpstreamFiles, storage: Storage, offer: dict[str, Any], transfer: Transfer
) -> None:
    wanted = upstream.offer(CONTENT, **offer)
    upstream.answer(*[transfer] * fetching.ATTEMPTS)
    reader = files.get(wanted)
    assert isinstance(reader, ArrivingFile)

    with pytest.raises(Broken):
        deque(iter(reader.read, b""), maxlen=0)

    assert reader._position <= (wanted.size_bytes or 0) - LAST_PIECE_BYTES
    reader.close()
    assert not is_kept(files, wanted)
    assert list(storage.objects()) == []


@pytest.mark.parametrize("status", [404, 403, 500], ids=str)
def test_a_refusal_of_the_upstream_is_raised_before_the_response_begins(
    files: Files, upstream: UpstreamFiles, status: int
) -> None:
    upstream.answer(*[Transfer(status=status)] * fetching.ATTEMPTS_TO_BEGIN)
    reader = files.get(upstream.offer(CONTENT))
    assert isinstance(reader, ArrivingFile)

    with pytest.raises(UpstreamFailed) as refused:
        files.wait(reader)

    assert refused.value.upstream_status == status
    assert len(upstream.starts) == (fetching.ATTEMPTS_TO_BEGIN if status == 500 else 1)


def test_an_upstream_that_is_away_is_noticed_before_the_response_begins(
    files: Files, upstream: UpstreamFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "FIRST_PAUSE_SECONDS", 0.5)
    upstream.answer(*[Transfer(status=502)] * fetching.ATTEMPTS)
    reader = files.get(upstream.offer(CONTENT))
    assert isinstance(reader, ArrivingFile)

    with pytest.raises(UpstreamFailed):
        files.wait(reader)


def test_a_file_without_a_size_on_the_page_has_that_of_the_response(files: Files, upstream: UpstreamFiles) -> None:
    reader = files.get(upstream.offer(CONTENT, is_sized=False))
    assert isinstance(reader, ArrivingFile)

    assert files.wait(reader) == len(CONTENT)

    assert read(reader) == CONTENT


def arriving(files: Files, wanted: Wanted) -> ArrivingFile:
    reader = files.get(wanted)
    assert isinstance(reader, ArrivingFile)
    return reader


@pytest.fixture
def waiting(files: Files, upstream: UpstreamFiles) -> Iterator[list[ArrivingFile]]:
    """Readers of files that a hanging upstream was asked for, for which as many threads wait as may."""
    upstream.hold(0)
    readers = [arriving(files, upstream.offer(CONTENT[number:], f"demo-{number}.tar.gz")) for number in range(4)]
    with ThreadPoolExecutor(4) as threads:
        for reader in readers:
            threads.submit(files.wait, reader)
        eventually(lambda: files._waiting._value == 0 and len(upstream.starts) == 4)
        yield readers
        upstream.release()


@pytest.mark.usefixtures("waiting")
def test_while_half_of_the_threads_wait_and_nothing_arrives_further_files_are_refused(
    files: Files, upstream: UpstreamFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The status of their responses is decided, although none of the other threads waits for their first bytes."""
    monkeypatch.setattr("registry.domain.upstream.waiting.SILENCE_SECONDS", 0.2)

    for number in (4, 5):
        wanted = upstream.offer(CONTENT[number:], f"demo-{number}.tar.gz", is_sized=number == 4)
        with pytest.raises(UpstreamBusy):
            files.wait(arriving(files, wanted))


@pytest.mark.usefixtures("waiting")
def test_while_half_of_the_threads_wait_a_further_file_that_fails_is_refused_as_such(
    files: Files, upstream: UpstreamFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.domain.upstream.waiting.SILENCE_SECONDS", 60)
    upstream.answer(Transfer(status=404))

    with pytest.raises(UpstreamFailed) as refused:
        files.wait(arriving(files, upstream.offer(CONTENT[4:], "demo-4.tar.gz")))

    assert refused.value.upstream_status == 404


@pytest.mark.usefixtures("waiting")
def test_while_half_of_the_threads_wait_further_responses_begin_without_a_byte_if_other_files_arrive(
    files: Files, upstream: UpstreamFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.domain.upstream.waiting.SILENCE_SECONDS", 60)
    further = arriving(files, upstream.offer(CONTENT[4:], "demo-4.tar.gz"))
    other = upstream.offer(CONTENT[8:], "demo-8.tar.gz")
    upstream.hold(0, but=other)

    with ThreadPoolExecutor(1) as threads:
        began = threads.submit(files.wait, further)
        eventually(lambda: files._silence._ended._waiters)
        read(arriving(files, other))

        assert began.result(10) == len(CONTENT) - 4


@pytest.mark.usefixtures("waiting")
def test_while_half_of_the_threads_wait_a_file_that_another_process_has_kept_is_not_waited_for(
    files: Files, upstream: UpstreamFiles, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of it arrives from the upstream in this process."""
    monkeypatch.setattr("registry.domain.upstream.waiting.SILENCE_SECONDS", 60)
    wanted = upstream.offer(CONTENT[4:], "demo-4.tar.gz")
    other = storage.share(wanted.sha256)
    assert other is not None
    further = arriving(files, wanted)

    with ThreadPoolExecutor(1) as threads:
        began = threads.submit(files.wait, further)
        eventually(lambda: files._silence._ended._waiters)
        with closing(storage.stage()) as staged:
            staged.write(CONTENT[4:])
            cached.store(staged, storage, filename=wanted.filename, normalized_name="demo", now=utcnow())
        other.discard()

        assert began.result(10) == len(CONTENT) - 4
    assert read(further) == CONTENT[4:]


def test_a_file_that_waits_its_turn_for_too_long_is_refused_unless_other_files_arrive(
    files: Files, upstream: UpstreamFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.domain.upstream.files.BEGIN_SECONDS", 0.1)
    monkeypatch.setattr("registry.domain.upstream.waiting.SILENCE_SECONDS", 60)
    upstream.hold(0)
    reader = arriving(files, upstream.offer(CONTENT))

    with pytest.raises(UpstreamBusy):
        files.wait(reader)
    files._silence.end()
    assert files.wait(reader) == len(CONTENT)


@pytest.mark.parametrize("limit", ["MAX_FILE_SIZE", "metadata"])
def test_a_file_that_is_too_large_is_not_fetched(make: Make, upstream: UpstreamFiles, limit: str) -> None:
    if limit == "metadata":
        wanted = upstream.offer(bytes(17 << 20), "demo-1.0.tar.gz.metadata", is_sized=False)
        with pytest.raises(Broken):
            read(make().get(wanted))
    else:
        with pytest.raises(UpstreamFailed):
            make(largest_bytes=len(CONTENT) - 1).get(upstream.offer(CONTENT))

    assert db.session.scalars(select(CachedFile)).all() == []


def fill_disk(monkeypatch: pytest.MonkeyPatch, after_bytes: int) -> None:
    """Let the disk be full when a shared file has this size."""
    write = SharedFile.write

    def limited(self: SharedFile, data: bytes) -> int:
        if self.size_bytes + len(data) > after_bytes:
            real = self.file
            try:
                self.file = open("/dev/full", "wb", buffering=0)  # noqa: SIM115
                return write(self, data)
            finally:
                self.file.close()
                self.file = real
        return write(self, data)

    monkeypatch.setattr(SharedFile, "write", limited)


@pytest.mark.parametrize("after_bytes", [0, HALF], ids=["at once", "in the middle"])
def test_with_a_full_disk_files_are_served_but_not_kept(
    files: Files, upstream: UpstreamFiles, storage: Storage, monkeypatch: pytest.MonkeyPatch, after_bytes: int
) -> None:
    fill_disk(monkeypatch, after_bytes)
    wanted = upstream.offer(CONTENT)
    readers = [files.get(wanted) for _ in range(3)]

    with ThreadPoolExecutor(3) as clients:
        assert set(clients.map(read, readers)) == {CONTENT}

    assert not cached.is_cached(wanted.sha256)
    assert shared_files(storage) == []


def test_with_a_full_disk_other_content_is_not_given_out_whole(
    files: Files, upstream: UpstreamFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_disk(monkeypatch, HALF)

    with pytest.raises(Broken):
        read(files.get(upstream.offer(CONTENT, sends=CONTENT[:-1] + b"x")))


@pytest.mark.parametrize("cache_bytes", [0, len(CONTENT) - 1])
def test_a_file_larger_than_the_cache_is_served_but_not_kept(
    make: Make, upstream: UpstreamFiles, storage: Storage, cache_bytes: int
) -> None:
    files, wanted = make(cache_bytes=cache_bytes), upstream.offer(CONTENT)

    assert [read(files.get(wanted)) for _ in range(2)] == [CONTENT, CONTENT]

    assert upstream.starts == [0, 0]
    assert list(storage.objects()) == []


def test_a_reader_that_takes_nothing_of_a_file_that_is_not_kept_occupies_no_thread_forever(
    make: Make, upstream: UpstreamFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.domain.upstream.arrivals.READER_SECONDS", 0.1)
    files, content = make(cache_bytes=0), CONTENT * 6
    reader = files.get(upstream.offer(content))
    assert isinstance(reader, ArrivingFile)

    eventually(lambda: reader.has_more)
    eventually(lambda: not files._threads._running)

    with pytest.raises(Broken):
        read(reader)


class AwayStorage(LocalStorage):
    """A store that takes no objects at the moment."""

    def put(self, *_: object) -> None:
        raise Unavailable(Code.STORE_AWAY)


def test_while_the_store_is_away_files_are_served_but_not_kept(
    make: Make, upstream: UpstreamFiles, tmp_path: Path
) -> None:
    store = AwayStorage(tmp_path)
    wanted = upstream.offer(CONTENT)

    assert read(make(store=store).get(wanted)) == CONTENT

    eventually(lambda: shared_files(store) == [])
    assert not cached.is_cached(wanted.sha256)


def test_while_the_folder_cannot_be_written_files_are_served_but_not_kept(
    files: Files, upstream: UpstreamFiles, storage: Storage
) -> None:
    assert isinstance(storage, LocalStorage)
    incoming, wanted = storage.root / "incoming", upstream.offer(CONTENT)
    moved = incoming.rename(storage.root / "elsewhere")
    try:
        assert read(files.get(wanted)) == CONTENT
    finally:
        moved.rename(incoming)

    assert not cached.is_cached(wanted.sha256)


def test_a_file_that_none_waits_for_is_continued_by_the_next_request(
    files: Files, upstream: UpstreamFiles, storage: Storage
) -> None:
    content = CONTENT * (FINISHED_BYTES // len(CONTENT) + 1)
    upstream.hold(HALF)
    wanted = upstream.offer(content)
    reader = files.get(wanted)
    upstream.held.wait(10)
    reader.close()  # type: ignore[union-attr]
    upstream.release()
    eventually(lambda: not files._arrivals)
    assert len(shared_files(storage)) == 1

    assert read(files.get(wanted)) == content

    assert len(upstream.starts) == 2
    assert upstream.starts[1] >= HALF


@pytest.mark.parametrize("held_at", [HALF, FINISHED_BYTES // 2 + 2 * len(CONTENT)], ids=["small", "mostly there"])
def test_a_small_file_or_one_that_is_mostly_there_is_fetched_to_its_end(
    files: Files, upstream: UpstreamFiles, held_at: int
) -> None:
    content = CONTENT if held_at == HALF else CONTENT * (FINISHED_BYTES // len(CONTENT) + 2)
    upstream.hold(held_at)
    wanted = upstream.offer(content)
    reader = files.get(wanted)
    upstream.held.wait(10)
    reader.close()  # type: ignore[union-attr]
    upstream.release()

    eventually(lambda: cached.is_cached(wanted.sha256))


@pytest.mark.parametrize("cache_bytes", [1 << 30, 0], ids=["kept", "not kept"])
def test_a_file_is_fetched_from_its_beginning_if_the_upstream_sends_other_parts_than_it_is_asked_for(
    make: Make, upstream: UpstreamFiles, cache_bytes: int
) -> None:
    upstream.sends_wrong_parts = True
    upstream.answer(Transfer(ends_at=HALF))

    assert read(make(cache_bytes=cache_bytes).get(upstream.offer(CONTENT))) == CONTENT

    assert upstream.starts == [0, HALF, 0]


def test_the_file_of_a_killed_process_is_continued_after_a_restart(
    make: Make, upstream: UpstreamFiles, storage: Storage
) -> None:
    wanted = upstream.offer(CONTENT)
    killed = storage.share(wanted.sha256)
    assert killed is not None
    killed.write(CONTENT[:HALF])
    killed.close()  # as the operating system does
    storage.sweep()  # as a process does that starts

    assert read(make().get(wanted)) == CONTENT
    assert upstream.starts == [HALF]


def test_a_process_continues_the_file_of_one_that_was_killed(
    make: Make, upstream: UpstreamFiles, storage: Storage
) -> None:
    wanted = upstream.offer(CONTENT)
    killed = storage.share(wanted.sha256)
    assert killed is not None
    killed.write(CONTENT[:HALF])
    reader = make().get(wanted)
    assert isinstance(reader, ArrivingFile)
    first = reader.read(1000)

    killed.close()  # as the operating system does

    assert first + read(reader) == CONTENT
    assert upstream.starts == [HALF]


def test_a_process_continues_although_the_file_of_another_was_removed(
    make: Make, upstream: UpstreamFiles, storage: Storage
) -> None:
    wanted = upstream.offer(CONTENT)
    other = storage.share(wanted.sha256)
    assert other is not None
    other.write(CONTENT[:HALF])
    reader = make().get(wanted)
    assert isinstance(reader, ArrivingFile)
    first = reader.read(1000)
    eventually(lambda: reader._arrival.arrived_bytes == HALF)

    other.discard()

    assert first + read(reader) == CONTENT
    assert upstream.starts == [HALF]


def test_partial_files_are_removed_after_a_while(files: Files, upstream: UpstreamFiles, storage: Storage) -> None:
    assert isinstance(storage, LocalStorage)
    partial = storage.share(upstream.offer(CONTENT).sha256)
    assert partial is not None
    partial.write(b"some")
    partial.close()
    (path,) = (storage.root / "incoming").iterdir()

    assert storage.sweep_shared(time.time() - 600) == 0
    os.utime(path, (0, 0))
    assert storage.sweep_shared(time.time() - 600) == 1

    assert shared_files(storage) == []


def test_a_file_whose_object_is_missing_is_fetched_again(
    files: Files, upstream: UpstreamFiles, storage: Storage
) -> None:
    wanted = upstream.offer(CONTENT)
    read(files.get(wanted))
    eventually(lambda: cached.is_cached(wanted.sha256))
    storage.delete(object_key(wanted.sha256))

    assert read(files.refetch(wanted)) == CONTENT

    eventually(lambda: storage.exists(object_key(wanted.sha256)) and cached.is_cached(wanted.sha256))


def test_the_file_that_was_not_used_for_the_longest_time_makes_room(
    make: Make, upstream: UpstreamFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = make(cache_bytes=3 << 20)
    contents = [CONTENT, CONTENT[::-1], CONTENT[1:], CONTENT[2:]]
    offered = [upstream.offer(content, f"demo-{number}.0.tar.gz") for number, content in enumerate(contents)]
    for wanted in offered[:3]:
        read(files.get(wanted))
        eventually(lambda: cached.is_cached(wanted.sha256))  # noqa: B023
    files.note_use(Use(1, offered[0].sha256, offered[0].filename, "demo", None))

    files.tend()
    read(files.get(offered[3]))

    eventually(lambda: not cached.is_cached(offered[1].sha256))
    assert cached.is_cached(offered[0].sha256)


def test_fetched_bytes_are_counted(make: Make, upstream: UpstreamFiles) -> None:
    counted: list[int] = []

    read(make(count=counted.append).get(upstream.offer(CONTENT)))

    assert sum(counted) == len(CONTENT)


def test_files_are_kept_in_an_object_store(
    app: Flask, make: Make, upstream: UpstreamFiles, s3: S3Server, tmp_path: Path
) -> None:
    from registry.storage import open_storage

    store = open_storage(s3.address(), {**s3.settings, "INSTANCE_PATH": tmp_path})
    wanted = upstream.offer(CONTENT)

    assert read(make(store=store).get(wanted)) == CONTENT

    eventually(lambda: cached.is_cached(wanted.sha256))
    assert stored(store, wanted) == CONTENT
    assert read(make(store=store).fetch(wanted)) == CONTENT  # copied, as it is there
    assert upstream.starts == [0]


def test_the_drip_of_a_slow_upstream_is_not_waited_for(
    files: Files, upstream: UpstreamFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "SLOWEST_SECONDS", 0.05)
    monkeypatch.setattr(fetching, "SLOWEST_BYTES", len(CONTENT))
    monkeypatch.setattr(fetching, "TRANSFER_SECONDS", 0.2)
    upstream.pause_seconds = 0.03

    with pytest.raises(Broken):
        read(files.get(upstream.offer(CONTENT)))
