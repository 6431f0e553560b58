"""Staging of files on a local disk before they are stored.

Staged files have no name where the platform allows it, and end with their process. Elsewhere, they have one, and are
locked while their process runs.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, cast

from registry.errors import Code, Unavailable, is_disk_full
from registry.storage import BackgroundDigest, Digests, StorageFull

_SHARED = "shared-"  # begins the names of shared files

logger = logging.getLogger(__name__)


class LocalStagedFile:
    """A temporary file in a staging folder, removed when it is closed or not referred to any more.

    :param file: with or without a name.
    :param path: by which the file can be linked.
    """

    def __init__(self, file: BinaryIO, path: str) -> None:
        self.file, self.path = file, path
        self.size_bytes = 0
        self.filename = ""
        self._digests = Digests()

    def __del__(self) -> None:
        if hasattr(self, "file"):  # false if it could not be opened
            self.close()

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
        with refusing_failures():
            self.file.write(data)
        self._digests.update(data)
        self.size_bytes += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        with refusing_failures():
            return self.file.seek(offset, whence)

    def sync(self) -> None:
        with refusing_failures():
            self.file.flush()
            os.fsync(self.file.fileno())

    def link_to(self, path: str) -> None:
        """Give the file a further name.

        :raises FileExistsError: another file has this name.
        """
        os.link(self.path, path)

    def close(self) -> None:
        with suppress(OSError):  # a full disk cannot take the buffered data, but the file is removed anyway
            self.file.close()


class UnnamedFile(LocalStagedFile):
    """A staged file without a name (open(2), ``O_TMPFILE``).

    :raises AttributeError: the platform has no such files.
    :raises OSError: the file system has none, or is full.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        descriptor = self._opened()
        file = open(descriptor, "w+b")  # noqa: SIM115 - closed by its owner
        super().__init__(file, f"/proc/self/fd/{descriptor}")

    def link_to(self, path: str) -> None:
        try:
            self._link(path)
        except FileNotFoundError:  # it had a name that was removed, after which it cannot get another
            self._renew()
            self._link(path)

    def _link(self, path: str) -> None:
        # With a folder to start from, which an absolute path does not need, Python follows the symbolic link.
        os.link(self.path, path, src_dir_fd=self.file.fileno())

    def _renew(self) -> None:
        """Continue with a copy of the file, which is synced to disk."""
        descriptor, copy = self.file.fileno(), self._opened()
        try:
            copied = 0
            while copied < self.size_bytes:
                copied += os.sendfile(copy, descriptor, copied, self.size_bytes - copied)
            os.fsync(copy)
            os.lseek(copy, os.lseek(descriptor, 0, os.SEEK_CUR), os.SEEK_SET)
            os.dup2(copy, descriptor, inheritable=False)
        finally:
            os.close(copy)

    def _opened(self) -> int:
        return os.open(self._folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)


