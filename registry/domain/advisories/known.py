"""The advisories that are known about package names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, select

from registry.database import Reading, read
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
_ALL_FINDINGS = (
    select(
        AffectedPackage.normalized_name,
        AffectedPackage.advisory_id,
        AffectedPackage.ranges,
        AffectedPackage.versions,
        Advisory.cvss_score,
    )
    .join(Advisory, Advisory.id == AffectedPackage.advisory_id)
    .where(Advisory.withdrawn_at.is_(None))
    .order_by(Advisory.id)
)
_FINDINGS = _ALL_FINDINGS.where(AffectedPackage.normalized_name.in_(bindparam("names", expanding=True)))
_FINDINGS_ABOUT_ONE = Reading(_ALL_FINDINGS.where(AffectedPackage.normalized_name == bindparam("name")))


def findings_about(names: Collection[str]) -> Mapping[str, list[Finding]]:
    """Return the advisories, in the order of their ids, about each of these normalized names that has some.

    Those that were withdrawn are left out. One statement.
    """
    found = defaultdict(list)
    for row in read(_FINDINGS, {"names": list(names)}):
        found[row.normalized_name].append(_finding(row))
    return found


def findings_about_one(name: str) -> list[Finding]:
    """Return the same for one name, in half the time."""
    return [_finding(row) for row in _FINDINGS_ABOUT_ONE.rows({"name": name})]


def _finding(row: Any) -> Finding:
    is_malicious = row.advisory_id.startswith(MALICIOUS)
    return Finding(row.advisory_id, is_malicious, row.cvss_score, Affected(row.ranges, row.versions))


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
