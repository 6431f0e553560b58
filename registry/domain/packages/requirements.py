"""The requirements of a package version as rows, kept by the transactions that publish its files.

They are those of its newest file, as pages show that one, too. A version has the digest of the core metadata that its
rows were made from, so that a further file with the same core metadata changes nothing. Versions without it were
published before there were rows, or lost their newest file: ``fill`` reads their core metadata from the store.
"""

from __future__ import annotations

import logging
import random
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

from packaging.utils import canonicalize_name
from sqlalchemy import and_, bindparam, delete, func, insert, select, update

from registry.database import AdvisoryLock, constant, db, execute, transaction
from registry.domain.distributions import core_metadata
from registry.domain.distributions.budget import is_nested_too_deeply
from registry.domain.distributions.fields import requirement
from registry.domain.distributions.filenames import is_valid_name
from registry.errors import InvalidDistribution
from registry.models import Package, PackageFile, PackageRequirement, PackageStatus, is_kept
from registry.storage import ObjectMissing, Storage, object_key

MOST = 500  # of a version; the largest seen have some 200
LONGEST = 1000  # characters of a value of Requires-Dist; longer ones are left out
MOST_EXTRAS = 32  # of one marker
BATCH = 20  # versions read in a row, and noted by one transaction
SECONDS = 1.0  # of a round in the background
NO_DOCUMENT = ""  # in place of a digest

_EXTRA = re.compile(r"[\"']([^\"']*)[\"']")
_TOKEN = re.compile(r"\"[^\"]*\"|'[^']*'|[()]|[^\s()\"']+")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Requirement:
    """A requirement, which applies with an extra, or always if that is empty, where the condition holds.

    :ivar name: as spelled.
    :ivar extras: those asked of the package, with commas between them.
    :ivar specifier: the versions, as people write them; empty for all.
    :ivar url: of a direct reference.
    :ivar condition: the environment marker without the extra; often empty.
    """

    extra: str
    name: str
    normalized_name: str
    extras: str
    specifier: str
    url: str
    condition: str


def read(values: Iterable[str]) -> tuple[Requirement, ...]:
    """Return the requirements in values of Requires-Dist, a requirement of several extras once with each.

    At most ``MOST`` are returned, each once. Values that are no requirements are left out: files that were published
    with earlier versions of this program can have some.
    """
    found = (each for value in bounded(values) if not is_nested_too_deeply(value) for each in _parsed(value))
    return tuple(islice(dict.fromkeys(found), MOST))


def bounded(values: Iterable[str]) -> tuple[str, ...]:
    """Return at most ``MOST`` of the values, without those that are too long."""
    return tuple(islice((value for value in values if len(value) <= LONGEST), MOST))


@lru_cache(1024)
def _parsed(value: str) -> tuple[Requirement, ...]:
    """Return the requirements in a value; the versions of a package mostly have the same."""
    try:
        parsed = requirement(value.replace("\x00", ""))  # columns cannot store NUL
    except ValueError:
        return ()
    if not is_valid_name(parsed.name):
        return ()
    marker = "" if parsed.marker is None else str(parsed.marker)
    # ``packaging`` puts values between double quotes, whatever they contain.
    is_ambiguous = any(token[0] == "'" and '"' in token for token in _TOKEN.findall(value))
    return tuple(
        Requirement(
            extra=extra,
            name=parsed.name,
            normalized_name=canonicalize_name(parsed.name),
            extras=", ".join(sorted(parsed.extras)),
            specifier=", ".join(sorted(map(str, parsed.specifier), key=_order)),
            url=parsed.url or "",
            condition=condition,
        )
        for extra, condition in ([("", marker)] if is_ambiguous else _by_extra(marker))
    )


def _order(specifier: str) -> tuple[int, str]:
    """Return a key that sorts specifiers as people write them: lower bounds first, exceptions last."""
    return "=~><!".index(specifier[0]), specifier


def _by_extra(marker: str) -> list[tuple[str, str]]:
    """Return the extras with which a marker can hold, ``""`` for none, and the rest of the marker for each.

    An extra with which the marker holds as it does without one is left out. A marker that does not compare ``extra``
    as usual remains as it is, under ``""``.
    """
    tokens = _TOKEN.findall(marker)
    extras = _extras_in(tokens)
    if not extras or len(extras) > MOST_EXTRAS:
        return [("", marker)]
    without = _rest(tokens, "")
    conditions = {extra: _rest(tokens, extra) for extra in extras}
    changed = {extra: condition for extra, condition in conditions.items() if condition != without}
    found = {"": without, **changed}
    return [(extra, condition.text) for extra, condition in found.items() if condition.can_hold]


