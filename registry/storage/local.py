"""The store as a folder: temporary file, fsync, link into place, fsync of the folder."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

from registry.errors import ConfigurationError, Unavailable
from registry.storage import Digests, ObjectMissing, StagedFile, StorageFull, StoredObject

SYNCING_THREADS = 8

_KEY = re.compile(r"(?:[a-z0-9]+/)*[a-z0-9]+")
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class LocalStagedFile:
    """A temporary file in the store's own file system, locked while its process lives (see ``sweep``)."""

    def __init__(self, folder: Path) -> None:
        self._temporary = _locked_temporary(folder)
        self.file = cast(BinaryIO, self._temporary.file)
        self.path = Path(self._temporary.name)
        self.size_bytes = 0
        self._digests = Digests()

    @property
    def sha256(self) -> str:
        return self._digests.sha256

    @property
    def md5(self) -> str:
        return self._digests.md5

    @property
    def blake2b_256(self) -> str:
        return self._digests.blake2b_256

    def write(self, data: bytes) -> int:
        with _full_store_told():
            self.file.write(data)
        self._digests.update(data)
        self.size_bytes += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        with _full_store_told():
            return self.file.seek(offset, whence)

    def sync(self) -> None:
        with _full_store_told():
            self.file.flush()
            os.fsync(self.file.fileno())

    def close(self) -> None:
        with suppress(OSError):  # a full disk does not take what is still buffered; the file goes all the same
            self._temporary.close()


class LocalStorage:
    """Objects as files below one folder; keys cannot leave it.

    Nothing counts as kept before the disk has it: the bytes, then the name, and the names of the folders above it.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self._incoming = self.root / "incoming"
        self._known_folders = frozenset({self.root})  # whose names the disk has
        self._threads = ThreadPoolExecutor(SYNCING_THREADS, "sync")  # started when they are needed
        try:
            self._incoming.mkdir(parents=True, exist_ok=True, mode=0o750)
        except OSError as error:
            raise ConfigurationError(f"The package folder {self.root} cannot be made: {error.strerror}.") from error

    def stage(self) -> LocalStagedFile:
        return LocalStagedFile(self._incoming)

    def put(self, key: str, staged: StagedFile) -> None:
        self.put_all({key: staged})

    def put_all(self, contents: Mapping[str, StagedFile]) -> None:
        """What waits for the disk waits together: a disk takes little longer for many syncs at once than for one."""
        files: list[tuple[Path, LocalStagedFile]] = []
        for key, staged in contents.items():
            if not isinstance(staged, LocalStagedFile):
                raise TypeError("staged by another store")
            files.append((self._path(key), staged))
        self._at_once(file.sync for _, file in files)
        for path, file in files:
            with _full_store_told():
                self._link(file.path, path)
        folders = {folder for path, _ in files for folder in self._changed_folders(path)}
        self._at_once(partial(_sync_folder, folder) for folder in folders)
        if not folders <= self._known_folders:
            self._known_folders |= folders

    def _link(self, source: Path, path: Path) -> None:
        self._make_folder(path.parent)
        try:
            os.link(source, path)
        except FileExistsError:
            os.utime(path)  # as good as new: a cleanup under way leaves it alone

    def _changed_folders(self, path: Path) -> Iterator[Path]:
        """Those in which the disk may lack a name on the way to this path: its own, and that of each new folder.

        A folder that others made may be as new: this process takes none for known that it has not synced itself.
        """
        folder = path.parent
        yield folder
        while folder not in self._known_folders:
            folder = folder.parent
            yield folder

    def _at_once(self, actions: Iterable[Callable[[], None]]) -> None:
        """Do all of them; returns when every one is done, and raises what the first raised that failed."""
        first, *others = actions
        started = [self._threads.submit(action) for action in others]
        try:
            first()
        finally:
            wait(started)
        for done in started:
            done.result()

    def open(self, key: str) -> BinaryIO:
        try:
            return self._path(key).open("rb")
        except FileNotFoundError as error:
            raise ObjectMissing(key) from error

    def exists(self, key: str) -> bool:
        return self._path(key).is_file()

    def delete(self, key: str) -> None:
        self._path(key).unlink(missing_ok=True)

    def objects(self) -> Iterator[StoredObject]:
        for folder, _, names in os.walk(self.root):
            if Path(folder) == self._incoming:
                continue
            for name in names:
                path = Path(folder, name)
                with suppress(FileNotFoundError):  # removed meanwhile
                    status = path.stat()
                    yield StoredObject(
                        path.relative_to(self.root).as_posix(),
                        status.st_size,
                        datetime.fromtimestamp(status.st_mtime, UTC),
                    )

    def sweep(self) -> int:
        """A staged file whose lock is free belongs to nobody any more."""
        removed = 0
        for path in self._incoming.iterdir():
            with suppress(FileNotFoundError, BlockingIOError), path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
                removed += 1
        return removed

    def check(self) -> None:
        try:
            with tempfile.TemporaryFile(dir=self._incoming) as file:
                file.write(b"ok")
        except OSError as error:
            raise Unavailable(f"The package store cannot be written: {error.strerror}.") from error

    def _path(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise ObjectMissing(key)
        return self.root / key

    def _make_folder(self, folder: Path) -> None:
        """Make a folder and those above it, up to the store's own, as far as they are missing."""
        if folder.is_dir():
            return
        self._known_folders -= {folder}
        self._make_folder(folder.parent)
        folder.mkdir(exist_ok=True, mode=0o750)


def _locked_temporary(folder: Path) -> Any:
    while True:
        with _full_store_told():
            temporary = tempfile.NamedTemporaryFile(dir=folder, prefix="upload-")  # noqa: SIM115 - closed by its owner
        fcntl.flock(temporary, fcntl.LOCK_EX)
        if os.fstat(temporary.fileno()).st_nlink:
            return temporary
        # A sweep saw the file before it was locked, and removed it.
        with suppress(FileNotFoundError):
            temporary.close()


@contextmanager
def _full_store_told() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise StorageFull("The package store is full.") from error
        raise


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
