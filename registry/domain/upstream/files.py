"""Files of the upstream: given out from the store, and fetched into it when they are first asked for.

A file is fetched once however many clients of this machine ask for it: the thread that has the lock on the shared
staged file writes it, and threads of other processes follow. If the writer's process ends, one of them continues. Of
several machines with one store, each fetches a file at most once.

A file that cannot be kept, because the disk is full or the cache too small, is fetched for each of its readers.
"""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from threading import BoundedSemaphore, Lock, Thread

from sqlalchemy.exc import SQLAlchemyError

from registry.database import db, utcnow
from registry.domain.upstream import cached, uses
from registry.domain.upstream.arrivals import BLOCK_BYTES, Arrival, ArrivingFile, Broken, Detour, Part, Wanted
from registry.domain.upstream.cached import Totals
from registry.domain.upstream.fetching import Contradiction, Fetch
from registry.domain.upstream.protocol import Index
from registry.domain.upstream.uses import Use
from registry.domain.upstream.waiting import SILENCE_SECONDS, Silence
from registry.errors import Unavailable, UpstreamBusy, UpstreamFailed
from registry.storage import ObjectMissing, SharedStagedFile, Storage, object_key

THREADS = 16  # of a process, which fetch files or follow other processes that do
MOST_WAITING = 256
BEGIN_SECONDS = 6  # of a request, so that a failure can be its status, also if nothing answers two attempts
SIZE_SECONDS = 20  # of a request for a file whose size the page does not state
POLL_SECONDS = 0.02  # between looks at what another process has written
METADATA_BYTES = 16 << 20  # most of a core metadata document
FINISHED_BYTES = 16 << 20  # a file that is not larger is fetched to its end, also if no client waits any more
ABANDONED_SECONDS = 600  # a partial file is kept for so long, to be continued

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Kept:
    """A file that is in the store."""

    wanted: Wanted
    size_bytes: int


