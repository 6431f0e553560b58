"""Package names and versions: validity, order, and the status of a name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from packaging.utils import InvalidName, canonicalize_name
from packaging.version import InvalidVersion, Version
from sqlalchemy import ColumnElement, SQLColumnExpression, and_, inspect, select

from registry.database import contains, db
from registry.errors import NotFound
from registry.models import NameStatus, Package, PackageName, PackageStatus, Project

NAME_OF_PACKAGE = and_(
    PackageName.project_id == Package.project_id, PackageName.normalized_name == Package.normalized_name
)

_PRE_RELEASES = {"a": "0", "b": "1", "rc": "2"}


def normalized(name: str) -> str:
    """Return any text in the form in which names are compared (PEP 503)."""
    return canonicalize_name(name)


def has_part(
    name: SQLColumnExpression[str], normalized_name: SQLColumnExpression[str], text: str
) -> ColumnElement[bool]:
    """Match rows whose name contains a text in any spelling (PEP 503), so that ``my-p`` is in ``My_Pkg``.

    A separator alone is looked for as written.
    """
    part = normalized(text)
    return contains(name, text) if part == "-" else contains(normalized_name, part)


def sorted_versions(versions: Iterable[str]) -> tuple[str, ...]:
    """Return the distinct versions in PEP 440 order, with equivalent spellings next to each other."""
    return tuple(sorted(set(versions), key=lambda text: (version_key(text), text)))


@lru_cache(maxsize=16_384)
def version_key(text: str) -> tuple[int, Version | str]:
    """Return a key that sorts version strings by PEP 440, with invalid versions first."""
    try:
        return (1, Version(text))
    except InvalidVersion:
        return (0, text)


def is_prerelease(version: str) -> bool:
    """Whether installers choose the version only if asked to, or if there is nothing else (PEP 440)."""
    _, parsed = version_key(version)
    return isinstance(parsed, Version) and parsed.is_prerelease


def version_rank(version: str) -> str:
    """Return a text that sorts versions as ``version_key`` does, in every collation of a database.

    It consists of digits and the letters a to f; each part begins with a digit for what it is.
    """
    _, parsed = version_key(version)
    if not isinstance(parsed, Version):
        return f"0{version.encode().hex()}"
    release = [*parsed.release]
    while release and release[-1] == 0:
        release.pop()
    if parsed.pre is not None:
        pre = f"1{_PRE_RELEASES[parsed.pre[0]]}{_number(parsed.pre[1])}"
    else:
        pre = "0" if parsed.post is None and parsed.dev is not None else "2"
    local = "" if parsed.local is None else "".join(map(_local_part, parsed.local.split(".")))
    return "".join(
        (
            f"1{_number(parsed.epoch)}",
            *(f"1{_number(number)}" for number in release),
            f"0{pre}",
            "0" if parsed.post is None else f"1{_number(parsed.post)}",
            "1" if parsed.dev is None else f"0{_number(parsed.dev)}",
            "0" if parsed.local is None else f"1{local}0",
        )
    )


def _number(number: int) -> str:
    digits = str(number)
    return f"{len(digits):03}{digits}"


def _local_part(part: str) -> str:
    return f"2{_number(int(part))}" if part.isdigit() else f"1{part.encode().hex()}0"


def package_name(project: Project, name: str) -> PackageName:
    """Return the status of a package name in a project.

    :param name: in any spelling.
    :raises NotFound: the project has neither a package of this name nor a status for it.
    """
    try:
        normalized_name = canonicalize_name(name, validate=True)
    except InvalidName as error:
        raise NotFound("Package") from error
    found = name_status(project, normalized_name)
    if inspect(found).persistent:
        return found
    packages = select(Package.id).where(
        Package.project_id == project.id,
        Package.normalized_name == normalized_name,
        Package.status != PackageStatus.PENDING_DESTRUCTION,
    )
    if db.session.scalar(packages.limit(1)) is None:
        raise NotFound("Package")
    return found


def name_status(project: Project, name: str) -> PackageName:
    """Return the status of any name, freshly read from the database; by default, a name is active (PEP 792)."""
    key = {"project_id": project.id, "normalized_name": canonicalize_name(name)}
    found = db.session.get(PackageName, key, populate_existing=True)
    return found or PackageName(**key, status=NameStatus.ACTIVE, reason="")


def name_statuses(packages: Iterable[Package]) -> dict[int, NameStatus]:
    """Return the status of each package's name by package id, in one statement."""
    statuses = {package.id: NameStatus.ACTIVE for package in packages}
    rows = db.session.execute(
        select(Package.id, PackageName.status).join(PackageName, NAME_OF_PACKAGE).where(Package.id.in_(statuses))
    )
    return statuses | {row[0]: row[1] for row in rows}


# GitLab, "Use valid version strings": PEP 440, appendix B, in the revision that GitLab uses.
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
    """Return whether a version is valid by GitLab's rule and by the current PEP 440."""
    return len(version) <= 255 and _VERSION.fullmatch(version) is not None and version_key(version)[0] == 1
