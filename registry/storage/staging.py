"""Staging of files on a local disk before they are stored; temporary files are locked while their process runs."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

from registry.errors import Code, Unavailable, is_disk_full
from registry.storage import Digests, StorageFull


class LocalStagedFile:
    """A temporary file in a staging folder, removed when it is closed."""

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
        with detecting_full_disk():
            self.file.write(data)
        self._digests.update(data)
        self.size_bytes += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        with detecting_full_disk():
            return self.file.seek(offset, whence)

    def sync(self) -> None:
        with detecting_full_disk():
            self.file.flush()
            os.fsync(self.file.fileno())

    def close(self) -> None:
        with suppress(OSError):  # a full disk cannot take the buffered data, but the file is removed anyway
            self._temporary.close()


class Staging:
    """A folder of staged files.

    :raises OSError: the folder cannot be created.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o750)

    def stage(self) -> LocalStagedFile:
        """Create an empty staged file.

        :raises StorageFull: the disk is full.
        """
        return LocalStagedFile(self.folder)

    def sweep(self) -> int:
        """Remove the files of terminated processes, which are no longer locked, and return their number."""
        removed = 0
        for path in self.folder.iterdir():
            with suppress(FileNotFoundError, BlockingIOError), path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
                removed += 1
        return removed

    def check(self) -> None:
        """Check that the folder is writable.

        :raises Unavailable: the folder is not writable.
        """
        try:
            with tempfile.TemporaryFile(dir=self.folder) as file:
                file.write(b"ok")
        except OSError as error:
            raise Unavailable(Code.STORE_NOT_WRITABLE, cause=error.strerror) from error


@contextmanager
def detecting_full_disk() -> Iterator[None]:
    """Turn the ``OSError`` of a full disk into ``StorageFull``.

    :raises StorageFull: the disk is full.
    """
    try:
        yield
    except OSError as error:
        if is_disk_full(error):
            raise StorageFull(Code.STORE_FULL) from error
        raise


def _locked_temporary(folder: Path) -> Any:
    while True:
        with detecting_full_disk():
            temporary = tempfile.NamedTemporaryFile(dir=folder, prefix="upload-")  # noqa: SIM115 - closed by its owner
        fcntl.flock(temporary, fcntl.LOCK_EX)
        if os.fstat(temporary.fileno()).st_nlink:
            return temporary
        # A concurrent sweep removed the file before it was locked.
        with suppress(FileNotFoundError):
            temporary.close()