class Files:
    """The files of the upstream in one process; thread-safe.

    :param context: makes the database available to a thread of its own.
    :param cache_bytes: most that is kept; 0 keeps nothing.
    :param largest_bytes: of a file; 0 for no limit.
    :param request_threads: number of threads that answer requests, of which at most half wait for the upstream.
    :param count: called with the number of bytes of each block that is fetched.
    """

    def __init__(
        self, index: Index, storage: Storage, *, context: Callable[[], AbstractContextManager[object]],
        cache_bytes: int, largest_bytes: int, request_threads: int, count: Callable[[int], None],
    ) -> None:  # fmt: skip
        self._index, self._storage, self._context, self._counted = index, storage, context, count
        self.cache_bytes, self._largest_bytes = cache_bytes, largest_bytes
        self._waiting = BoundedSemaphore(max(1, request_threads // 2))
        self._waiting_since = -math.inf  # the latest of those that wait
        self._silence = Silence()
        self._arrivals: dict[str, Arrival] = {}
        self._lock = Lock()
        self._threads = _Threads(THREADS, MOST_WAITING)
        self._uses: dict[int, Use] = {}  # by identity, as a response that is repeated has the same one
        self._unchecked_bytes = 0

    def get(self, wanted: Wanted) -> Kept | ArrivingFile:
        """Return a file that is in the store, or a reader of one that arrives.

        :raises UpstreamFailed: the file is too large.
        :raises UpstreamBusy: too many files are being fetched.
        """
        return self.kept(wanted) or self.fetch(wanted)

    def kept(self, wanted: Wanted) -> Kept | None:
        size_bytes = cached.size_of(wanted.sha256)
        return None if size_bytes is None else Kept(wanted, size_bytes)

    def is_kept_soon(self, wanted: Wanted) -> bool:
        """Wait until a file that has arrived is stored, and return whether it could be."""
        while wanted.sha256 in self._arrivals:
            time.sleep(POLL_SECONDS)
        db.session.rollback()  # a transaction that began before does not see the row
        return self.kept(wanted) is not None

    def fetch(self, wanted: Wanted) -> ArrivingFile:
        """Let a file arrive that is not in the store.

        :raises UpstreamFailed: the file is too large.
        :raises UpstreamBusy: too many files are being fetched.
        """
        if (wanted.size_bytes or 0) > self._most_bytes(wanted):
            raise UpstreamFailed().explained(
                "File too large", f"{wanted.filename} is larger than this registry accepts."
            )
        with self._lock:
            arrival = self._arrivals.get(wanted.sha256)
            if arrival is None:
                arrival = Arrival(wanted, self._receive_rest)
                task = self._receive if self._is_kept(wanted) else self._divert
                if not self._threads.run(lambda: task(arrival)):
                    raise UpstreamBusy
                self._arrivals[wanted.sha256] = arrival
            return arrival.open()

    def refetch(self, wanted: Wanted) -> ArrivingFile:
        """Let a file arrive whose object is missing, although there is a row."""
        cached.remove([wanted.sha256], self._storage)
        return self.fetch(wanted)

    def wait(self, reader: ArrivingFile) -> int:
        """Wait until a response can begin, and return its size.

        :raises UpstreamFailed: the file does not arrive.
        :raises UpstreamBusy: the upstream sends nothing, or the size is not known within some seconds.
        """
        can_begin = self._can_begin(reader)
        failure = reader.failure
        if isinstance(failure, UpstreamBusy):
            raise UpstreamBusy from failure
        if failure is not None:
            raise UpstreamFailed(getattr(failure, "upstream_status", None)) from failure
        if reader.size_bytes is None or not can_begin:
            raise UpstreamBusy
        return reader.size_bytes

    def _can_begin(self, reader: ArrivingFile) -> bool:
        """Wait for the first bytes for a while, so that the status can be that of a failure; half of the threads do.

        The others wait until the upstream sends anything, and for the size. Without bytes, a response begins only while
        those of other files arrive: it waits its turn.
        """
        if not self._waiting.acquire(blocking=False):
            if reader.wait(0, until_begun=True):
                return True
            goes_on = self._silence.ends(self._waiting_since, lambda: reader.wait(0, until_begun=True))
            return goes_on and reader.wait(SILENCE_SECONDS, until_begun=False)
        self._waiting_since = time.monotonic()
        try:
            has_begun = reader.wait(BEGIN_SECONDS, until_begun=True)
            reader.wait(SIZE_SECONDS, until_begun=False)
        finally:
            self._waiting.release()
        return has_begun or self._silence.is_short

    def _count(self, size_bytes: int) -> None:
        self._silence.end()
        self._counted(size_bytes)

    def note_use(self, use: Use) -> None:
        """Note that a file was used; written down by ``tend``."""
        self._uses[id(use)] = use

    def tend(self) -> Totals:
        """Write down uses and forget old ones, make room, and remove partial files that none continues.

        :return: what made room.
        """
        self._write_uses()
        uses.forget_old(utcnow().date())
        removed = cached.make_room(self._storage, self.cache_bytes)
        self._storage.sweep_shared(time.time() - ABANDONED_SECONDS)
        return removed

    def _write_uses(self) -> None:
        noted, now = list({self._uses.popitem()[1] for _ in range(len(self._uses))}), utcnow()
        for start in range(0, len(noted), uses.BATCH):
            uses.note(noted[start : start + uses.BATCH], now.date())
        used = sorted({use.sha256 for use in noted})
        for start in range(0, len(used), cached.BATCH):
            cached.note_uses(used[start : start + cached.BATCH], now)

    def _most_bytes(self, wanted: Wanted) -> float:
        is_document = wanted.filename.endswith(cached.METADATA_SUFFIX)
        return METADATA_BYTES if is_document else self._largest_bytes or math.inf

    def _is_kept(self, wanted: Wanted) -> bool:
        return 0 < self.cache_bytes >= (wanted.size_bytes or 0)

    def _receive(self, arrival: Arrival) -> None:
        """Write the file, or follow the process that does."""
        try:
            self._receive_or_follow(arrival)
        except Unavailable as error:
            logger.warning("%s of the upstream is not kept: %s", arrival.wanted.filename, error)
            self._divert(arrival)
        except (UpstreamFailed, Broken) as error:
            self._fail(arrival, error)
        except Exception as error:
            logger.exception("%s could not be fetched from the upstream.", arrival.wanted.filename)
            self._fail(arrival, error)
        finally:
            self._forget(arrival)

    def _divert(self, arrival: Arrival) -> None:
        """Have each reader fetch the rest of a file that is not kept."""
        self._forget(arrival)
        arrival.divert()
        self._silence.wake()

    def _fail(self, arrival: Arrival, error: Exception) -> None:
        self._forget(arrival)
        arrival.fail(error)
        self._silence.wake()

    def _forget(self, arrival: Arrival) -> None:
        """Have the next request begin anew."""
        with self._lock:
            if self._arrivals.get(arrival.wanted.sha256) is arrival:
                del self._arrivals[arrival.wanted.sha256]

    def _receive_or_follow(self, arrival: Arrival) -> None:
        follower = _Follower(arrival, self._silence)
        while True:
            file = self._storage.share(arrival.wanted.sha256)
            if file is not None:
                try:
                    self._write(arrival, file, follower)
                finally:
                    file.close()
                return
            if arrival.part is None:
                arrival.part = self._part(arrival.wanted)
            if follower.has_all():
                return
            self._refuse_abandoned(arrival)
            time.sleep(POLL_SECONDS)

    def _write(self, arrival: Arrival, file: SharedStagedFile, follower: _Follower) -> None:
        """Complete the file, then keep it."""
        wanted = arrival.wanted
        try:
            follower.copy_to(file)
            arrival.part = self._part(wanted)
            arrival.advance(file.size_bytes)
            self._copy_kept(wanted, file)
            if file.sha256 != wanted.sha256:
                fetch = Fetch(self._index, wanted, self._most_bytes(wanted), self._count)
                fetch.run(_ToFile(file, arrival, self._refuse_abandoned))
        except (Unavailable, Contradiction):
            file.discard()
            raise
        if file.sha256 != wanted.sha256:
            file.discard()
            raise _different(wanted)
        arrival.succeed(file.size_bytes)
        self._silence.wake()  # also if another process has received it
        self._keep(wanted, file)

    def _part(self, wanted: Wanted) -> Part | None:
        descriptor = self._storage.read_shared(wanted.sha256)
        return None if descriptor is None else Part(descriptor)

    def _copy_kept(self, wanted: Wanted, file: SharedStagedFile) -> None:
        """Copy the file from the store if another process has kept it after this one looked."""
        with self._context():
            is_kept = cached.is_cached(wanted.sha256)
        if is_kept:
            with suppress(ObjectMissing), self._storage.open(object_key(wanted.sha256), file.size_bytes) as source:
                while data := source.read(BLOCK_BYTES):
                    file.write(data)

    def _keep(self, wanted: Wanted, file: SharedStagedFile) -> None:
        file.filename = wanted.filename
        try:
            with self._context():
                cached.store(
                    file, self._storage, filename=wanted.filename, normalized_name=wanted.normalized_name, now=utcnow(),
                    uploaded_at=wanted.uploaded_at,
                )  # fmt: skip
                self._limit(file.size_bytes)
        except (Unavailable, SQLAlchemyError, OSError) as error:
            logger.warning("%s of the upstream is not kept: %s", wanted.filename, error)
        finally:
            file.discard()

    def _limit(self, size_bytes: int) -> None:
        """Make room now and then, as a minute is long for a fast connection."""
        self._unchecked_bytes += size_bytes
        if self._unchecked_bytes > self.cache_bytes // 64:
            self._unchecked_bytes = 0
            cached.make_room(self._storage, self.cache_bytes)

    def _refuse_abandoned(self, arrival: Arrival) -> None:
        """Stop if no client waits for a file, unless it is small, or more than half of it has arrived.

        :raises Broken: the next request continues it.
        """
        if arrival.is_read or arrival.size_bytes is None:
            return
        if arrival.size_bytes <= FINISHED_BYTES or arrival.arrived_bytes * 2 >= arrival.size_bytes:
            return
        with self._lock:
            if arrival.is_read:
                return
            self._arrivals.pop(arrival.wanted.sha256, None)
        raise Broken("no client waits for the file")

    def _receive_rest(self, detour: Detour) -> None:
        if not self._threads.run(lambda: self._fetch_rest(detour)):
            detour.fail(UpstreamBusy())

    def _fetch_rest(self, detour: Detour) -> None:
        wanted = detour.wanted
        try:
            sink = _ToReader(detour)
            Fetch(self._index, wanted, self._most_bytes(wanted), self._count).run(sink)
            if sink.sha256 != wanted.sha256:
                raise _different(wanted)
            detour.succeed(sink.size_bytes)
        except (UpstreamFailed, OSError) as error:
            detour.fail(error)
        except Exception as error:
            logger.exception("%s could not be fetched from the upstream.", wanted.filename)
            detour.fail(error)
        finally:
            self._silence.wake()


def _different(wanted: Wanted) -> UpstreamFailed:
    logger.error("%s of the upstream has another digest than on its page.", wanted.filename)
    return Contradiction()


class _ToFile:
    """Writes a fetched file to disk, where its readers find it."""

    def __init__(self, file: SharedStagedFile, arrival: Arrival, check: Callable[[Arrival], None]) -> None:
        self._file, self._arrival, self._check = file, arrival, check

    @property
    def size_bytes(self) -> int:
        return self._file.size_bytes

    def write(self, data: bytes, total_bytes: int | None) -> None:
        self._file.write(data)
        self._arrival.advance(self._file.size_bytes, total_bytes)
        self._check(self._arrival)


class _ToReader:
    """Passes a fetched file on to one reader."""

    def __init__(self, detour: Detour) -> None:
        self._detour, self._digest = detour, detour.digest()

    @property
    def size_bytes(self) -> int:
        return self._detour.arrived_bytes

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def write(self, data: bytes, total_bytes: int | None) -> None:
        self._digest.update(data)
        self._detour.put(data, total_bytes)


class _Follower:
    """Reads what another process writes, and computes its digest."""

    def __init__(self, arrival: Arrival, silence: Silence) -> None:
        self._arrival, self._silence = arrival, silence
        self._digest, self._read_bytes = hashlib.sha256(), 0

    def has_all(self) -> bool:
        """Read on, and return whether everything has arrived."""
        arrival = self._arrival
        if arrival.part is None:
            return False
        while data := arrival.part.read(BLOCK_BYTES, self._read_bytes):
            self._digest.update(data)
            self._read_bytes += len(data)
            self._silence.end()
            arrival.advance(self._read_bytes)
        if self._digest.hexdigest() != arrival.wanted.sha256:
            return False
        arrival.succeed(self._read_bytes)
        return True

    def copy_to(self, file: SharedStagedFile) -> None:
        """Write the bytes that were read to this file if the file that they came from was removed."""
        while self._arrival.part is not None and file.size_bytes < self._read_bytes:
            count = min(BLOCK_BYTES, self._read_bytes - file.size_bytes)
            file.write(self._arrival.part.read(count, file.size_bytes))


class _Threads:
    """Runs tasks in a bounded number of threads, which do not keep the process from ending."""

    def __init__(self, count: int, most_waiting: int) -> None:
        self._count, self._most_waiting = count, most_waiting
        self._tasks: deque[Callable[[], None]] = deque()
        self._running = 0
        self._lock = Lock()

    def run(self, task: Callable[[], None]) -> bool:
        """Run a task in another thread; return false, without an effect, if too many are waiting."""
        with self._lock:
            if len(self._tasks) >= self._most_waiting:
                return False
            self._tasks.append(task)
            if self._running < self._count:
                self._running += 1
                Thread(target=self._work, name="upstream", daemon=True).start()
        return True

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._tasks:
                    self._running -= 1
                    return
                task = self._tasks.popleft()
            task()