class SharedFile(LocalStagedFile):
    """A staged file that other threads and processes can read while it is written. It is locked for its only writer.

    Without ``discard`` it is left as it is when it is closed, and the next writer continues it.

    :param file: without a buffer, so that others see everything that is written; locked.
    """

    def __init__(self, file: BinaryIO, path: str) -> None:
        super().__init__(file, path)
        self._sha256 = BackgroundDigest()
        self._read_existing()

    def _read_existing(self) -> None:
        while data := self.file.read(1 << 20):
            self._sha256.update(data)
            self.size_bytes += len(data)

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()

    @property
    def md5(self) -> str:
        return self._digest("md5")

    @property
    def blake2b_256(self) -> str:
        return self._digest(lambda: hashlib.blake2b(digest_size=32))

    def _digest(self, kind: Any) -> str:
        with open(self.path, "rb") as file:
            return hashlib.file_digest(file, kind).hexdigest()

    def write(self, data: bytes) -> int:
        rest = memoryview(data)
        while rest:
            with refusing_failures():
                count = self.file.write(rest)
            self._sha256.update(data if count == len(data) else bytes(rest[:count]))
            self.size_bytes += count
            rest = rest[count:]
        return len(data)

    def discard(self) -> None:
        """Remove and close the file; those who have opened it can still read it."""
        with suppress(FileNotFoundError):
            os.unlink(self.path)
        self.close()


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
        with refusing_failures():
            return UnnamedFile(self.folder) if self._has_unnamed_files else _locked_file(self.folder)

    def share(self, sha256: str) -> SharedFile | None:
        """Open the shared file for content with this digest, for writing at its end; ``None`` while another writes it.

        :raises StorageFull: the disk is full.
        """
        path = self._shared_path(sha256)
        while True:
            with refusing_failures():
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            file = open(descriptor, "r+b", buffering=0)  # noqa: SIM115 - closed by its owner
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(descriptor), path.stat()):
                    return SharedFile(cast(BinaryIO, file), str(path))
            except BlockingIOError:
                file.close()
                return None
            except FileNotFoundError:
                pass
            file.close()  # it was removed, or became an object, before it was locked

    def read_shared(self, sha256: str) -> int | None:
        """Return a new descriptor of the shared file for this content, for reading; ``None`` if there is none."""
        try:
            return os.open(self._shared_path(sha256), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None

    def sweep_shared(self, unused_since: float) -> int:
        """Remove shared files that none has written since this time, and return their number."""
        return self._sweep(lambda path: _is_shared(path) and path.stat().st_mtime < unused_since)

    def _shared_path(self, sha256: str) -> Path:
        return self.folder / f"{_SHARED}{sha256}"

    @cached_property
    def _has_unnamed_files(self) -> bool:
        """Whether files without a name can be created here, and be given one."""
        path = self.folder / f"upload-{secrets.token_hex(8)}"
        try:
            file = UnnamedFile(self.folder)
        except (AttributeError, OSError):
            return False
        try:
            file.link_to(str(path))
        except OSError:
            return False
        finally:
            file.close()
            path.unlink(missing_ok=True)
        return True

    def sweep(self) -> int:
        """Remove the files of terminated processes, which are no longer locked, and return their number.

        Shared files can be continued, and are left to ``sweep_shared``, unless the machine was started again: what was
        not synced is missing in them then.
        """
        started_at = time.time() - time.monotonic()
        return self._sweep(lambda path: not _is_shared(path) or path.stat().st_mtime < started_at)

    def _sweep(self, is_removable: Callable[[Path], bool]) -> int:
        removed = 0
        for path in self.folder.iterdir():
            with suppress(FileNotFoundError, BlockingIOError), path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # The path can be that of another file by now, whose writer has the lock on it.
                if is_removable(path) and os.path.samestat(os.fstat(file.fileno()), path.stat()):
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


class StagingStore:
    """What all stores have in common (``Storage``): the files that they receive on a local disk."""

    _staging: Staging

    def stage(self) -> LocalStagedFile:
        return self._staging.stage()

    def share(self, sha256: str) -> SharedFile | None:
        return self._staging.share(sha256)

    def read_shared(self, sha256: str) -> int | None:
        return self._staging.read_shared(sha256)

    def sweep_shared(self, unused_since: float) -> int:
        return self._staging.sweep_shared(unused_since)

    def sweep(self) -> int:
        return self._staging.sweep()


def _is_shared(path: Path) -> bool:
    return path.name.startswith(_SHARED)


@contextmanager
def refusing_failures() -> Iterator[None]:
    """Turn what the system answers to a write into a refusal.

    :raises StorageFull: the disk is full.
    :raises Unavailable: it cannot be written, such as a folder that was moved or mounted read-only.
    """
    try:
        yield
    except OSError as error:
        if is_disk_full(error):
            raise StorageFull(Code.STORE_FULL) from error
        logger.error("The package store cannot be written: %s.", error)
        raise Unavailable(Code.STORE_NOT_WRITABLE, cause=error.strerror) from error


def _locked_file(folder: Path) -> LocalStagedFile:
    temporary = locked_temporary(folder, "upload-")
    return LocalStagedFile(cast(BinaryIO, temporary), temporary.name)


def locked_temporary(folder: Path, prefix: str) -> Any:
    """Create a file that is removed when it is closed, and locked until then."""
    while True:
        temporary = tempfile.NamedTemporaryFile(dir=folder, prefix=prefix)  # noqa: SIM115 - closed by its owner
        fcntl.flock(temporary, fcntl.LOCK_EX)
        if os.fstat(temporary.fileno()).st_nlink:
            return temporary
        # A concurrent sweep removed the file before it was locked.
        with suppress(FileNotFoundError):
            temporary.close()
