"""What the core metadata of a file say about its package, for pages."""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from email.utils import getaddresses
from functools import lru_cache
from typing import TypeVar
from urllib.parse import urlsplit

from packaging.metadata import RawMetadata

from registry.domain.distributions import core_metadata
from registry.domain.packages.requirements import bounded
from registry.errors import InvalidDistribution, Unavailable
from registry.storage import ObjectMissing, Storage, object_key

MAX_KEPT = 256  # in memory
# Of what a page shows. Documents can have thousands of values of thousands of characters.
MOST_VALUES = 200
LONGEST_VALUE = 500
LONGEST_LICENSE = 100  # longer ones are the text of a license instead of its name
LONGEST_ADDRESSES = 10_000  # of all authors or maintainers; the rest is not parsed

# PyPA, "Well-known project URLs in metadata": labels in their normalized form, and what they mean.
_LINK_KINDS = {
    "homepage": ("homepage",),
    "source": ("source", "repository", "sourcecode", "github"),
    "download": ("download",),
    "changelog": ("changelog", "changes", "whatsnew", "history"),
    "releasenotes": ("releasenotes",),
    "documentation": ("documentation", "docs"),
    "issues": ("issues", "bugs", "issue", "tracker", "issuetracker", "bugtracker"),
    "funding": ("funding", "sponsor", "donate", "donation"),
}
_KIND_OF_LABEL = {label: kind for kind, labels in _LINK_KINDS.items() for label in labels}
_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*")
_LICENSE_CLASSIFIER = "License :: "

Result = TypeVar("Result")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Link:
    """A link of a project.

    :ivar kind: one of the well-known kinds, or ``other``.
    :ivar url: with the scheme http or https.
    """

    label: str
    url: str
    kind: str


@dataclass(frozen=True)
class Person:
    """An author or maintainer.

    :ivar email: empty if there is none that can be a link.
    """

    name: str
    email: str


@dataclass(frozen=True)
class About:
    """The descriptive fields of a core metadata document, bounded in number and length.

    :ivar classifiers: the values by their first part, such as ``Topic``; licenses are in ``license``.
    :ivar requirements: the values of Requires-Dist.
    """

    links: tuple[Link, ...] = ()
    license: str = ""
    authors: tuple[Person, ...] = ()
    maintainers: tuple[Person, ...] = ()
    requires_python: str = ""
    classifiers: tuple[tuple[str, tuple[str, ...]], ...] = ()
    extras: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()
    requirements: tuple[str, ...] = ()


