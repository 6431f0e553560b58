"""Where an export is read from: a file, or a URL."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from registry.domain import http
from registry.domain.advisories.export import MAX_FILE_BYTES
from registry.errors import SourceError


@contextmanager
def opened(name: str) -> Iterator[BinaryIO]:
    """Open an export, which is received completely before if it has a URL.

    :raises SourceError: the file cannot be read, or the server does not deliver it.
    """
    with tempfile.TemporaryFile() if is_url(name) else _file(name) as file:
        if is_url(name):
            _receive(name, file)
        yield file


def _file(name: str) -> BinaryIO:
    try:
        return Path(name).open("rb")
    except OSError as error:
        raise SourceError(f"{name} cannot be read: {error.strerror}.") from error


def _receive(url: str, file: BinaryIO) -> None:
    http.split(url)
    with closing(http.Client(url)) as client:
        try:
            client.receive(url, _Sink(file))
        except SourceError as error:
            raise SourceError(f"{shown(url)}: {error}.") from error


def is_url(name: str) -> bool:
    return name.lower().startswith(("http://", "https://"))


def shown(name: str) -> str:
    """Return the name of a source without what can be secret: user, password, and query of a URL."""
    if not is_url(name):
        return name
    parts = urlsplit(name)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


class _Sink:
    """Receives an export of bounded size."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size_bytes = 0

    def write(self, data: bytes) -> int:
        self.size_bytes += len(data)
        if self.size_bytes > MAX_FILE_BYTES:
            raise SourceError(f"the file is larger than {MAX_FILE_BYTES} bytes")
        return self._file.write(data)
