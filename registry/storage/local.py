"""Storage in a local folder: temporary file, fsync, link into place, fsync of the folder."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Lock
from typing import BinaryIO

from registry.errors import ConfigurationError
from registry.storage import ObjectMissing, StagedFile, StoredObject, checked_key
from registry.storage.staging import LocalStagedFile, Staging, StagingStore, refusing_failures

SYNCING_THREADS = 8


class LocalStorage(StagingStore):
    """Objects as files below one folder, which keys cannot leave. Staged files are in the same file system.

    An object is stored once its content, its name, and the names of the folders above it are synced to disk.
    """

    is_remote = False

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self._root = str(self.root)
        self._known_folders = frozenset({self._root})  # whose names are synced to disk
        self._lock = Lock()
        self._threads = ThreadPoolExecutor(SYNCING_THREADS, "sync")  # threads start on demand
        try:
            self._staging = Staging(self.root / "incoming")
        except OSError as error:
            raise ConfigurationError(f"The package folder {self.root} cannot be created: {error.strerror}.") from error

    def put(self, key: str, staged: StagedFile) -> None:
        self.put_all({key: staged})

    def put_all(self, contents: Mapping[str, StagedFile]) -> None:
        """Store several files in parallel, which takes little longer than storing one."""
        files: list[tuple[str, LocalStagedFile]] = []
        for key, staged in contents.items():
            if not isinstance(staged, LocalStagedFile):
                raise TypeError("staged by another store")
            files.append((self._path(key), staged))
        self._in_parallel(partial(self._put, path, file) for path, file in files)

    def _put(self, path: str, file: LocalStagedFile) -> None:
        file.sync()
        with refusing_failures():
            self._link(file, path)
            folders = set(self._changed_folders(path))
            for folder in folders:
                _sync_folder(folder)
        with self._lock:
            self._known_folders |= folders

    def _link(self, file: LocalStagedFile, path: str) -> None:
        self._make_folder(_folder_of(path))
        try:
            file.link_to(path)
        except FileExistsError:
            os.utime(path)  # renewed, so that a running cleanup does not remove it

    def _changed_folders(self, path: str) -> Iterator[str]:
        """Yield the folders to sync for a new file: its own folder, and the parent of each new folder.

        Folders created by other processes count as new, too, until this process has synced them.
        """
        folder = _folder_of(path)
        yield folder
        while folder not in self._known_folders:
            folder = _folder_of(folder)
            yield folder

    def _in_parallel(self, actions: Iterable[Callable[[], None]]) -> None:
        """Run all actions, wait for all of them, and raise the first exception, if any."""
        first, *others = actions
        started = [self._threads.submit(action) for action in others]
        try:
            first()
        finally:
            failures = [action.exception() for action in started]
        for failure in filter(None, failures):
            raise failure

    def open(self, key: str, start: int = 0) -> BinaryIO:
        try:
            file = open(self._path(key), "rb")  # noqa: SIM115 - closed by its reader
        except FileNotFoundError as error:
            raise ObjectMissing(key) from error
        file.seek(start)
        return file

    def link(self, key: str) -> None:
        """Return ``None``, as only the registry can read its folder."""

    def exists(self, key: str) -> bool:
        return os.path.isfile(self._path(key))

    def delete(self, *keys: str) -> None:
        for key in keys:
            with suppress(FileNotFoundError):
                os.unlink(self._path(key))

    def objects(self) -> Iterator[StoredObject]:
        for folder, _, names in os.walk(self.root):
            if Path(folder) == self._staging.folder:
                continue
            for name in names:
                path = Path(folder, name)
                with suppress(FileNotFoundError):  # removed in the meantime
                    status = path.stat()
                    yield StoredObject(
                        path.relative_to(self.root).as_posix(),
                        status.st_size,
                        datetime.fromtimestamp(status.st_mtime, UTC),
                    )

    def check(self) -> None:
        self._staging.check()

    def _path(self, key: str) -> str:
        # As text: ``pathlib`` takes longer to make a path than the system to find the file.
        return f"{self._root}/{checked_key(key)}"

    def _make_folder(self, folder: str) -> None:
        """Create a folder and its missing parents within the store.

        :raises FileNotFoundError: the store's own folder is gone, in whose place there must be no empty one.
        """
        if os.path.isdir(folder):
            return
        if folder == self._root:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), folder)
        with self._lock:
            self._known_folders -= {folder}
        self._make_folder(_folder_of(folder))
        with suppress(FileExistsError):  # created in the meantime
            os.mkdir(folder, 0o750)


def _folder_of(path: str) -> str:
    return path.rpartition("/")[0]


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
