"""Sources of packages to import, and the values that they return.

A source lists its package names, lists the files of a name with their metadata, and delivers the content of a file.
Sources are untrusted: file content counts only if it matches its digest.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from packaging.utils import NormalizedName
from packaging.version import Version

from registry.domain.http import Sink
from registry.models import ImportedPipeline


@dataclass(frozen=True)
class SourceFile:
    """One file as listed by a source.

    :ivar location: URL or path.
    :ivar digests: as declared by the source, in lower case, by the name of the algorithm in ``hashlib``.
    :ivar yanked_reason: the reason for a yank, possibly empty; ``None`` if the file is not yanked.
    :ivar pipelines: those that published the file.
    """

    filename: str
    location: str
    digests: dict[str, str] = field(default_factory=dict)
    size_bytes: int | None = None
    uploaded_at: datetime | None = None
    yanked_reason: str | None = None
    pipelines: tuple[ImportedPipeline, ...] = ()


@dataclass(frozen=True)
class LeftOut:
    """A package or file that the source lists but does not offer, and why."""

    subject: str
    version: str
    reason: str


@dataclass(frozen=True)
class SourcePage:
    """The files of one package name, and its status (PEP 792)."""

    files: tuple[SourceFile, ...]
    status: str = "active"
    status_reason: str = ""
    left_out: tuple[LeftOut, ...] = ()


class Source(Protocol):
    """A source of packages; thread-safe.

    :ivar address: the source's name in messages, without credentials.
    :ivar is_local: whether its files are read from this machine, so that no digest has to be declared for them.
    """

    address: str
    is_local: bool

    def names(self) -> list[NormalizedName]:
        """Return every package name once; the empty name stands for files with invalid names.

        :raises SourceError: the source does not list its names.
        """

    def page(self, name: NormalizedName, versions: Collection[Version] = ()) -> SourcePage:
        """Return the files of one package name.

        :param versions: the versions that are needed; empty for all. Others can be among the files.
        :raises SourceError: the source does not list them.
        """

    def digests(self, file: SourceFile) -> dict[str, str]:
        """Return the digests that are known without storing the content.

        :raises SourceError: the file cannot be read.
        """

    def receive(self, file: SourceFile, sink: Sink) -> None:
        """Write the content of a file to the sink.

        :raises SourceError: the source does not deliver the file; the sink may have received a part of it.
        """

    def close(self) -> None:
        """Make calls in other threads end soon, with an error."""
