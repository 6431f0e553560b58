"""Reading of single records in the OSV format."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from packaging.utils import InvalidName, canonicalize_name

from registry.domain.advisories.ranges import EVENT_KINDS, INTRODUCED, Affected
from registry.models import MALICIOUS

ECOSYSTEM = "PyPI"
LONGEST_ID, LONGEST_SUMMARY, LONGEST_DETAILS = 100, 500, 4000
# Most records are about malicious packages, and their details are almost the same.
LONGEST_DETAILS_OF_MALICIOUS = 400
MAX_PACKAGES, MAX_ALIASES = 5000, 50  # of one record
MAX_VERSIONS, MAX_EVENTS = 20_000, 2000  # of one package in a record
LONGEST_VECTOR, MAX_VECTORS = 300, 500  # of one record; with all metrics, one of CVSS 4.0 has about 200 characters
CVSS = {"CVSS_V2": "CVSS2", "CVSS_V3": "CVSS3", "CVSS_V4": "CVSS4"}  # the classes of the package cvss, by type
SEVERITIES = {"CRITICAL": "critical", "HIGH": "high", "MODERATE": "medium", "MEDIUM": "medium", "LOW": "low"}


class Malformed(ValueError):
    """A record that is not as in the schema."""


@dataclass(frozen=True)
class Record:
    """An advisory about packages of the Python Package Index.

    :ivar aliases: ids of the same problem in other databases.
    :ivar cvss_score: the highest of its base scores; ``None`` if it has none.
    :ivar severity: in a word, as its source rates it; empty if it does not.
    :ivar affected: by normalized package name.
    """

    id: str
    summary: str
    details: str
    aliases: tuple[str, ...]
    published_at: datetime | None
    withdrawn_at: datetime | None
    cvss_score: float | None
    severity: str
    affected: dict[str, Affected]


def id_of(document: object) -> str:
    """Return the id of a parsed record.

    :raises Malformed: it has none that is valid.
    """
    found = document.get("id") if isinstance(document, dict) else None
    if (
        not isinstance(found, str)
        or not 1 <= len(found) <= LONGEST_ID
        or not found.isascii()
        or not found.isprintable()
    ):
        raise Malformed("id")
    return found


def read(document: dict[str, Any]) -> Record:
    """Return a parsed record; ``affected`` is empty if it is about packages of other ecosystems only.

    :raises Malformed: it is not as in the schema.
    """
    record_id = id_of(document)
    entries = [entry for entry in _dicts(document, "affected") if _is_about_pypi(entry)]
    details = LONGEST_DETAILS_OF_MALICIOUS if record_id.startswith(MALICIOUS) else LONGEST_DETAILS
    vectors = {vector for entry in (document, *entries) for vector in _vectors(entry)}
    if len(vectors) > MAX_VECTORS:
        raise Malformed("severity")
    scores = [score for vector in vectors if (score := _base_score(*vector)) is not None]
    return Record(
        id=record_id,
        summary=_text(document, "summary", LONGEST_SUMMARY),
        details=_text(document, "details", details),
        aliases=tuple(_strings(document, "aliases", MAX_ALIASES, LONGEST_ID)),
        published_at=_moment(document, "published"),
        withdrawn_at=_moment(document, "withdrawn"),
        cvss_score=max(scores, default=None),
        severity=_severity(document),
        affected=_affected(entries),
    )


def _is_about_pypi(entry: dict[str, Any]) -> bool:
    package = entry.get("package")
    return isinstance(package, dict) and package.get("ecosystem") == ECOSYSTEM


def _affected(entries: Iterable[dict[str, Any]]) -> dict[str, Affected]:
    ranges: defaultdict[str, list[tuple[tuple[str, str], ...]]] = defaultdict(list)
    versions: defaultdict[str, list[str]] = defaultdict(list)
    for entry in entries:
        try:
            name = canonicalize_name(_text(entry["package"], "name", 255), validate=True)
        except InvalidName as error:
            raise Malformed("affected.package.name") from error
        ranges[name] += _ranges(entry)
        versions[name] += _strings(entry, "versions", MAX_VERSIONS, 255)
    if len(ranges) > MAX_PACKAGES:
        raise Malformed("affected")
    if any(sum(map(len, one)) > MAX_EVENTS for one in ranges.values()):
        raise Malformed("affected.ranges.events")
    if any(len(one) > MAX_VERSIONS for one in versions.values()):
        raise Malformed("affected.versions")
    return {name: Affected(tuple(ranges[name]), tuple(versions[name])) for name in ranges}


def _ranges(entry: dict[str, Any]) -> Iterator[tuple[tuple[str, str], ...]]:
    for one in _dicts(entry, "ranges"):
        if one.get("type") == "ECOSYSTEM":
            events = tuple(_events(one))
            if not any(kind == INTRODUCED for kind, _ in events):
                raise Malformed("affected.ranges.events")
            yield events


def _events(one: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for event in _dicts(one, "events"):
        for kind, version in event.items():
            if kind not in EVENT_KINDS or not isinstance(version, str) or len(version) > 255:
                raise Malformed("affected.ranges.events")
            yield kind, version.strip()


def _vectors(entry: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the kind and the vector of each rating; other ratings and longer texts are none."""
    for severity in _dicts(entry, "severity"):
        kind, vector = severity.get("type"), severity.get("score")
        if isinstance(kind, str) and kind in CVSS and isinstance(vector, str) and len(vector) <= LONGEST_VECTOR:
            yield kind, vector


@lru_cache(maxsize=4096)
def _base_score(kind: str, vector: str) -> float | None:
    """Return the base score of a vector; ``None`` if it is not valid."""
    import cvss  # takes 20 ms, and few processes read advisories

    try:
        return float(getattr(cvss, CVSS[kind])(vector).base_score)
    except (cvss.CVSSError, ValueError, KeyError):
        return None


def _severity(document: dict[str, Any]) -> str:
    own = document.get("database_specific")
    word = own.get("severity") if isinstance(own, dict) else None
    return SEVERITIES.get(word.upper(), "") if isinstance(word, str) else ""


def _dicts(parent: dict[str, Any], key: str) -> list[dict[str, Any]]:
    found = parent.get(key) or []
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise Malformed(key)
    return found


def _strings(parent: dict[str, Any], key: str, most: int, longest: int) -> Sequence[str]:
    found = parent.get(key) or []
    if not isinstance(found, list) or len(found) > most:
        raise Malformed(key)
    if not all(isinstance(each, str) and len(each) <= longest for each in found):
        raise Malformed(key)
    return list(dict.fromkeys(map(_storable, found)))


def _text(parent: dict[str, Any], key: str, longest: int) -> str:
    found = parent.get(key) or ""
    if not isinstance(found, str):
        raise Malformed(key)
    text = _storable(found)
    return text if len(text) <= longest else text[: longest - 3] + "..."


def _storable(text: str) -> str:
    return text.replace("\x00", "")


def _moment(parent: dict[str, Any], key: str) -> datetime | None:
    found = parent.get(key)
    if found is None:
        return None
    try:
        moment = datetime.fromisoformat(found)
        return moment.astimezone(UTC) if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    except (TypeError, ValueError, OverflowError) as error:
        raise Malformed(key) from error
