"""Yanking files and versions, and the status of package names.

Yanking a version yanks its files, and a version is yanked while all of its files are; a file published to it later is
yanked, too (``publishing``). Protection rules do not apply, as they prevent deletion, and yanked files are kept. PyPA,
"File yanking" (PEP 592) and "Project status markers" (PEP 792).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from packaging.utils import canonicalize_name

from registry.database import AdvisoryLock, lock, lock_name, transaction
from registry.domain import audit, namespaces
from registry.domain.packages import answers, lists, names, summaries
from registry.errors import BadRequest, Code, Fault, InvalidRecord, RecordNotFound
from registry.models import FileStatus, NameStatus, Package, PackageFile, PackageName, PackageStatus, Project

LONGEST_REASON = 1000


def yank_version(package: Package, project: Project, reason: str = "", *, by: audit.Author) -> None:
    """Yank all files of a package; the reason of files that are already yanked is replaced.

    :raises BadRequest: the package has no files.
    :raises InvalidRecord: the reason is too long or contains invalid characters.
    :raises RecordNotFound: the package was deleted in the meantime.
    """
    _mark_version(package, project, _one_line(reason), by)


def unyank_version(package: Package, project: Project, *, by: audit.Author) -> None:
    """Unyank all files of a package, whatever the reasons.

    :raises RecordNotFound: the package was deleted in the meantime.
    """
    _mark_version(package, project, None, by)


def yank_file(file: PackageFile, package: Package, project: Project, reason: str = "", *, by: audit.Author) -> None:
    """Yank one file, or replace the reason of its yank.

    :raises InvalidRecord: the reason is too long or contains invalid characters.
    :raises RecordNotFound: the file was deleted in the meantime.
    """
    _mark_file(file, package, project, _one_line(reason), by)


def unyank_file(file: PackageFile, package: Package, project: Project, *, by: audit.Author) -> None:
    """Unyank one file.

    :raises RecordNotFound: the file was deleted in the meantime.
    """
    _mark_file(file, package, project, None, by)


def _mark_version(package: Package, project: Project, reason: str | None, by: audit.Author) -> None:
    """Yank or unyank all files of a package; shares ``AdvisoryLock.TREE``, so that the project is not deleted."""
    with transaction(lock=AdvisoryLock.TREE, shared=True, changes_answers=False) as session:
        # Concurrent uploads wait, and their files are then yanked like the others.
        lock(package, "status", referable=True)
        if package.status is PackageStatus.PENDING_DESTRUCTION:
            raise RecordNotFound
        files = session.scalars(
            lists.package_files(package).order_by(PackageFile.id).with_for_update(),
            execution_options={"populate_existing": True},
        ).all()
        if reason is not None and not files:
            raise BadRequest(Code.NOTHING_TO_YANK, release=_release(package))
        if _mark(files, reason):
            answers.note_change(package.normalized_name)
            summaries.note_changed(package.project_id, package.normalized_name)
            namespaces.touch(project.id)
            audit.record(by, f"package_{_done(reason)}", _release(package), project, reason=reason)


def _mark_file(file: PackageFile, package: Package, project: Project, reason: str | None, by: audit.Author) -> None:
    """Yank or unyank one file; shares ``AdvisoryLock.TREE``: the project is not deleted meanwhile."""
    with transaction(lock=AdvisoryLock.TREE, shared=True, changes_answers=False):
        lock(file, "status", "yanked_reason")
        if file.status is FileStatus.PENDING_DESTRUCTION:
            raise RecordNotFound
        if _mark([file], reason):
            answers.note_change(package.normalized_name)
            summaries.note_changed(package.project_id, package.normalized_name)
            namespaces.touch(project.id)
            audit.record(
                by, f"package_file_{_done(reason)}", file.filename, project, package=_release(package), reason=reason
            )


def _mark(files: Iterable[PackageFile], reason: str | None) -> bool:
    """Set the yanked reason of files, and return whether any file changed."""
    changed = [file for file in files if file.yanked_reason != reason]
    for file in changed:
        file.yanked_reason = reason
    return bool(changed)


def _done(reason: str | None) -> str:
    return "unyanked" if reason is None else "yanked"


def _release(package: Package) -> str:
    return f"{package.name} {package.version}"


def set_name_status(
    project: Project, name: str, status: NameStatus, reason: str = "", *, by: audit.Author
) -> PackageName:
    """Set the status of a package name in a project: active, deprecated, archived, or quarantined.

    Shares ``AdvisoryLock.TREE``: the project cannot be deleted in the meantime.

    :param name: normalized or not.
    :raises InvalidRecord: the reason is too long or contains invalid characters.
    :raises NotFound: the project has no package of this name.
    """
    reason = _one_line(reason)
    with transaction(lock=AdvisoryLock.TREE, shared=True, changes_answers=False) as session:
        lock_name(canonicalize_name(name))  # two concurrent changes could both insert the first status of a name
        record = names.package_name(project, name)
        if (record.status, record.reason) == (status, reason):
            return record
        before, record.status, record.reason = record.status, status, reason
        if status is NameStatus.ACTIVE and not reason:
            session.delete(record)
        else:
            session.add(record)
        answers.note_change(record.normalized_name)
        namespaces.touch(project.id)
        audit.record(
            by, "package_name_status_changed", record.normalized_name, project,
            status=status, before=before, reason=reason,
        )  # fmt: skip
    return record


def _one_line(reason: str) -> str:
    """Return a reason as one line, usable in an HTML attribute, a status line, and a log.

    :raises InvalidRecord: it is too long, or contains control characters or surrogates.
    """
    line = " ".join(reason.split())
    if len(line) > LONGEST_REASON:
        raise InvalidRecord({"reason": [Fault(Code.TOO_LONG, maximum=LONGEST_REASON)]})
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in line):
        raise InvalidRecord({"reason": [Fault(Code.UNPRINTABLE)]})
    return line
