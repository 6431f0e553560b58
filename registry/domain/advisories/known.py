"""The advisories that are known about package names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import bindparam, select

from registry.database import db
from registry.domain.advisories.ranges import Affected
from registry.models import MALICIOUS, Advisory, AffectedPackage


@dataclass(frozen=True)
class Finding:
    """What an advisory comes to for the versions of one package name that it affects."""

    advisory_id: str
    is_malicious: bool
    cvss_score: float | None
    affected: Affected


@dataclass(frozen=True)
class Verdict:
    """What all advisories about a version come to.

    :ivar advisory_ids: sorted.
    :ivar cvss_score: the highest one; ``None`` if no advisory has one.
    """

    advisory_ids: tuple[str, ...] = ()
    is_malicious: bool = False
    cvss_score: float | None = None


# Built once, as building it takes as long as running it.
_FINDINGS = (
    select(AffectedPackage, Advisory.cvss_score)
    .join(Advisory, Advisory.id == AffectedPackage.advisory_id)
    .where(AffectedPackage.normalized_name.in_(bindparam("names", expanding=True)), Advisory.withdrawn_at.is_(None))
    .order_by(Advisory.id)
)


def findings_about(names: Collection[str]) -> Mapping[str, list[Finding]]:
    """Return the advisories, in the order of their ids, about each of these normalized names that has some.

    Those that were withdrawn are left out. One statement.
    """
    rows = db.session.execute(_FINDINGS, {"names": list(names)})
    found = defaultdict(list)
    for package, score in rows:
        affected = Affected(package.ranges, package.versions)
        found[package.normalized_name].append(
            Finding(package.advisory_id, package.advisory_id.startswith(MALICIOUS), score, affected)
        )
    return found


def verdict_on(version: str, findings: Iterable[Finding]) -> Verdict:
    """Return the verdict on a version by the findings about its name."""
    return together([finding for finding in findings if finding.affected.includes(version)])


def together(findings: Collection[Finding]) -> Verdict:
    """Return what these findings come to."""
    return Verdict(
        tuple(finding.advisory_id for finding in findings),
        any(finding.is_malicious for finding in findings),
        max((finding.cvss_score for finding in findings if finding.cvss_score is not None), default=None),
    )
