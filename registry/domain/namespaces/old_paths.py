"""Paths that groups, projects, and users have given up.

Reading requests for a path, and for paths below it, lead to where its namespace is now, until the path is taken again
(GitLab, "Redirects when changing repository paths"). A path under which packages were published is kept from others for
90 days, because clients are configured with it: its next owner could publish packages for them. An administrator can
free it earlier.
"""

from __future__ import annotations

from itertools import accumulate
from typing import TypeVar

from sqlalchemy import exists, or_, select
from sqlalchemy.orm import joinedload

from registry.database import AdvisoryLock, contains, db, transaction, utcnow
from registry.domain import access, audit
from registry.domain.namespaces.rules import MAXIMUM_DEPTH
from registry.domain.paging import Listing
from registry.errors import Code, Fault, NotFound
from registry.models import Ancestry, AuditEvent, Namespace, OldPath, Package, Role, User

AnyNamespace = TypeVar("AnyNamespace", bound=Namespace)

LIMIT = 100  # old paths of one namespace; for a further one, the oldest is freed unless it is kept from others
MAXIMUM_MOVES = 20  # from an old path to the present one


def moved(path: str, kind: type[AnyNamespace]) -> AnyNamespace | None:
    """Return the namespace of this kind that had this path, or is in a group or user space that had one above it."""
    key, seen = path.lower(), set[str]()
    while key not in seen and len(seen) < MAXIMUM_MOVES and "\x00" not in key:
        seen.add(key)
        old = _nearest(key)
        if old is None or old.namespace is None:
            return None
        key = old.namespace.full_path_key + key[len(old.path_key) :]
        found: AnyNamespace | None = db.session.scalar(select(kind).where(kind.full_path_key == key))
        if found is not None:
            return found
    return None


def all_old_paths(search: str = "") -> Listing[OldPath]:
    """Return the paths that were given up, the latest first.

    :param search: part of the path; case-insensitive.
    """
    listing = select(OldPath).options(joinedload(OldPath.namespace)).order_by(OldPath.id.desc())
    return listing.where(contains(OldPath.path_key, search)) if search else listing


def find_old_path(path: str) -> OldPath:
    """Return the old path with this text (case-insensitive).

    :raises NotFound: no namespace has given it up, or it was taken or freed since.
    """
    found = None if "\x00" in path else _at(path.lower())
    if found is None:
        raise NotFound("Path")
    return found


def free(old: OldPath, *, by: audit.Author) -> None:
    """End the redirect from an old path, and let others take it; takes ``AdvisoryLock.TREE``."""
    with transaction(lock=AdvisoryLock.TREE):
        _free(old, by)


def _free(old: OldPath, by: audit.Author) -> None:
    current = None if old.namespace is None else old.namespace.full_path
    audit.record(by, "old_path_freed", old.path, old.namespace, current=current)
    db.session.delete(old)


def give_up(namespace: Namespace, path: str, *, by: audit.Author) -> None:
    """Record that a namespace gives up a path because it gets another.

    Requires a transaction that holds ``AdvisoryLock.TREE``.
    """
    had_packages = _published_under(namespace, path)
    _record(path, namespace.id, had_packages)
    audit.record(by, "path_given_up", path, namespace, current=namespace.full_path, had_packages=had_packages)
    own = OldPath.namespace_id == namespace.id
    latest = select(OldPath.id).where(own).order_by(OldPath.id.desc()).limit(LIMIT)
    surplus = select(OldPath).where(own, OldPath.id.not_in(latest), OldPath.is_free(utcnow())).order_by(OldPath.id)
    for old in db.session.scalars(surplus).all():
        _free(old, by)


def give_up_deleted(namespace: Namespace, *, by: audit.Author, deleter_id: int | None = None) -> None:
    """Keep the path of a namespace that is about to be deleted, if packages were published under it.

    Requires a transaction that holds ``AdvisoryLock.TREE``.

    :param deleter_id: a user who can take the path again nevertheless.
    """
    if _published_under(namespace, namespace.full_path):
        _record(namespace.full_path, None, True, deleter_id)
        audit.record(by, "path_given_up", namespace.full_path, had_packages=True)


def kept(path: str, namespace_id: int | None, parent: Namespace | None, *, by: audit.Author) -> list[Fault]:
    """Return the error of a namespace that is about to get an old path which is kept from the author.

    :param path: the full path.
    :param namespace_id: that of the namespace; ``None`` if it is new.
    """
    old = _at(path.lower())
    is_own = old is not None and namespace_id is not None and old.namespace_id == namespace_id
    if old is None or is_own or not old.is_kept(utcnow()) or _is_owner(old, parent, by):
        return []
    return [Fault(Code.PATH_KEPT, day=old.kept_until.date().isoformat())]


def take(namespace: Namespace) -> None:
    """Delete the record of an old path that a namespace is about to get.

    Requires a transaction that holds ``AdvisoryLock.TREE``.
    """
    old = _at(namespace.full_path_key)
    if old is not None:
        db.session.delete(old)
        db.session.flush()


def _is_owner(old: OldPath, parent: Namespace | None, by: audit.Author) -> bool:
    """Return whether the author could have published under the path: as an Owner of its namespace, or of one above it.

    Being an administrator is not enough, as a path has to be freed knowingly.
    """
    user = None if by.user_id is None else db.session.get(User, by.user_id)
    if user is None:
        return False
    if old.namespace is None and user.id == old.deleter_id:
        return True
    return any(
        namespace is not None and access.role_of(user, namespace) >= Role.OWNER for namespace in (old.namespace, parent)
    )


def _at(path_key: str) -> OldPath | None:
    return db.session.scalar(select(OldPath).where(OldPath.path_key == path_key))


def _nearest(path_key: str) -> OldPath | None:
    """Return the longest old path that is this one or above it."""
    parts = path_key.split("/", MAXIMUM_DEPTH)[:MAXIMUM_DEPTH]  # no namespace is deeper, however long the path is
    candidates = list(accumulate(parts, lambda above, part: f"{above}/{part}"))
    found = db.session.scalars(
        select(OldPath).options(joinedload(OldPath.namespace)).where(OldPath.path_key.in_(candidates))
    )
    return max(found, key=lambda old: len(old.path_key), default=None)


def _record(path: str, namespace_id: int | None, had_packages: bool, deleter_id: int | None = None) -> None:
    """Record a path, in place of an earlier record, which a group that was renamed back can have left."""
    earlier = _at(path.lower())
    if earlier is not None:
        had_packages |= earlier.had_packages
        db.session.delete(earlier)
        db.session.flush()
    old = OldPath(
        path=path, path_key=path.lower(), namespace_id=namespace_id, given_up_at=utcnow(), had_packages=had_packages,
        deleter_id=deleter_id,
    )  # fmt: skip
    db.session.add(old)
    db.session.flush()


def _published_under(namespace: Namespace, path: str) -> bool:
    """Return whether packages are in a namespace or below it, or ever were.

    Projects that were below it and are gone have left paths, which an Owner of a new namespace here could take.

    :param path: which it has, or had until now.
    """
    below = select(Ancestry.namespace_id).where(Ancestry.ancestor_id == namespace.id)
    has_packages = exists().where(Package.project_id.in_(below))
    had_packages = exists().where(AuditEvent.namespace_id.in_(below), AuditEvent.action == "package_published")
    is_left = OldPath.path_key.startswith(f"{path.lower()}/", autoescape=True)
    has_left = exists().where(is_left, OldPath.had_packages, OldPath.given_up_at > utcnow() - OldPath.KEPT_FOR)
    return bool(db.session.scalar(select(or_(has_packages, had_packages, has_left))))
