"""Finding groups and projects by ID or path."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from sqlalchemy import select

from registry.database import db
from registry.domain import access
from registry.domain.access import Permission, Principal
from registry.errors import NotFound
from registry.models import Ancestry, Group, Namespace

AnyNamespace = TypeVar("AnyNamespace", bound=Namespace)


def find(reference: str, kind: type[AnyNamespace]) -> AnyNamespace:
    """Return the group or project with this ID (all digits) or full path (case-insensitive).

    Its visibility is not checked; see ``access.require``.

    :raises NotFound: there is none of this kind.
    """
    match searched(reference):
        case "full_path_key", _:
            return by_path(reference, kind)
        case "id", int(namespace_id) if namespace := db.session.get(kind, namespace_id):
            return namespace
    raise NotFound(kind.__name__)


def searched(reference: str) -> tuple[str, int | str] | None:
    """Return the column and the value by which ``find`` searches; ``None`` if no namespace can have the reference."""
    if not (reference.isascii() and reference.isdigit()):
        return None if "\x00" in reference else ("full_path_key", reference.lower())
    return ("id", int(reference)) if len(reference) < 10 else None


def by_path(path: str, kind: type[AnyNamespace]) -> AnyNamespace:
    """Return the same by full path only, as used by pages: a group can be named ``2024``.

    :raises NotFound: there is none of this kind.
    """
    namespace: AnyNamespace | None = None
    if "\x00" not in path:
        namespace = db.session.scalar(select(kind).where(kind.full_path_key == path.lower()))
    if namespace is None:
        raise NotFound(kind.__name__)
    return namespace


def visible_at(path: str, kind: type[AnyNamespace], principal: Principal) -> AnyNamespace | None:
    """Return the group or project with this full path, if it is visible to the principal."""
    try:
        found = by_path(path, kind)
    except NotFound:
        return None
    return found if access.allowed(principal, Permission.READ_NAMESPACE, found) else None


def visible_group(group_id: int | None, principal: Principal) -> Group | None:
    """Return the group with this ID, if it is visible to the principal."""
    found = None if group_id is None else by_id(group_id)
    if isinstance(found, Group) and access.allowed(principal, Permission.READ_NAMESPACE, found):
        return found
    return None


def by_id(namespace_id: int) -> Namespace | None:
    """Return the group, project, or personal namespace with this ID."""
    return db.session.get(Namespace, namespace_id)


def by_ids(ids: Iterable[int | None]) -> dict[int | None, Namespace]:
    """Return the groups, projects, and personal namespaces with these IDs, in one statement."""
    found = db.session.scalars(select(Namespace).where(Namespace.id.in_({id_ for id_ in ids if id_ is not None})))
    return {namespace.id: namespace for namespace in found}


def ancestors(namespace: Namespace) -> list[Namespace]:
    """Return the ancestors of a namespace, topmost first."""
    return list(
        db.session.scalars(
            select(Namespace)
            .join(Ancestry, Ancestry.ancestor_id == Namespace.id)
            .where(Ancestry.namespace_id == namespace.id, Ancestry.distance > 0)
            .order_by(Ancestry.distance.desc())
        )
    )
