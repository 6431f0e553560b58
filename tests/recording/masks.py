"""Replaces values that differ from run to run: times, secrets, ports and folders.

Times and dates near now become their distance from now (``<now>``, ``<today+30>``); a format and its precision stay
visible, and fixed dates far away stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from email.utils import parsedate_to_datetime

NEAR = timedelta(minutes=25)
FAR = timedelta(days=800)
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_MONTH = "|".join(_MONTHS)
_TIME_ELEMENT = re.compile(r'(<time datetime="([^"]+)"[^>]*>)([^<]*)(</time>)')
_ISO = re.compile(r"(?<![\d-])(\d{4}-\d\d-\d\d)(?:([T ])(\d\d:\d\d:\d\d)(\.\d+)?( UTC|Z|[+-]\d\d:\d\d)?)?(?![\d-])")
_HTTP = re.compile(rf"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d (?:{_MONTH}) \d{{4}} \d\d:\d\d:\d\d GMT")
_ENGLISH = re.compile(rf"({_MONTH}) (\d{{1,2}}), (\d{{4}})(?:, (\d{{1,2}}):(\d\d):(\d\d)[\s\u202f]([AP])M)?")
_JAPANESE = re.compile(r"(?<!\d)(\d{4})/(\d\d)/(\d\d)(?: (\d{1,2}):(\d\d):(\d\d))?(?!\d)")
_PLAIN: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\bgl(pat|dt|cbt)-[\w-]{12,}"), r"<gl\1 secret>"),
    (re.compile(r'(name="csrf_token" value=")[^"]*'), r"\1<form token>"),
    (re.compile(r"(?<=csrf_token=)[\w.%-]+\.[\w.%-]+"), "<form token>"),
    (re.compile(r"(registry_session=)[^;\n]+"), r"\1<session>"),
    (re.compile(r"(/static/[\w./-]+\?v=)[0-9a-f]{12}"), r"\1<digest>"),
    (re.compile(r"(?<=Password: )\S+"), "<password>"),
    (re.compile(r'(?<="password": ")[^"]+'), "<password>"),
    (re.compile(r'(id="issued-password"[^>]*value=")[^"]*'), r"\1<password>"),
    (re.compile(r'(id="issued-password".*?data-copy=")[^"]*', re.DOTALL), r"\1<password>"),
    (
        re.compile(r"^(\w*_seconds_(?:bucket|sum)\{.*\}|process_\w+|\w+_created(?:\{.*\})?) \S+$", re.MULTILINE),
        r"\1 <number>",
    ),
    (re.compile(r"(?<=Retry in )\d+"), "<seconds>"),
    (re.compile(r"(?<=Try again in )\d+"), "<seconds>"),
    (re.compile(r"\d+(?= ?秒後)"), "<seconds>"),
    (re.compile(r"((?:127\.0\.0\.1|waitress\.invalid)(?::|%3A))\d{4,5}"), r"\1<port>"),
)


class Masks:
    """Masks texts. ``texts``: further replacements, by the text to replace."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self._now = datetime.now(UTC)

    def __call__(self, text: str) -> str:
        self._now = datetime.now(UTC)
        for pattern, replacement in _PLAIN:
            text = pattern.sub(replacement, text)
        for known, word in self.texts.items():
            text = text.replace(known, word)
        steps: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...] = (
            (_TIME_ELEMENT, self._time_element), (_ISO, self._iso), (_HTTP, self._http), (_ENGLISH, self._english),
            (_JAPANESE, self._japanese),
        )  # fmt: skip
        for dates, replace in steps:
            text = dates.sub(replace, text)
        return text

    def _time_element(self, found: re.Match[str]) -> str:
        moment = datetime.fromisoformat(found[2])
        return f"{found[1]}<age>{found[4]}" if abs(moment - self._now) < NEAR else found[0]

    def _iso(self, found: re.Match[str]) -> str:
        day, separator, time, fraction, zone = found.groups()
        try:
            written = date.fromisoformat(day)
        except ValueError:
            return found[0]
        if time is None:
            return self._day(written, found[0])
        moment = datetime.fromisoformat(f"{day}T{time}+00:00")
        form = f"{separator}{'.' + 'f' * (len(fraction) - 1) if fraction else ''}{zone or ''}"
        return self._moment(moment, form, found[0])

    def _http(self, found: re.Match[str]) -> str:
        return self._moment(parsedate_to_datetime(found[0]), " GMT", found[0])

    def _english(self, found: re.Match[str]) -> str:
        month, day, year, hour, minute, second, half = found.groups()
        written = date(int(year), _MONTHS.index(month) + 1, int(day))
        if hour is None:
            return self._day(written, found[0], " en")
        hours = int(hour) % 12 + (12 if half == "P" else 0)
        moment = datetime(written.year, written.month, written.day, hours, int(minute), int(second), tzinfo=UTC)
        return self._moment(moment, " en", found[0])

    def _japanese(self, found: re.Match[str]) -> str:
        year, month, day, *time = (None if part is None else int(part) for part in found.groups())
        if time[0] is None:
            return self._day(date(year or 1, month or 1, day or 1), found[0], " ja")
        moment = datetime(year or 1, month or 1, day or 1, time[0], time[1] or 0, time[2] or 0, tzinfo=UTC)
        return self._moment(moment, " ja", found[0])

    def _day(self, day: date, text: str, form: str = "") -> str:
        days = (day - self._now.date()).days
        return text if abs(days) > FAR.days else f"<today{f'{days:+}' if days else ''}{form}>"

    def _moment(self, moment: datetime, form: str, text: str) -> str:
        """The distance in hours; for midnights in days, because they stem from dates."""
        distance = moment - self._now
        if abs(distance) < NEAR:
            return f"<now{form}>"
        if abs(distance) > FAR:
            return text
        if (moment.hour, moment.minute, moment.second) == (0, 0, 0):
            return f"<midnight of {self._day(moment.date(), '')}{form}>"
        return f"<now{round(distance / timedelta(hours=1)):+}h{form}>"
