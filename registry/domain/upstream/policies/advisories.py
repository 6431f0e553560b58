"""Versions of the public index that are withheld because of their security advisories."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from packaging.utils import NormalizedName
from packaging.version import Version

from registry.domain.advisories.known import Finding, Verdict, findings_about_one, together, verdict_on
from registry.domain.packages.simple import SimpleFile, SimplePage, Withheld
from registry.domain.packages.withholding import Limits
from registry.domain.upstream.policies.filenames import version_of, without
from registry.domain.upstream.protocol import Upstream
from registry.domain.upstream.rules import Rules


class ByAdvisory:
    """Withholds the files that ``withhold`` does; one statement for each page."""

    def __init__(self, upstream: Upstream, rules: Rules) -> None:
        self._upstream = upstream
        self._rules = rules

    def page(self, name: NormalizedName, *, is_fresh: bool = False) -> SimplePage | None:
        page = self._upstream.page(name, is_fresh=is_fresh)
        if page is None or not (
            self._rules.withhold_malicious.value or self._rules.withhold_cvss_score.value is not None
        ):
            return page
        return withhold(page, findings_about_one(name), self._rules)


def withhold(page: SimplePage, findings: Iterable[Finding], rules: Rules) -> SimplePage:
    """Return a page without the files of malicious versions, and of those above the CVSS score.

    :param findings: the advisories about its name.
    """
    findings = tuple(findings)
    if not findings:
        return page
    limits = Limits(
        rules.withhold_malicious.value,
        rules.withhold_malicious.set_in,
        rules.withhold_cvss_score.value,
        rules.withhold_cvss_score.set_in,
    )

    @cache  # a version often has dozens of files
    def verdict(version: Version | None) -> Verdict:
        # A file without a valid version belongs to any of them.
        return verdict_on(str(version), findings) if version is not None else together(findings)

    found = (_withheld(file, verdict(version_of(file.filename)), limits) for file in page.files)
    return without(page, (one for one in found if one is not None))


def _withheld(file: SimpleFile, verdict: Verdict, limits: Limits) -> Withheld | None:
    reason = limits.reason(verdict, verdict.advisory_ids)
    if reason is None:
        return None
    return Withheld(file, reason.rule, reason.set_in, None, reason.refusal_of(file.filename))
