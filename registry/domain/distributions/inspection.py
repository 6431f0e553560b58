"""Inspection of uploaded files: whether a file is a wheel or sdist that installers can use, and every problem in it.

A file is identified by its own metadata; its name and the upload form are compared with that. The checks follow PyPI's,
except where a private registry or older packages need more leniency; each exception is documented where it is made.
``gate`` decides which of them refuse a file. Memory and time are bounded for any input (see
``budget``, ``wheels.MAX_DIGESTED_BYTES``, and ``readmes``).

PyPA specifications: "Binary distribution format", "Source distribution format", "Core metadata".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO, ParamSpec, TypeVar

from packaging.utils import NormalizedName, canonicalize_name

from registry.domain.distributions import core_metadata, filenames, installation, readmes, tar_files, wheels, zip_files
from registry.domain.distributions.archives import TopFolder
from registry.domain.distributions.budget import Budget, Exhausted
from registry.domain.distributions.core_metadata import CoreMetadata, Description
from registry.domain.distributions.filenames import Kind, ParsedFilename
from registry.domain.distributions.gate import Check, Finding
from registry.domain.distributions.zip_files import Zip
from registry.errors import InvalidDistribution, Problem, quoted

MAX_PROBLEMS = 100  # of each weight

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Distribution:
    """A distribution file as its own core metadata describes it.

    :ivar requires_python: as installers can read it, not truncated; empty if the file has none.
    :ivar requires_dist: the requirements; those of a file that is refused can be invalid.
    :ivar keywords: separated by commas.
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
    requires_dist: tuple[str, ...]
    summary: str
    keywords: str
    author_email: str
    core_metadata: bytes
    core_metadata_is_final: bool
    description: Description


@dataclass(frozen=True)
class Examination:
    """The result of examining a file.

    :ivar distribution: present even if there are refusals; ``None`` if the metadata lacks a valid name or version.
    :ivar refusals: the problems for which the file is refused, in the order of the checks; at most ``MAX_PROBLEMS``,
        plus one that stands for all others.
    :ivar remarks: the problems with which it is accepted, bounded alike.
    :ivar description: of the file, even if there is no distribution.
    """

    distribution: Distribution | None
    refusals: tuple[Problem, ...]
    remarks: tuple[Problem, ...]
    description: Description | None = None

    def strictly(self) -> Examination:
        """Return the result in a strict project, where remarks are refusals."""
        return replace(self, refusals=bounded([*self.refusals, *self.remarks]), remarks=())


NOTHING_FOUND = Examination(None, (), ())


def bounded(problems: Sequence[Problem]) -> tuple[Problem, ...]:
    """Return at most ``MAX_PROBLEMS`` problems, plus one that stands for all others."""
    if len(problems) <= MAX_PROBLEMS:
        return tuple(problems)
    rest = Problem("content", f"more than {MAX_PROBLEMS} problems", "none; the others are not listed")
    return (*problems[:MAX_PROBLEMS], rest)


def examine(file: BinaryIO, filename: str) -> Examination:
    """Examine a seekable file from start to end, whatever its current position."""
    try:
        return with_description_checked(parsed(file, filename, Budget()))
    except Exhausted as refusal:
        return Examination(None, refusal.problems, ())


def parsed(file: BinaryIO, filename: str, budget: Budget) -> Examination:
    """Examine everything but the text of the description, for which there are programs of their own (``readmes``).

    :raises Exhausted: the budget does not suffice.
    """
    findings = _Findings()
    claimed = findings.result_of(Check.FILE_NAME, filenames.parse_filename, filename)
    kind = filenames.kind_of(filename)
    metadata = None
    if kind is Kind.WHEEL:
        metadata = _examine_wheel(file, claimed, findings, budget)
    elif kind is Kind.SDIST:
        metadata = _examine_sdist(file, filename, claimed, findings, budget)
    distribution = _distribution(filename, kind, metadata) if kind and metadata else None
    described = metadata.description if metadata else None
    return Examination(distribution, bounded(findings.refusals), bounded(findings.remarks), described)


def with_description_checked(examination: Examination) -> Examination:
    """Return the result with the error in the description, if there is one."""
    findings = _Findings(examination)
    if examination.description is not None:
        findings.add(unreadable_description(examination.description))
    return replace(examination, refusals=bounded(findings.refusals), remarks=bounded(findings.remarks))


