"""Uploads that are being received by all processes: how much room each can take.

Each has a sparse file of that size, which occupies no space itself. The file's name has the ids of the projects and
groups whose limits the upload counts for, and a digest of its caller. The file is locked while its process runs.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from registry.errors import Code, DiskFull, Unavailable
from registry.storage.staging import locked_temporary, refusing_failures


class Reception:
    """An upload that is being received; closed when it is over.

    :param namespace_ids: of the projects and groups whose limits it counts for.
    :ivar caller: its digest.
    :ivar most_bytes: how much all uploads together could take when this one began.
    """

    def __init__(self, folder: Path, namespace_ids: Collection[int], caller: str, most_bytes: int) -> None:
        self.caller = sha256(caller.encode()).hexdigest()
        self._file = locked_temporary(folder, f"{'-'.join(map(str, namespace_ids))}.{self.caller}.")
        self.path = Path(self._file.name)
        self.most_bytes = most_bytes

    def resize(self, size_bytes: int) -> None:
        os.ftruncate(self._file.fileno(), size_bytes)

    def close(self) -> None:
        with suppress(FileNotFoundError):  # once it is not locked, another process can remove it
            self._file.close()


@dataclass(frozen=True)
class Promised:
    """The room that an upload can take."""

    namespace_ids: frozenset[int]
    caller: str
    size_bytes: int


class Receptions:
    """The uploads that are being received.

    A sum is as good as simultaneous: two uploads that begin at the same moment can both be refused for each other, but
    not both be accepted. What is stored is limited exactly, at the end of the transaction (``domain.packages.usage``).

    :param folder: shared by all processes, on the disk that uploads are received on.
    :param most_bytes: of all uploads together; ``None`` is half of the free room at the beginning of each, as an upload
        takes its size twice while it is stored.
    """

    def __init__(self, folder: Path, most_bytes: int | None) -> None:
        self._folder = folder
        self._most_bytes = most_bytes

    def promise(
        self, reception: Reception | None, namespace_ids: Collection[int], size_bytes: int, *, caller: str
    ) -> Reception:
        """Begin an upload, or let one grow.

        Several uploads of one caller take at most half of what other callers leave, so that no caller keeps all others
        out by uploads that hardly make progress.

        :param size_bytes: what it can take from now on.
        :raises Unavailable: together with the others, or with those of the caller, it would take too much; or the disk
            cannot be written.
        :raises DiskFull: it would even without others.
        """
        if reception is None:
            with refusing_failures():
                self._folder.mkdir(mode=0o700, exist_ok=True)
                most_bytes = shutil.disk_usage(self._folder).free // 2 if self._most_bytes is None else self._most_bytes
                reception = Reception(self._folder, namespace_ids, caller, most_bytes)
        reception.resize(size_bytes)
        others = list(self.others(reception))
        total = sum(other.size_bytes for other in others)
        own = sum(other.size_bytes for other in others if other.caller == reception.caller)
        share = (reception.most_bytes - (total - own)) // 2
        if total + size_bytes > reception.most_bytes:
            reception.close()
            refusal = Unavailable if others else DiskFull
            raise refusal(Code.TOO_MUCH_AT_ONCE, maximum=reception.most_bytes)
        if own and own + size_bytes > share:
            reception.close()
            raise Unavailable(Code.TOO_MUCH_OF_ONE, maximum=share)
        return reception

    def others(self, reception: Reception) -> Iterator[Promised]:
        """Yield what is promised to other uploads; removes what terminated processes have left."""
        for path in self._folder.iterdir():
            if path == reception.path:
                continue
            with suppress(FileNotFoundError), path.open("rb") as file:
                if _is_abandoned(file.fileno()):
                    path.unlink()
                else:
                    ids, *digest, _ = path.name.split(".")  # earlier versions of the registry name no caller
                    namespace_ids = frozenset(int(each) for each in ids.split("-") if each)
                    yield Promised(namespace_ids, "".join(digest), os.fstat(file.fileno()).st_size)


def _is_abandoned(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