class Documents:
    """The core metadata documents of a store, as pages show them; those read last are kept in memory."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._kept = lru_cache(MAX_KEPT)(self._about)

    def about(self, core_metadata_sha256: str | None) -> About:
        """Return what a document says; nothing if there is none, or if it cannot be read."""
        return _read(self._kept, core_metadata_sha256) or About()

    def fields(self, core_metadata_sha256: str | None) -> RawMetadata:
        """Return the fields of a document as they are; none if there is no document, or if it cannot be read."""
        return _read(self._fields, core_metadata_sha256) or {}

    def _about(self, core_metadata_sha256: str) -> About:
        return about(self._fields(core_metadata_sha256))

    def _fields(self, core_metadata_sha256: str) -> RawMetadata:
        with self._storage.open(object_key(core_metadata_sha256)) as file:
            document = file.read(core_metadata.MAX_BYTES)
        try:
            return core_metadata.read(document).fields
        except InvalidDistribution:  # published with an earlier version, which validated less, or by the upstream
            return {}


def _read(read: Callable[[str], Result], core_metadata_sha256: str | None) -> Result | None:
    """Return what is read of a document; ``None`` if there is no document, or if it cannot be read."""
    if core_metadata_sha256 is None:
        return None
    try:
        return read(core_metadata_sha256)
    except (Unavailable, ObjectMissing):  # the rest of the page is still useful
        logger.warning("The core metadata of a package cannot be read: %s", core_metadata_sha256)
        return None


def about(fields: RawMetadata) -> About:
    """Return what pages show of the fields of a document."""
    classifiers = _bounded(fields.get("classifiers", []))
    return About(
        links=tuple(_links(fields)),
        license=_license(fields, classifiers),
        authors=_people(fields.get("author", ""), fields.get("author_email", "")),
        maintainers=_people(fields.get("maintainer", ""), fields.get("maintainer_email", "")),
        requires_python=_line(fields.get("requires_python", "")),
        classifiers=_by_group(each for each in classifiers if not each.startswith(_LICENSE_CLASSIFIER)),
        extras=_bounded(fields.get("provides_extra", [])),
        keywords=_bounded(_keywords(fields)),
        requirements=bounded(fields.get("requires_dist", [])),
    )


def _links(fields: RawMetadata) -> Iterable[Link]:
    """Yield the links, each URL once: those with labels, and those in the fields that had no labels."""
    labeled = [
        *fields.get("project_urls", {}).items(),
        ("Homepage", fields.get("home_page", "")),
        ("Download", fields.get("download_url", "")),
    ]
    seen = set()
    for label, url in labeled[:MOST_VALUES]:
        url = url.strip()
        if url not in seen and _is_web_address(url):
            seen.add(url)
            shown = _line(label)
            yield Link(shown or url, url, _KIND_OF_LABEL.get(_normalized(shown), "other"))


def _is_web_address(url: str) -> bool:
    if len(url) > LONGEST_VALUE:  # splitting normalizes the host, which can take the square of its length
        return False
    try:
        return urlsplit(url).scheme in ("http", "https") and bool(urlsplit(url).hostname) and url.isprintable()
    except ValueError:  # such as brackets that enclose no IPv6 address
        return False


def _normalized(label: str) -> str:
    """Return a label without punctuation and spaces, in lower case, as the well-known ones are compared."""
    kept = (each for each in label if not each.isspace() and not unicodedata.category(each).startswith("P"))
    return "".join(kept).lower()


def _license(fields: RawMetadata, classifiers: Iterable[str]) -> str:
    """Return the license expression, or else the licenses of the classifiers, or a short value of the old field."""
    if expression := fields.get("license_expression", ""):
        return _line(expression)
    named = [each.rpartition(" :: ")[2] for each in classifiers if each.startswith(_LICENSE_CLASSIFIER)]
    stated = " ".join(fields.get("license", "").split())
    return ", ".join(named) or (stated if len(stated) <= LONGEST_LICENSE else "")


def _people(names: str, emails: str) -> tuple[Person, ...]:
    """Return people with an address, and those of the field for names who are not among them."""
    found = [Person(_line(name), email if _ADDRESS.fullmatch(email) else "") for name, email in _addresses(emails)]
    with_address = [person for person in found if person.name or person.email]
    known = {person.name for person in with_address}
    if _line(names) and not all(name.strip() in known for name in names.split(",")):
        if len(with_address) == 1 and not with_address[0].name:
            return (Person(_line(names), with_address[0].email),)
        with_address.insert(0, Person(_line(names), ""))
    return tuple(with_address[:MOST_VALUES])


def _addresses(emails: str) -> list[tuple[str, str]]:
    """Return names and addresses; none if they are nested too deeply (RFC 5322, comments and groups)."""
    try:
        return getaddresses([emails[:LONGEST_ADDRESSES]])
    except RecursionError:
        return []


def _keywords(fields: RawMetadata) -> list[str]:
    """Return the keywords; older tools separate them by spaces instead of commas."""
    keywords = fields.get("keywords", [])
    return keywords[0].split() if len(keywords) == 1 else keywords


def _by_group(classifiers: Iterable[str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    groups: dict[str, list[str]] = {}
    for classifier in classifiers:
        group, _, rest = classifier.partition(" :: ")
        groups.setdefault(group, []).append(rest)
    return tuple((group, tuple(filter(None, values))) for group, values in groups.items())


def _bounded(values: Iterable[str]) -> tuple[str, ...]:
    """Return the different values that are not empty, in their order."""
    return tuple(dict.fromkeys(filter(None, map(_line, values))))[:MOST_VALUES]


def _line(text: str) -> str:
    return " ".join(text.split())[:LONGEST_VALUE]
