"""Inspection of uploaded files: whether a file is a valid wheel or sdist, and every problem found in it.

A file is identified by its own metadata; its name and the upload form are compared with that. The checks follow PyPI's,
except where a private registry or older packages need more leniency; each exception is documented where it is made.
Memory and time are bounded for any input (see ``wheels.MAX_DIGESTED_BYTES`` and ``readmes``).

PyPA specifications: "Binary distribution format", "Source distribution format", "Core metadata".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO, ParamSpec, TypeVar

from packaging.utils import NormalizedName, canonicalize_name

from registry.domain.distributions import archives, core_metadata, filenames, readmes, wheels
from registry.domain.distributions.archives import Zip
from registry.domain.distributions.core_metadata import CoreMetadata
from registry.domain.distributions.filenames import Kind, ParsedFilename
from registry.errors import InvalidDistribution, Problem, quoted

MAX_PROBLEMS = 100

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Distribution:
    """A distribution file as its own core metadata describes it.

    :ivar requires_python: not truncated; empty if the file has none.
    :ivar core_metadata: the ``METADATA`` or ``PKG-INFO`` document, byte for byte.
    :ivar core_metadata_is_final: whether clients can rely on the document without opening the file: true for every
        wheel, and for an sdist if a build cannot change the fields that resolvers read (PEP 643, PEP 658).
    """

    filename: str
    kind: Kind
    name: str
    version: str
    normalized_name: NormalizedName
    metadata_version: str
    requires_python: str
    core_metadata: bytes
    core_metadata_is_final: bool


@dataclass(frozen=True)
class Examination:
    """The result of examining a file.

    :ivar distribution: present even if there are problems; ``None`` if the metadata lacks a valid name or version.
    :ivar problems: in the order of the checks; at most ``MAX_PROBLEMS``, plus one that stands for all others.
    """

    distribution: Distribution | None
    problems: tuple[Problem, ...]


def examine(file: BinaryIO, filename: str) -> Examination:
    """Examine a seekable file from start to end, whatever its current position."""
    findings = _Findings()
    claimed = findings.result_of(filenames.parse_filename, filename)
    kind = filenames.kind_of(filename)
    metadata = None
    if kind is Kind.WHEEL:
        metadata = _examine_wheel(file, claimed, findings)
    elif kind is Kind.SDIST:
        metadata = _examine_sdist(file, filename, claimed, findings)
    distribution = _distribution(filename, kind, metadata) if kind and metadata else None
    return Examination(distribution, findings.problems)


class _Findings:
    """Collects the problems that the checks of one file find."""

    def __init__(self) -> None:
        self._problems: list[Problem] = []

    @property
    def problems(self) -> tuple[Problem, ...]:
        if len(self._problems) <= MAX_PROBLEMS:
            return tuple(self._problems)
        rest = Problem("content", f"more than {MAX_PROBLEMS} problems", "none; the others are not listed")
        return (*self._problems[:MAX_PROBLEMS], rest)

    def add(self, problems: Iterable[Problem]) -> None:
        """Add the problems that a check yields or raises; checks stop once there are ``MAX_PROBLEMS``."""
        try:
            self._problems += islice(problems, MAX_PROBLEMS + 1 - len(self._problems))
        except InvalidDistribution as refusal:
            self._problems += refusal.problems

    def result_of(
        self, step: Callable[Parameters, Result], *arguments: Parameters.args, **options: Parameters.kwargs
    ) -> Result | None:
        """Return the result of a step; if the step refuses the file, add its problems and return ``None``."""
        try:
            return step(*arguments, **options)
        except InvalidDistribution as refusal:
            self._problems += refusal.problems
            return None


def _distribution(filename: str, kind: Kind, metadata: CoreMetadata) -> Distribution | None:
    """Return the distribution, or ``None`` if the metadata lacks a valid name or version."""
    if not filenames.is_valid_name(metadata.name) or filenames.version(metadata.version) is None:
        return None
    return Distribution(
        filename=filename,
        kind=kind,
        name=metadata.name,
        version=metadata.version,
        normalized_name=canonicalize_name(metadata.name),
        metadata_version=metadata.metadata_version,
        requires_python=metadata.requires_python,
        core_metadata=metadata.document,
        core_metadata_is_final=kind is Kind.WHEEL or metadata.is_final_in_sdist,
    )


def _examine_wheel(file: BinaryIO, claimed: ParsedFilename | None, findings: _Findings) -> CoreMetadata | None:
    if claimed is not None:
        findings.add(wheels.unknown_tags(claimed))
    wheel = findings.result_of(archives.open_zip, file)
    if wheel is None:
        return None
    folder = findings.result_of(dist_info_folder, wheel)
    if folder is None:
        return None
    findings.add(wrong_dist_info_folder(folder, claimed))
    findings.add(missing_documents(wheel, folder))
    metadata = None
    if wheel.has_file(f"{folder}/METADATA"):
        document = findings.result_of(wheel.read, f"{folder}/METADATA", core_metadata.MAX_BYTES)
        metadata = _examine_metadata(document, claimed, findings)
    if metadata is not None:
        findings.add(missing_license_files(metadata, f"{folder}/licenses", wheel.files))
    if wheel.has_file(f"{folder}/WHEEL"):
        findings.add(wheels.wrong_wheel_document(wheel, folder, claimed))
    if wheel.has_file(f"{folder}/RECORD"):
        findings.add(wheels.wrong_record(wheel, folder))
    return metadata


def dist_info_folder(wheel: Zip) -> str:
    """Return the name of the wheel's ``.dist-info`` folder.

    :raises InvalidDistribution: the top level has no such folder, or several, of which installers would choose
        different ones.
    """
    folders = sorted(folder for folder in wheel.folders if folder.lower().endswith(".dist-info"))
    if len(folders) != 1:
        raise InvalidDistribution(Problem(".dist-info folder", ", ".join(folders), "one at the top of the wheel"))
    return folders[0]


def wrong_dist_info_folder(folder: str, claimed: ParsedFilename | None) -> Iterator[Problem]:
    name, _, version = folder.removesuffix(".dist-info").rpartition("-")
    found = (canonicalize_name(name), filenames.unescaped_version(version))
    if claimed is not None and found != (claimed.normalized_name, claimed.version):
        yield Problem(".dist-info folder", folder, f"that of {claimed.release} as in the file name")


def missing_documents(wheel: Zip, folder: str) -> Iterator[Problem]:
    for name in ("METADATA", "WHEEL", "RECORD"):
        if not wheel.has_file(f"{folder}/{name}"):
            yield Problem(name, "", f"a file in {quoted(folder)}")


def _examine_sdist(
    file: BinaryIO, filename: str, claimed: ParsedFilename | None, findings: _Findings
) -> CoreMetadata | None:
    read = read_zip_sdist if filename.endswith(".zip") else read_tar_sdist
    top = findings.result_of(read, file)
    if top is None:
        return None
    findings.add(wrong_top_folder(top.name, claimed))
    if top.content is None:
        findings.add([Problem("PKG-INFO", "", f"a file in the top folder {quoted(top.name)}")])
        return None
    metadata = _examine_metadata(top.content, claimed, findings)
    if metadata is not None:
        findings.add(missing_license_files(metadata, top.name, top.files))
    return metadata


def read_tar_sdist(file: BinaryIO) -> archives.TopFolder:
    """Read the top folder and the ``PKG-INFO`` of a ``.tar.gz`` sdist.

    :raises InvalidDistribution: the archive is damaged or unsafe.
    """
    return archives.read_tar_gz(file, "PKG-INFO", core_metadata.MAX_BYTES)


def read_zip_sdist(file: BinaryIO) -> archives.TopFolder:
    """Read the top folder and the ``PKG-INFO`` of a ``.zip`` sdist.

    :raises InvalidDistribution: the archive is damaged or unsafe.
    """
    sdist = archives.open_zip(file)
    top = sdist.read_top_folder("PKG-INFO", core_metadata.MAX_BYTES)
    if sdist.unpacked_size <= wheels.MAX_DIGESTED_BYTES:
        for path in sdist.files:
            deque(sdist.chunks(path), maxlen=0)  # verify every member, as reading a tar file does
    return top


def wrong_top_folder(folder: str, claimed: ParsedFilename | None) -> Iterator[Problem]:
    if claimed is not None and filenames.release(folder) != (claimed.normalized_name, claimed.version):
        yield Problem("top folder", folder, f"that of {claimed.release} as in the file name")


def _examine_metadata(
    document: bytes | None, claimed: ParsedFilename | None, findings: _Findings
) -> CoreMetadata | None:
    metadata = findings.result_of(core_metadata.read, document) if document is not None else None
    if metadata is not None:
        findings.add(core_metadata.problems(metadata))
        findings.add(disagreements(metadata, claimed))
        findings.add(unreadable_description(metadata))
    return metadata


def disagreements(metadata: CoreMetadata, claimed: ParsedFilename | None) -> Iterator[Problem]:
    """Yield a problem for each of name and version that differs between core metadata and file name."""
    if claimed is None:
        return
    if filenames.is_valid_name(metadata.name) and canonicalize_name(metadata.name) != claimed.normalized_name:
        yield Problem("Name", metadata.name, f"{claimed.normalized_name} as in the file name")
    if filenames.version(metadata.version) not in (None, claimed.version):
        yield Problem("Version", metadata.version, f"{claimed.version} as in the file name")


def missing_license_files(metadata: CoreMetadata, folder: str, files: Iterable[str]) -> Iterator[Problem]:
    """Yield license files that the metadata lists and the distribution lacks (PEP 639)."""
    present = frozenset(files)
    for path in metadata.license_files:
        if f"{folder}/{path}" not in present:
            yield Problem("License-File", path, f"a file in {quoted(folder)}")


def unreadable_description(metadata: CoreMetadata) -> Iterator[Problem]:
    """Yield a problem for a description declared as reStructuredText that cannot be rendered.

    Markdown and plain text always render. Without a declared type, the standard falls back to plain text if the
    description is not valid reStructuredText, so it is accepted here; PyPI refuses it.
    """
    fault = readmes.fault(metadata.description) if metadata.description.content_type else None
    if fault is not None:
        yield Problem("Description", fault, "reStructuredText, as its type says")
