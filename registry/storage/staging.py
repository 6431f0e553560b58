"""Files on their way into a store, on a disk of this machine: temporary, locked while their process lives."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

from registry.errors import Unavailable, is_for_lack_of_room
from registry.storage import Digests, StorageFull


class LocalStagedFile:
    """A temporary file in a staging folder, gone when it is closed."""

    def __init__(self, folder: Path) -> None:
        self._temporary = _locked_temporary(folder)
        self.file = cast(BinaryIO, self._temporary.file)
        self.path = Path(self._temporary.name)
        self.size_bytes = 0
        self.filename = ""
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
        with full_disk_told():
            self.file.write(data)
        self._digests.update(data)
        self.size_bytes += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        with full_disk_told():
            return self.file.seek(offset, whence)

    def sync(self) -> None:
        with full_disk_told():
            self.file.flush()
            os.fsync(self.file.fileno())

    def close(self) -> None:
        with suppress(OSError):  # a full disk does not take what is still buffered; the file goes all the same
            self._temporary.close()


class Staging:
    """A folder of staged files.

    :raises OSError: it cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o750)

    def stage(self) -> LocalStagedFile:
        """:raises StorageFull:"""
        return LocalStagedFile(self.folder)

    def sweep(self) -> int:
        """Remove the files whose lock is free: they belong to nobody any more."""
        removed = 0
        for path in self.folder.iterdir():
            with suppress(FileNotFoundError, BlockingIOError), path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
                removed += 1
        return removed

    def check(self) -> None:
        """:raises Unavailable: the folder cannot be written."""
        try:
            with tempfile.TemporaryFile(dir=self.folder) as file:
                file.write(b"ok")
        except OSError as error:
            raise Unavailable(f"The package store cannot be written: {error.strerror}.") from error


@contextmanager
def full_disk_told() -> Iterator[None]:
    """:raises StorageFull: the block found no room on the disk."""
    try:
        yield
    except OSError as error:
        if is_for_lack_of_room(error):
            raise StorageFull("The package store is full.") from error
        raise


def _locked_temporary(folder: Path) -> Any:
    while True:
        with full_disk_told():
            temporary = tempfile.NamedTemporaryFile(dir=folder, prefix="upload-")  # noqa: SIM115 - closed by its owner
        fcntl.flock(temporary, fcntl.LOCK_EX)
        if os.fstat(temporary.fileno()).st_nlink:
            return temporary
        # A sweep saw the file before it was locked, and removed it.
        with suppress(FileNotFoundError):
            temporary.close()
