"""Files that appear under their names when they are complete."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from registry.errors import OperatorError


@contextmanager
def new_file(path: Path, refusal: type[OperatorError], mode: int = 0o600) -> Iterator[BinaryIO]:
    """Create a file that appears under its name only if the block succeeds, synced to disk; a failure leaves no file.

    :param refusal: the class of the errors below.
    :param mode: of the file, as far as the umask allows.
    :raises OperatorError: the file exists, or another process is writing it.
    """
    if path.exists():
        raise refusal(f"{path} already exists, and is not replaced.")
    partial = path.with_name(f"{path.name}.partial")
    with os.fdopen(os.open(partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode), "r+b") as file:
        if not _is_locked(file, partial):
            raise refusal(f"Another process is writing {partial}.")
        file.truncate()
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            partial.rename(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    sync_folder(path.parent)


def _is_locked(file: BinaryIO, partial: Path) -> bool:
    """Lock a file; return false if another process is writing it, or has just finished."""
    with suppress(BlockingIOError, FileNotFoundError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(file.fileno()), partial.stat())
    return False


def sync_folder(folder: Path) -> None:
    """Sync the entries of a folder to disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