class _Findings:
    """Collects what the checks of one file find: of each weight, up to one more than ``MAX_PROBLEMS``."""

    def __init__(self, so_far: Examination = NOTHING_FOUND) -> None:
        self.refusals = list(so_far.refusals)
        self.remarks = list(so_far.remarks)

    def add(self, findings: Iterable[Finding], *, raised_by: Check = Check.ARCHIVE) -> None:
        """Add what a check yields; once there are ``MAX_PROBLEMS`` refusals, checks stop.

        :param raised_by: the check that refuses the file if reading it raises an error.
        """
        try:
            for finding in findings:
                self._note(finding)
                if len(self.refusals) > MAX_PROBLEMS:
                    return
        except Exhausted:
            raise
        except InvalidDistribution as refusal:
            self._note_all(raised_by, refusal)

    def result_of(
        self,
        check: Check,
        step: Callable[Parameters, Result],
        *arguments: Parameters.args,
        **options: Parameters.kwargs,
    ) -> Result | None:
        """Return the result of a step; if the step refuses the file, add its problems and return ``None``."""
        try:
            return step(*arguments, **options)
        except Exhausted:
            raise
        except InvalidDistribution as refusal:
            self._note_all(check, refusal)
            return None

    def _note_all(self, check: Check, refusal: InvalidDistribution) -> None:
        for problem in refusal.problems:
            self._note(Finding(check, problem))

    def _note(self, finding: Finding) -> None:
        noted = self.refusals if finding.is_refused else self.remarks
        if len(noted) <= MAX_PROBLEMS:
            noted.append(finding.problem)


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
        requires_python=metadata.python_specifiers,
        requires_dist=tuple(metadata.fields.get("requires_dist", [])),
        summary=metadata.fields.get("summary", ""),
        keywords=",".join(metadata.fields.get("keywords", [])),
        author_email=metadata.fields.get("author_email", ""),
        core_metadata=metadata.document,
        core_metadata_is_final=kind is Kind.WHEEL or metadata.is_final_in_sdist,
        description=metadata.description,
    )


def _examine_wheel(
    file: BinaryIO, claimed: ParsedFilename | None, findings: _Findings, budget: Budget
) -> CoreMetadata | None:
    if claimed is not None:
        findings.add(wheels.unknown_tags(claimed))
    wheel = findings.result_of(Check.ARCHIVE, zip_files.open_zip, file, budget)
    if wheel is None:
        return None
    folder = findings.result_of(Check.DIST_INFO, dist_info_folder, wheel)
    if folder is None:
        return None
    findings.add(wrong_dist_info_folder(folder, claimed))
    findings.add(missing_documents(wheel, folder))
    metadata = None
    if wheel.has_file(f"{folder}/METADATA"):
        document = findings.result_of(Check.ARCHIVE, wheel.read, f"{folder}/METADATA", core_metadata.MAX_BYTES)
        metadata = _examine_metadata(document, claimed, findings, budget)
    if metadata is not None:
        findings.add(missing_license_files(metadata, f"{folder}/licenses", wheel.files))
    findings.add(installation.misplaced_data(wheel, folder))
    findings.add(installation.overwritten_files(wheel))
    findings.add(installation.wrong_entry_points(wheel, folder))
    if wheel.has_file(f"{folder}/WHEEL"):
        findings.add(wheels.wrong_wheel_document(wheel, folder, claimed), raised_by=Check.WHEEL_UNREADABLE)
    if wheel.has_file(f"{folder}/RECORD"):
        findings.add(wheels.wrong_record(wheel, folder), raised_by=Check.RECORD_UNREADABLE)
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


def wrong_dist_info_folder(folder: str, claimed: ParsedFilename | None) -> Iterator[Finding]:
    name, _, version = folder.removesuffix(".dist-info").rpartition("-")
    found = (canonicalize_name(name), filenames.unescaped_version(version))
    if claimed is not None and found != (claimed.normalized_name, claimed.version):
        expected = f"that of {claimed.release} as in the file name"
        yield Check.DIST_INFO_NAME.found(".dist-info folder", folder, expected)