def _extras_in(tokens: list[str]) -> list[str]:
    """Return the normalized extras in the comparisons of a marker, or none if one of these is unusual."""
    found: dict[str, None] = {}
    for place, token in enumerate(tokens):
        if token != "extra":
            continue
        value = _EXTRA.fullmatch("".join(tokens[place + 2 : place + 3]))
        if value is None or tokens[place + 1] != "==" or not is_valid_name(value[1]):
            return []
        found[canonicalize_name(value[1])] = None
    return list(found)


class _Condition(NamedTuple):
    """A part of a marker; without text, it always holds, or never.

    :ivar is_choice: whether it has to be in parentheses beside ``and``.
    """

    text: str
    can_hold: bool = True
    is_choice: bool = False


_ALWAYS, _NEVER = _Condition(""), _Condition("", can_hold=False)


def _rest(tokens: list[str], extra: str) -> _Condition:
    """Return what remains of a marker once it is known which extra is asked for."""
    left = tokens[::-1]

    def choice() -> _Condition:
        parts = [conjunction()]
        while left and left[-1] == "or":
            left.pop()
            parts.append(conjunction())
        if _ALWAYS in parts:
            return _ALWAYS
        parts = [part for part in dict.fromkeys(parts) if part != _NEVER]
        if len(parts) < 2:
            return parts[0] if parts else _NEVER
        return _Condition(" or ".join(part.text for part in parts), is_choice=True)

    def conjunction() -> _Condition:
        parts = [single()]
        while left and left[-1] == "and":
            left.pop()
            parts.append(single())
        if _NEVER in parts:
            return _NEVER
        parts = [part for part in dict.fromkeys(parts) if part != _ALWAYS]
        if len(parts) < 2:
            return parts[0] if parts else _ALWAYS
        return _Condition(" and ".join(f"({part.text})" if part.is_choice else part.text for part in parts))

    def single() -> _Condition:
        first = left.pop()
        if first == "(":
            inner = choice()
            left.pop()
            return inner
        operator = left.pop()
        if operator == "not":
            operator = f"not {left.pop()}"
        last = left.pop()
        if first == "extra":
            return _ALWAYS if canonicalize_name(last[1:-1]) == extra else _NEVER
        return _Condition(f"{first} {operator} {last}")

    return choice()


_packages, _files, _requirements_table = (model.__table__ for model in (Package, PackageFile, PackageRequirement))
_ADD = insert(_requirements_table)
_NOTE = (
    update(_packages)
    .where(_packages.c.id == bindparam("package_id"))
    .values(requirements_sha256=bindparam("digest"), updated_at=_packages.c.updated_at)
)
_FORGET = (
    update(_packages)
    .where(_packages.c.id == bindparam("package_id"), _packages.c.requirements_sha256 == bindparam("digest"))
    .values(requirements_sha256=None, updated_at=_packages.c.updated_at)
)
_REMOVE = delete(_requirements_table).where(_requirements_table.c.package_id.in_(bindparam("ids", expanding=True)))


def add(package_id: int, found: Iterable[Requirement]) -> None:
    """Add the rows of a version that has none, in one statement."""
    rows = _rows(package_id, found)
    if rows:
        db.session().connection().execute(_ADD, rows)


def replace(package_id: int, found: Iterable[Requirement]) -> None:
    """Replace the rows of a version, whose row the transaction has locked."""
    execute(_REMOVE, {"ids": [package_id]})
    add(package_id, found)


def note_deleted(package_id: int, core_metadata_sha256: str | None) -> None:
    """Note that the present transaction deletes a file of a version, perhaps the one that its rows were made from."""
    execute(_FORGET, {"package_id": package_id, "digest": core_metadata_sha256})


def _rows(package_id: int, found: Iterable[Requirement]) -> list[dict[str, object]]:
    return [{"package_id": package_id, "number": number, **vars(each)} for number, each in enumerate(found)]


