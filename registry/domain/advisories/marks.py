"""Marks on the packages of the registry that advisories affect.

A mark names the advisory. What all of them come to is a part of the package itself, which a simple page reads along
with it. Marks are set when advisories change and when a version is published, so that reading costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import bindparam, delete, insert, select, update

from registry.database import constant, db, execute
from registry.domain.advisories.batches import batches
from registry.domain.advisories.known import Verdict, findings_about, verdict_on
from registry.models import Package, PackageAdvisory, PackageStatus

BATCH = 500  # names in one statement

_packages, _marks = Package.__table__, PackageAdvisory.__table__
_PACKAGES_OF_NAMES = (
    select(Package.id, Package.normalized_name, Package.version)
    .where(
        Package.normalized_name.in_(bindparam("names", expanding=True)),
        Package.status == constant(PackageStatus.DEFAULT),
    )
    .order_by(Package.id)
)
_UNMARK = delete(_marks).where(_marks.c.package_id == bindparam("of_package"))
_SET_VERDICT = (
    update(_packages)
    .where(_packages.c.id == bindparam("of_package"))
    .values(
        is_malicious=bindparam("malicious"),
        cvss_score=bindparam("score"),
        updated_at=_packages.c.updated_at,  # the package itself does not change
    )
)


def mark_all(names: Iterable[str]) -> None:
    """Set the marks on all packages with these normalized names anew, in the present transaction.

    The caller holds ``AdvisoryLock.TREE``, so that no version is published meanwhile.
    """
    for batch in batches(sorted(set(names)), BATCH):
        packages = db.session.execute(_PACKAGES_OF_NAMES, {"names": batch}).all()
        if packages:
            findings = findings_about({package.normalized_name for package in packages})
            for package in packages:
                _mark(package.id, verdict_on(package.version, findings[package.normalized_name]))


def mark_new(package_id: int, normalized_name: str, version: str) -> None:
    """Mark a package that the present transaction has added.

    The caller shares ``AdvisoryLock.TREE``, so that no advisories change meanwhile.
    """
    _mark(package_id, verdict_on(version, findings_about([normalized_name])[normalized_name]))


def _mark(package_id: int, verdict: Verdict) -> None:
    key = {"of_package": package_id}
    execute(_UNMARK, key)
    if verdict.advisory_ids:
        rows = [{"package_id": package_id, "advisory_id": one} for one in verdict.advisory_ids]
        db.session.execute(insert(PackageAdvisory), rows)
    execute(_SET_VERDICT, {**key, "malicious": verdict.is_malicious, "score": verdict.cvss_score})
