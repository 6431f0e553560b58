"""The store as a folder: temporary file, fsync, link into place, fsync of the folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import BinaryIO

from registry.errors import ConfigurationError
from registry.storage import ObjectMissing, StagedFile, StoredObject, checked_key
from registry.storage.staging import LocalStagedFile, Staging, full_disk_told

SYNCING_THREADS = 8


class LocalStorage:
    """Objects as files below one folder; keys cannot leave it. Staged files lie in the same file system.

    Nothing counts as kept before the disk has it: the bytes, then the name, and the names of the folders above it.
    """

    is_remote = False

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self._known_folders = frozenset({self.root})  # whose names the disk has
        self._threads = ThreadPoolExecutor(SYNCING_THREADS, "sync")  # started when they are needed
        try:
            self._staging = Staging(self.root / "incoming")
        except OSError as error:
            raise ConfigurationError(f"The package folder {self.root} cannot be made: {error.strerror}.") from error

    def stage(self) -> LocalStagedFile:
        return self._staging.stage()

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
            with full_disk_told():
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

    def open(self, key: str, start: int = 0) -> BinaryIO:
        try:
            file = self._path(key).open("rb")
        except FileNotFoundError as error:
            raise ObjectMissing(key) from error
        file.seek(start)
        return file

    def link(self, key: str) -> None:
        """Nobody but the registry reads its folder."""

    def exists(self, key: str) -> bool:
        return self._path(key).is_file()

    def delete(self, *keys: str) -> None:
        for key in keys:
            self._path(key).unlink(missing_ok=True)

    def objects(self) -> Iterator[StoredObject]:
        for folder, _, names in os.walk(self.root):
            if Path(folder) == self._staging.folder:
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
        return self._staging.sweep()

    def check(self) -> None:
        self._staging.check()

    def _path(self, key: str) -> Path:
        return self.root / checked_key(key)

    def _make_folder(self, folder: Path) -> None:
        """Make a folder and those above it, up to the store's own, as far as they are missing."""
        if folder.is_dir():
            return
        self._known_folders -= {folder}
        self._make_folder(folder.parent)
        folder.mkdir(exist_ok=True, mode=0o750)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