_IS_UNREAD = and_(_packages.c.requirements_sha256.is_(None), _packages.c.status == constant(PackageStatus.DEFAULT))
_newest = (
    select(_files.c.core_metadata_sha256)
    .where(
        _files.c.package_id == _packages.c.id,
        is_kept(_files),
        _files.c.core_metadata_sha256.is_not(None),
    )
    .order_by(_files.c.id.desc())
    .limit(1)
    .scalar_subquery()
)
_COUNT_UNREAD = select(func.count()).select_from(_packages).where(_IS_UNREAD)
_ANY_UNREAD = select(_packages.c.id).where(_IS_UNREAD).limit(1)
_UNREAD = (
    select(_packages.c.id, func.coalesce(_newest, NO_DOCUMENT).label("digest"))
    .where(_IS_UNREAD, _packages.c.id >= bindparam("first"))
    .order_by(_packages.c.id)
    .limit(bindparam("most"))
)
_LAST_UNREAD = select(func.max(_packages.c.id)).where(_IS_UNREAD)
_STILL_UNREAD = (
    select(_packages.c.id)
    .where(_packages.c.id.in_(bindparam("ids", expanding=True)), _IS_UNREAD)
    .order_by(_packages.c.id)
    .with_for_update(key_share=True)
)
_DIGESTS = select(_packages.c.id, func.coalesce(_newest, NO_DOCUMENT).label("digest")).where(
    _packages.c.id.in_(bindparam("ids", expanding=True))
)


def are_complete() -> bool:
    """Return whether all versions have their rows."""
    return execute(_ANY_UNREAD).scalar() is None


def unread() -> int:
    """Return the number of versions whose core metadata has to be read yet."""
    return int(execute(_COUNT_UNREAD).scalar_one())


def fill(storage: Storage, seconds: float = float("inf"), report: Callable[[int], object] = lambda _: None) -> int:
    """Read the core metadata of versions that have no rows, and return how many are left then.

    It can be interrupted, as each batch is noted in a transaction of its own, and run in several processes, which begin
    at different versions.

    :param seconds: how long another batch is begun.
    :param report: called with the number of versions of each batch.
    :raises Unavailable: the store is.
    """
    end = time.monotonic() + seconds
    last = execute(_LAST_UNREAD).scalar()
    if last is None:
        return 0
    first = random.randint(0, last)  # noqa: S311
    while time.monotonic() < end:
        batch = execute(_UNREAD, {"first": first, "most": BATCH}).all()
        db.session.rollback()  # no transaction is open while the store is read
        if batch:
            _note({row.id: (row.digest, _read_document(storage, row.digest)) for row in batch})
            report(len(batch))
            first = batch[-1].id + 1
        elif first:
            first = 0
        else:
            return 0
    return unread()


def tend(storage: Storage) -> None:
    """Fill for a moment, and log how many versions are left; a process that serves calls it again and again.

    :raises Unavailable: the store is.
    """
    left = fill(storage, SECONDS)
    if left:
        logger.info("The dependencies of %d package versions are still to be read.", left)


def _read_document(storage: Storage, digest: str) -> tuple[Requirement, ...]:
    if digest == NO_DOCUMENT:
        return ()
    try:
        with storage.open(object_key(digest)) as file:
            document = file.read(core_metadata.MAX_BYTES)
        return read(core_metadata.read(document).fields.get("requires_dist", []))
    except InvalidDistribution:  # published with an earlier version, which validated less
        return ()
    except ObjectMissing:
        logger.error("The core metadata of a listed file is not in the store: %s", digest)
        return ()


def _note(documents: dict[int, tuple[str, tuple[Requirement, ...]]]) -> None:
    """Note what was read, except of versions whose newest file is another one in the meantime.

    Shares ``AdvisoryLock.TREE``, so that no project is deleted in the meantime.
    """
    with transaction(lock=AdvisoryLock.TREE, shared=True, changes_answers=False) as session:
        locked = list(execute(_STILL_UNREAD, {"ids": list(documents)}).scalars())
        digests = execute(_DIGESTS, {"ids": locked}).all()
        same = [row.id for row in digests if row.digest == documents[row.id][0]]
        if not same:
            return
        execute(_REMOVE, {"ids": same})
        connection = session.connection()
        rows = [row for package_id in same for row in _rows(package_id, documents[package_id][1])]
        if rows:
            connection.execute(_ADD, rows)
        connection.execute(_NOTE, [{"package_id": each, "digest": documents[each][0]} for each in same])