def missing_documents(wheel: Zip, folder: str) -> Iterator[Finding]:
    for name in ("METADATA", "WHEEL", "RECORD"):
        if not wheel.has_file(f"{folder}/{name}"):
            yield Check.DOCUMENT_MISSING.found(name, "", f"a file in {quoted(folder)}")


def _examine_sdist(
    file: BinaryIO, filename: str, claimed: ParsedFilename | None, findings: _Findings, budget: Budget
) -> CoreMetadata | None:
    read = read_zip_sdist if filename.endswith(".zip") else read_tar_sdist
    top = findings.result_of(Check.ARCHIVE, read, file, budget)
    if top is None:
        return None
    findings.add(wrong_top_folder(top.name, claimed))
    if top.content is None:
        expected = f"a file in the top folder {quoted(top.name)}"
        findings.add([Check.DOCUMENT_MISSING.found("PKG-INFO", "", expected)])
        return None
    metadata = _examine_metadata(top.content, claimed, findings, budget)
    if metadata is not None:
        findings.add(missing_license_files(metadata, top.name, top.files))
    return metadata


def read_tar_sdist(file: BinaryIO, budget: Budget) -> TopFolder:
    """Read the top folder and the ``PKG-INFO`` of a ``.tar.gz`` sdist.

    :raises InvalidDistribution: the archive is damaged or unsafe.
    """
    return tar_files.read_tar_gz(file, "PKG-INFO", core_metadata.MAX_BYTES, budget)


def read_zip_sdist(file: BinaryIO, budget: Budget) -> TopFolder:
    """Read the top folder and the ``PKG-INFO`` of a ``.zip`` sdist.

    :raises InvalidDistribution: the archive is damaged or unsafe.
    """
    sdist = zip_files.open_zip(file, budget)
    top = sdist.read_top_folder("PKG-INFO", core_metadata.MAX_BYTES)
    if sdist.unpacked_size <= wheels.MAX_DIGESTED_BYTES:
        for path in sdist.files:
            deque(sdist.chunks(path), maxlen=0)  # verify every member, as reading a tar file does
    return top


def wrong_top_folder(folder: str, claimed: ParsedFilename | None) -> Iterator[Finding]:
    if claimed is not None and filenames.release(folder) != (claimed.normalized_name, claimed.version):
        yield Check.TOP_FOLDER.found("top folder", folder, f"that of {claimed.release} as in the file name")


def _examine_metadata(
    document: bytes | None, claimed: ParsedFilename | None, findings: _Findings, budget: Budget
) -> CoreMetadata | None:
    if document is None:
        return None
    metadata = findings.result_of(Check.DOCUMENT_UNREADABLE, core_metadata.read, document, budget)
    if metadata is not None:
        findings.add(core_metadata.findings(metadata))
        findings.add(disagreements(metadata, claimed))
    return metadata


def disagreements(metadata: CoreMetadata, claimed: ParsedFilename | None) -> Iterator[Finding]:
    """Yield name and version if they differ between core metadata and file name."""
    if claimed is None:
        return
    if filenames.is_valid_name(metadata.name) and canonicalize_name(metadata.name) != claimed.normalized_name:
        yield Check.NAME_DIFFERS.found("Name", metadata.name, f"{claimed.normalized_name} as in the file name")
    if filenames.version(metadata.version) not in (None, claimed.version):
        yield Check.VERSION_DIFFERS.found("Version", metadata.version, f"{claimed.version} as in the file name")


def missing_license_files(metadata: CoreMetadata, folder: str, files: Iterable[str]) -> Iterator[Finding]:
    """Yield license files that the metadata lists and the distribution lacks (PEP 639)."""
    present = frozenset(files)
    for path in metadata.license_files:
        if f"{folder}/{path}" not in present:
            yield Check.LICENSE_FILE_MISSING.found("License-File", path, f"a file in {quoted(folder)}")


def unreadable_description(description: Description) -> Iterator[Finding]:
    """Yield the error in a description that is declared as reStructuredText and cannot be rendered.

    Markdown and plain text always render. Without a declared type, the standard falls back to plain text if the
    description is not valid reStructuredText, so it is accepted here; PyPI refuses it.
    """
    fault = readmes.fault(description)
    if fault is not None:
        yield Check.DESCRIPTION.found("Description", fault, "valid reStructuredText, its content type")
