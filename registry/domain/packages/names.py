"""Package names and versions: validity, order, and the status of a name."""

from __future__ import annotations

import re
from collections.abc import Iterable

from packaging.utils import InvalidName, canonicalize_name
from packaging.version import InvalidVersion, Version
from sqlalchemy import and_, inspect, select

from registry.database import db
from registry.errors import NotFound
from registry.models import NameStatus, Package, PackageName, PackageStatus, Project

SAID_OF_ITS_NAME = and_(
    PackageName.project_id == Package.project_id, PackageName.normalized_name == Package.normalized_name
)


def sorted_versions(versions: Iterable[str]) -> tuple[str, ...]:
    """Distinct versions in PEP 440 order; spellings that name the same version stay side by side."""
    return tuple(sorted(set(versions), key=lambda text: (version_key(text), text)))


def version_key(text: str) -> tuple[int, Version | str]:
    """A key that sorts version strings by PEP 440, what is no version before all others."""
    try:
        return (1, Version(text))
    except InvalidVersion:
        return (0, text)


def package_name(project: Project, name: str) -> PackageName:
    """What is said of a package name that the project holds.

    :param name: in any spelling.
    :raises NotFound: the project has no package of this name, and nothing is said of it either.
    """
    try:
        normalized_name = canonicalize_name(name, validate=True)
    except InvalidName as error:
        raise NotFound("Package") from error
    said = name_status(project, normalized_name)
    if inspect(said).persistent:
        return said
    kept = select(Package.id).where(
        Package.project_id == project.id,
        Package.normalized_name == normalized_name,
        Package.status != PackageStatus.PENDING_DESTRUCTION,
    )
    if db.session.scalar(kept.limit(1)) is None:
        raise NotFound("Package")
    return said


def name_status(project: Project, name: str) -> PackageName:
    """The same for any name, fresh from the database; one of which nothing is said is active (PEP 792)."""
    key = {"project_id": project.id, "normalized_name": canonicalize_name(name)}
    said = db.session.get(PackageName, key, populate_existing=True)
    return said or PackageName(**key, status=NameStatus.ACTIVE, reason="")


def name_statuses(packages: Iterable[Package]) -> dict[int, NameStatus]:
    """The status of the name of each of many packages, by the package's id, in one statement."""
    statuses = {package.id: NameStatus.ACTIVE for package in packages}
    rows = db.session.execute(
        select(Package.id, PackageName.status).join(PackageName, SAID_OF_ITS_NAME).where(Package.id.in_(statuses))
    )
    return statuses | {row[0]: row[1] for row in rows}


# GitLab, "Use valid version strings": PEP 440, appendix B, in the revision that GitLab applies.
_VERSION = re.compile(
    r"""
    v?
    (?:([0-9]+)!)?                                                # epoch
    ([0-9]+(?:\.[0-9]+)*)                                         # release segment
    ([-_.]?((a|b|c|rc|alpha|beta|pre|preview))[-_.]?([0-9]+)?)?   # pre-release
    ((?:-([0-9]+))|(?:[-_.]?(post|rev|r)[-_.]?([0-9]+)?))?        # post-release
    ([-_.]?(dev)[-_.]?([0-9]+)?)?                                 # development release
    (?:\+([a-z0-9]+(?:[-_.][a-z0-9]+)*))?                         # local version
    """,
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)


def is_valid_version(version: str) -> bool:
    """GitLab's rule, and PEP 440 as it stands now."""
    if len(version) > 255 or not _VERSION.fullmatch(version):
        return False
    try:
        Version(version)
    except InvalidVersion:
        return False
    return True
