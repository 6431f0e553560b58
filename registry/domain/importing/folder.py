"""Import from a folder of distribution files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterator
from pathlib import Path

from packaging.utils import NormalizedName
from packaging.version import Version

from registry.domain.distributions import filenames
from registry.domain.http import CHUNK_BYTES, Sink
from registry.domain.importing.source import SourceFile, SourcePage
from registry.domain.listings import one_line
from registry.errors import InvalidDistribution, SourceError


class Folder:
    """A folder of ``.whl``, ``.tar.gz``, and ``.zip`` files, searched recursively and grouped by package name.

    It has no upload times: a file's time on disk is that of a copy and unrelated to its publication.
    """

    def __init__(self, folder: Path) -> None:
        """List the files below ``folder``.

        :raises SourceError: ``folder`` or one of its subfolders cannot be read.
        """
        self.address, self.is_local = str(folder), True
        self._files: dict[NormalizedName, list[SourceFile]] = {}
        for path in _paths_below(folder):
            self._files.setdefault(_package_in(path.name), []).append(SourceFile(one_line(path.name), str(path)))

    def names(self) -> list[NormalizedName]:
        """Return every package name once; the empty name stands for files with invalid names."""
        return list(self._files)

    def page(self, name: NormalizedName, versions: Collection[Version] = ()) -> SourcePage:
        if name not in self._files:
            raise SourceError("the folder has no files of this package")
        return SourcePage(tuple(self._files[name]))

    def digests(self, file: SourceFile) -> dict[str, str]:
        sha256 = hashlib.sha256()
        for chunk in _content(file):
            sha256.update(chunk)
        return {"sha256": sha256.hexdigest()}

    def receive(self, file: SourceFile, sink: Sink) -> None:
        for chunk in _content(file):
            sink.write(chunk)

    def close(self) -> None:
        """Do nothing, as reading files does not block."""


def _paths_below(folder: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise SourceError(f"The folder {error.filename} cannot be read: {error.strerror}") from error

    for parent, folders, names in os.walk(folder, onerror=refuse):
        folders.sort()
        yield from (Path(parent, name) for name in sorted(names) if filenames.kind_of(name))


def _package_in(filename: str) -> NormalizedName:
    try:
        return filenames.parse_filename(filename).normalized_name
    except InvalidDistribution:
        return NormalizedName("")


def _content(file: SourceFile) -> Iterator[bytes]:
    try:
        with Path(file.location).open("rb") as content:
            while chunk := content.read(CHUNK_BYTES):
                yield chunk
    except OSError as error:
        raise SourceError(f"the file cannot be read: {error.strerror}") from error
