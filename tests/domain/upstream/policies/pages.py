"""Pages of the public index and rules for tests of the policies."""

from __future__ import annotations

from datetime import datetime

from registry.domain.packages.simple import SimpleFile, SimplePage
from registry.domain.patterns import parse_pattern
from registry.domain.upstream.rules import AgeException, Placed, Rules
from registry.models import UpstreamMode


def file_of(filename: str, uploaded_at: datetime | None = None) -> SimpleFile:
    return SimpleFile(filename, f"https://files.test/{filename}", "0" * 64, 1, "", uploaded_at, None, None)


def page_of(*files: SimpleFile, name: str = "demo", versions: tuple[str, ...] = ()) -> SimplePage:
    return SimplePage(name, name, versions, files, "active", "")


def rules_with(
    *,
    days: int = 0,
    date: datetime | None = None,
    blocked: tuple[str, ...] = (),
    allowed: tuple[str, ...] = (),
    exceptions: tuple[tuple[str, datetime | None], ...] = (),
    malicious: bool = True,
    score: float | None = None,
) -> Rules:
    return Rules(
        forwards=Placed(True, "instance"),
        mode=Placed(UpstreamMode.CACHE, "instance"),
        minimum_age_days=Placed(days, "acme"),
        fixed_date=Placed(date, "instance"),
        reserved=(),
        blocked=tuple(Placed(parse_pattern(text), "acme/tools") for text in blocked),
        allowed=tuple(Placed(parse_pattern(text), "instance") for text in allowed),
        withhold_malicious=Placed(malicious, "instance"),
        withhold_cvss_score=Placed(score, "acme"),
        exceptions=tuple(AgeException(parse_pattern(text), "acme", end) for text, end in exceptions),
    )
