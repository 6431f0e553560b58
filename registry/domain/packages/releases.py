"""What is said of a release after it was published: yanks of files and versions, the status of a package name.

A version is yanked by yanking its files, and counts as yanked while all of them are: a file published to it later is
yanked with them (``publishing``). Protection rules do not apply: they keep packages from being deleted, and a yanked
file stays where it is. PyPA, "File yanking" (PEP 592) and "Project status markers" (PEP 792).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from registry.database import lock, transaction
from registry.domain import audit, namespaces
from registry.domain.packages import lists, names
from registry.errors import BadRequest, Code, Fault, InvalidRecord, RecordNotFound
from registry.models import FileStatus, NameStatus, Package, PackageFile, PackageName, PackageStatus, Project

LONGEST_REASON = 1000


# Yanks ----------------------------------------------------------------------------------------------------------


def yank_version(package: Package, project: Project, reason: str = "", *, by: audit.Author) -> None:
    """Yank every file of a package; those that are yanked already are yanked for this reason from now on.

    :raises BadRequest: it has no files.
    :raises InvalidRecord: the reason cannot be shown.
    :raises RecordNotFound: it was deleted meanwhile.
    """
    _mark_version(package, project, _one_line(reason), by)


def unyank_version(package: Package, project: Project, *, by: audit.Author) -> None:
    """Lift the yanks of all files of a package, for whatever reasons.

    :raises RecordNotFound: it was deleted meanwhile.
    """
    _mark_version(package, project, None, by)


def yank_file(file: PackageFile, package: Package, project: Project, reason: str = "", *, by: audit.Author) -> None:
    """Yank one file, for this reason from now on.

    :raises InvalidRecord: the reason cannot be shown.
    :raises RecordNotFound: the file was deleted meanwhile.
    """
    _mark_file(file, package, project, _one_line(reason), by)


def unyank_file(file: PackageFile, package: Package, project: Project, *, by: audit.Author) -> None:
    """:raises RecordNotFound: the file was deleted meanwhile."""
    _mark_file(file, package, project, None, by)


def _mark_version(package: Package, project: Project, reason: str | None, by: audit.Author) -> None:
    with transaction() as session:
        lock(package, "status")  # an upload to it waits, and is then yanked as the others are
        if package.status is PackageStatus.PENDING_DESTRUCTION:
            raise RecordNotFound
        files = session.scalars(
            lists.package_files(package).order_by(PackageFile.id).with_for_update(),
            execution_options={"populate_existing": True},
        ).all()
        if reason is not None and not files:
            raise BadRequest(Code.NOTHING_TO_YANK, release=_release(package))
        if _mark(files, reason):
            namespaces.touch(project.id)
            audit.record(by, f"package_{_done(reason)}", _release(package), project, reason=reason)


def _mark_file(file: PackageFile, package: Package, project: Project, reason: str | None, by: audit.Author) -> None:
    with transaction():
        lock(file, "status", "yanked_reason")
        if file.status is FileStatus.PENDING_DESTRUCTION:
            raise RecordNotFound
        if _mark([file], reason):
            namespaces.touch(project.id)
            audit.record(
                by, f"package_file_{_done(reason)}", file.filename, project, package=_release(package), reason=reason
            )


def _mark(files: Iterable[PackageFile], reason: str | None) -> bool:
    """Whether that changed anything."""
    changed = [file for file in files if file.yanked_reason != reason]
    for file in changed:
        file.yanked_reason = reason
    return bool(changed)


def _done(reason: str | None) -> str:
    return "unyanked" if reason is None else "yanked"


def _release(package: Package) -> str:
    return f"{package.name} {package.version}"


# Statuses of names ----------------------------------------------------------------------------------------------


def set_name_status(
    project: Project, name: str, status: NameStatus, reason: str = "", *, by: audit.Author
) -> PackageName:
    """Say of a package name in a project that it is active, deprecated, archived or quarantined.

    :param name: in any spelling.
    :raises InvalidRecord: the reason cannot be shown.
    :raises NotFound: the project does not hold the name.
    """
    reason = _one_line(reason)
    with transaction() as session:
        lock(project, "name")  # two at once could both add what is said for the first time
        said = names.package_name(project, name)
        if (said.status, said.reason) == (status, reason):
            return said
        before, said.status, said.reason = said.status, status, reason
        if status is NameStatus.ACTIVE and not reason:
            session.delete(said)
        else:
            session.add(said)
        namespaces.touch(project.id)
        audit.record(
            by, "package_name_status_changed", said.normalized_name, project,
            status=status, before=before, reason=reason,
        )  # fmt: skip
    return said


def _one_line(reason: str) -> str:
    """A reason as it stands in an attribute of HTML, a status line and a log.

    :raises InvalidRecord: it is too long, or holds what no text has.
    """
    line = " ".join(reason.split())
    if len(line) > LONGEST_REASON:
        raise InvalidRecord({"reason": [Fault(Code.TOO_LONG, maximum=LONGEST_REASON)]})
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in line):
        raise InvalidRecord({"reason": [Fault(Code.UNPRINTABLE)]})
    return line
