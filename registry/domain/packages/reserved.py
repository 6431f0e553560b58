"""Reserved names: package names that a project or group never asks for upstream.

Every name that was ever published below a top-level group, or in a personal namespace, is reserved in it, for all
projects and groups below it, until an Owner releases it. Otherwise, anyone could publish a package of the name on the
upstream index for clients that use the address of another project, or when the last file was deleted (dependency
confusion). The first publication of a name adds its row in the same transaction.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import and_, bindparam, exists, insert, or_, select

from registry.database import constant, execute, utcnow
from registry.models import Ancestry, Namespace, NameStatus, Package, PackageName, PackageStatus, ReservedName

# Characters that are easily confused with each other; hyphens are overlooked.
_SKELETON = str.maketrans({"-": "", "0": "o", "1": "i", "l": "i"})

_reserved, _ancestries, _namespaces = (model.__table__ for model in (ReservedName, Ancestry, Namespace))


def skeleton(normalized_name: str) -> str:
    """Return what is left of a name without hyphens and differences between characters that look alike."""
    return normalized_name.translate(_SKELETON)


@dataclass(frozen=True)
class Reservation:
    """Why a name is never asked for upstream from a project or group.

    :ivar is_held_here: a project in the namespace has the name, or published it first.
    :ivar top: full path of the top-level group, or of the personal namespace.
    :ivar is_personal: whether that is a personal namespace, which has no index.
    """

    is_held_here: bool
    top: str
    is_personal: bool


# Every namespace is its own ancestor, too.
_IS_HELD_HERE = or_(
    *(
        exists().where(
            model.normalized_name == bindparam("name"),
            Ancestry.namespace_id == model.project_id,
            Ancestry.ancestor_id == bindparam("namespace_id"),
            condition,
        )
        for model, condition in (
            (Package, Package.status == constant(PackageStatus.DEFAULT)),
            (PackageName, PackageName.status == constant(NameStatus.QUARANTINED)),
        )
    )
)
# A group that was at the top level before it was moved has reservations of its own.
_above = _ancestries.alias()
_IS_RESERVED = exists().where(
    _above.c.namespace_id == bindparam("namespace_id"),
    _reserved.c.top_id == _above.c.ancestor_id,
    _reserved.c.normalized_name == bindparam("name"),
)
_holding, _line = _ancestries.alias(), _ancestries.alias()
_IS_FROM_HERE = exists().where(
    _reserved.c.normalized_name == bindparam("name"),
    _reserved.c.top_id == _above.c.ancestor_id,
    _above.c.namespace_id == bindparam("namespace_id"),
    _holding.c.namespace_id == _reserved.c.holder_id,
    _holding.c.ancestor_id == bindparam("namespace_id"),
)
_RESERVATION = (
    select(
        _namespaces.c.full_path,
        _namespaces.c.kind,
        or_(_IS_HELD_HERE, _IS_FROM_HERE).label("is_held_here"),
        _IS_RESERVED.label("is_reserved"),
    )
    .join(_line, _line.c.ancestor_id == _namespaces.c.id)
    .where(_line.c.namespace_id == bindparam("namespace_id"))
    .order_by(_line.c.distance.desc())
    .limit(1)
)


def reservation(namespace: Namespace, normalized_name: str) -> Reservation | None:
    """Return why a name is not asked for upstream from a project or group, or ``None`` if it can be; one statement.

    The answer does not depend on the caller, nor on whether the registry of the project with the name is enabled.
    """
    row = execute(_RESERVATION, {"name": normalized_name, "namespace_id": namespace.id}).one_or_none()
    if row is None or not (row.is_held_here or row.is_reserved):
        return None
    return Reservation(bool(row.is_held_here), row.full_path, row.kind == "user")


_mine = _ancestries.alias()
TOP_OF_PROJECT = (
    select(_mine.c.ancestor_id)
    .where(_mine.c.namespace_id == bindparam("project_id"))
    .order_by(_mine.c.distance.desc())
    .limit(1)
    .scalar_subquery()
)
# For a statement with the parameters ``project_id`` and ``normalized_name``.
IS_RESERVED_AROUND = and_(
    _reserved.c.top_id == TOP_OF_PROJECT, _reserved.c.normalized_name == bindparam("normalized_name")
)
_row = (
    bindparam("normalized_name", type_=_reserved.c.normalized_name.type),
    bindparam("skeleton", type_=_reserved.c.skeleton.type),
    bindparam("project_id", type_=_reserved.c.holder_id.type),
    bindparam("created_at", type_=_reserved.c.created_at.type),
)
_ADD = insert(_reserved).from_select(
    ["top_id", "normalized_name", "skeleton", "holder_id", "created_at"],
    select(TOP_OF_PROJECT, *_row).where(~exists().where(IS_RESERVED_AROUND)),
)


def reserve(project_id: int, normalized_name: str) -> None:
    """Reserve a name in the top-level group of a project that publishes it, in the present transaction.

    Another transaction that does the same at that moment makes it fail with an ``IntegrityError``.
    """
    row = {"project_id": project_id, "normalized_name": normalized_name, "skeleton": skeleton(normalized_name)}
    execute(_ADD, {**row, "created_at": utcnow()})
