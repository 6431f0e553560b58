"""Which versions are withheld because of their security advisories: malicious ones, and those above a CVSS score.

The settings of the group above the project that has the package decide, also where a group further above offers it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import select

from registry.database import db
from registry.domain.cascade import INSTANCE, WITHHOLD_CVSS_SCORE, WITHHOLD_MALICIOUS, Level, levels_of, path_of
from registry.models import MALICIOUS, InstanceSettings, PackageAdvisory

MALICIOUS_RULE, CVSS_RULE = "malicious", "cvss"


class Marked(Protocol):
    """What all advisories about a version come to; rows of packages have it, and ``advisories.known.Verdict``."""

    @property
    def is_malicious(self) -> bool: ...
    @property
    def cvss_score(self) -> float | None: ...


@dataclass(frozen=True)
class Limits:
    """The settings that decide in a namespace, each with the full path of the group that has it, or ``instance``.

    :ivar cvss_score: versions with a higher score are withheld; ``None`` withholds none.
    """

    withholds_malicious: bool
    malicious_set_in: str
    cvss_score: float | None
    cvss_set_in: str

    def reason(self, version: Marked, advisory_ids: Sequence[str]) -> Reason | None:
        """Return why a version is withheld; ``None`` if it is offered.

        :param advisory_ids: of the advisories about it, for the explanation.
        """
        if version.is_malicious and self.withholds_malicious:
            named = [one for one in advisory_ids if one.startswith(MALICIOUS)]
            detail = f"It contains malicious code, as reported by {_listed(named)}."
            return Reason(MALICIOUS_RULE, self.malicious_set_in, detail)
        if self.cvss_score is not None and version.cvss_score is not None and version.cvss_score > self.cvss_score:
            detail = (
                f"It has a vulnerability with the CVSS score {version.cvss_score:g} ({_listed(advisory_ids)}), and "
                f"versions above {self.cvss_score:g} are withheld."
            )
            return Reason(CVSS_RULE, self.cvss_set_in, detail)
        return None


@dataclass(frozen=True)
class Reason:
    """Why a version is withheld.

    :ivar set_in: where the rule is set: the full path of a group, or ``instance``.
    :ivar detail: a sentence for people.
    """

    rule: str
    set_in: str
    detail: str

    def refusal_of(self, subject: str) -> str:
        """Return the explanation for those who ask for a version or file, with whom they can ask."""
        whom = "an administrator" if self.set_in == INSTANCE else f"an Owner of the group {self.set_in}"
        return f"{subject} is withheld. {self.detail} Ask {whom}."


class MarkedPackage(Marked, Protocol):
    @property
    def package_id(self) -> int: ...
    @property
    def project_id(self) -> int: ...


def withheld(packages: Iterable[MarkedPackage]) -> dict[int, Reason]:
    """Return why packages are withheld, by package id, in three statements, or in none if they have no advisories."""
    marked = {package.package_id: package for package in packages if _is_marked(package)}
    if not marked:
        return {}
    limits = limits_in(package.project_id for package in marked.values())
    advisory_ids = advisories_of(marked)
    reasons = {
        package_id: limits[package.project_id].reason(package, advisory_ids.get(package_id, ()))
        for package_id, package in marked.items()
    }
    return {package_id: reason for package_id, reason in reasons.items() if reason is not None}


def limits_in(namespace_ids: Iterable[int]) -> dict[int, Limits]:
    """Return the settings that decide in groups and projects, by id, in two statements at any depth."""
    ids, instance = set(namespace_ids), InstanceSettings.current()
    levels = levels_of(ids, WITHHOLD_MALICIOUS, WITHHOLD_CVSS_SCORE)
    return {one: _limits(instance, levels.get(one, ())) for one in ids}


def advisories_of(package_ids: Iterable[int]) -> Mapping[int, list[str]]:
    """Return the ids of the advisories about packages, sorted, by package id, in one statement."""
    rows = db.session.execute(
        select(PackageAdvisory.package_id, PackageAdvisory.advisory_id)
        .where(PackageAdvisory.package_id.in_(list(package_ids)))
        .order_by(PackageAdvisory.package_id, PackageAdvisory.advisory_id)
    )
    found: dict[int, list[str]] = {}
    for package_id, advisory_id in rows:
        found.setdefault(package_id, []).append(advisory_id)
    return found


def _is_marked(package: Marked) -> bool:
    return package.is_malicious or package.cvss_score is not None


def _limits(instance: InstanceSettings, levels: Sequence[Level]) -> Limits:
    malicious_place, is_withheld = WITHHOLD_MALICIOUS.placed(instance, levels)[-1]
    cvss_place, score = WITHHOLD_CVSS_SCORE.placed(instance, levels)[-1]
    return Limits(is_withheld, path_of(malicious_place), score, path_of(cvss_place))


def _listed(advisory_ids: Sequence[str]) -> str:
    return ", ".join(advisory_ids[:3]) + (" and others" if len(advisory_ids) > 3 else "")
