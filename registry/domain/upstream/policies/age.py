"""The age gate: files of the public index that are too young, or were uploaded after a fixed date."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from packaging.utils import NormalizedName

from registry.domain.packages.simple import SimpleFile, SimplePage, Withheld
from registry.domain.patterns import ByVersion
from registry.domain.upstream.policies.filenames import version_of, without
from registry.domain.upstream.protocol import Upstream
from registry.domain.upstream.rules import Rules, place_in_words


class ByAge:
    """Withholds the files that ``withhold`` does.

    :param now: the time of the request.
    """

    def __init__(self, upstream: Upstream, rules: Rules, now: datetime) -> None:
        self._upstream = upstream
        self._rules = rules
        self._now = now

    def page(self, name: NormalizedName, *, is_fresh: bool = False) -> SimplePage | None:
        page = self._upstream.page(name, is_fresh=is_fresh)
        return None if page is None else withhold(page, self._rules, self._now)


def withhold(page: SimplePage, rules: Rules, now: datetime) -> SimplePage:
    """Return a page without the files that are younger than the minimum age, or not older than the fixed date.

    Files without an upload time count as new. Exceptions lift both rules. The result holds until the next file is old
    enough or an exception ends.
    """
    if not rules.minimum_age_days.value and rules.fixed_date.value is None:
        return page
    exceptions = [one for one in rules.exceptions if one.counts_at(now) and one.pattern.matches_name(page.name)]
    withheld = [found for file in page.files if (found := _withheld(file, rules, now)) is not None]
    if exceptions:
        excepted = ByVersion(one.pattern for one in exceptions)
        withheld = [one for one in withheld if excepted.first(version_of(one.file.filename)) is None]
    changes = [one.until for one in withheld] + [one.expires_at for one in exceptions]
    holds_until = min((moment for moment in (page.holds_until, *changes) if moment is not None), default=None)
    return replace(without(page, withheld), holds_until=holds_until)


def _withheld(file: SimpleFile, rules: Rules, now: datetime) -> Withheld | None:
    date, age = rules.fixed_date, rules.minimum_age_days
    # The fixed date first: its files are not offered when they are old enough.
    if date.value is not None and (file.uploaded_at is None or file.uploaded_at >= date.value):
        detail = f"{_upload(file)}; {place_in_words(date.set_in)} offers only files from before {_shown(date.value)}."
        return Withheld(file, "fixed_date", date.set_in, None, detail)
    if not age.value:
        return None
    until = None if file.uploaded_at is None else _later(file.uploaded_at, age.value)
    if until is not None and until <= now:
        return None
    days = f"{age.value} day{'s' if age.value > 1 else ''}"
    detail = f"{_upload(file)}; {place_in_words(age.set_in)} offers files {days} after their upload"
    return Withheld(
        file, "age", age.set_in, until, f"{detail}, this one from {_shown(until)}." if until else f"{detail}."
    )


def _later(moment: datetime, days: int) -> datetime | None:
    """Return a moment some days later; ``None`` after the end of the calendar."""
    try:
        return moment + timedelta(days=days)
    except OverflowError:
        return None


def _upload(file: SimpleFile) -> str:
    if file.uploaded_at is None:
        return f"The public index does not state when {file.filename} was uploaded"
    return f"{file.filename} was uploaded to the public index at {_shown(file.uploaded_at)}"


def _shown(moment: datetime) -> str:
    return f"{moment.isoformat(' ')[:16]} UTC"  # in a third of the time of strftime
