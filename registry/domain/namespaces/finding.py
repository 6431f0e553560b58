"""Groups and projects found by id or path."""

from __future__ import annotations

from typing import TypeVar

from sqlalchemy import select

from registry.database import db
from registry.errors import NotFound
from registry.models import Ancestry, Namespace

AnyNamespace = TypeVar("AnyNamespace", bound=Namespace)


def find(reference: str, kind: type[AnyNamespace]) -> AnyNamespace:
    """The group or project with this id (all digits) or full path (without case).

    :raises NotFound: there is none of this kind; who may know of it is decided by ``access.require``.
    """
    if not (reference.isascii() and reference.isdigit()):
        return by_path(reference, kind)
    namespace = db.session.get(kind, int(reference)) if len(reference) < 10 else None
    if namespace is None:
        raise NotFound(kind.__name__)
    return namespace


def by_path(path: str, kind: type[AnyNamespace]) -> AnyNamespace:
    """The same by full path alone, as pages spell it: a group may be called ``2024``.

    :raises NotFound: as ``find``.
    """
    namespace: AnyNamespace | None = None
    if "\x00" not in path:
        namespace = db.session.scalar(select(kind).where(kind.full_path_key == path.lower()))
    if namespace is None:
        raise NotFound(kind.__name__)
    return namespace


def by_id(namespace_id: int) -> Namespace | None:
    """The group, project or personal namespace with this id."""
    return db.session.get(Namespace, namespace_id)


def ancestors(namespace: Namespace) -> list[Namespace]:
    """All namespaces above, topmost first."""
    return list(
        db.session.scalars(
            select(Namespace)
            .join(Ancestry, Ancestry.ancestor_id == Namespace.id)
            .where(Ancestry.namespace_id == namespace.id, Ancestry.distance > 0)
            .order_by(Ancestry.distance.desc())
        )
    )
