"""Reserved names: package names that a project or group never asks for upstream.

Every name that was ever published below a top-level group, or in a personal namespace, is reserved in it, for all
projects and groups below it, until an Owner releases it. Otherwise, anyone could publish a package of the name on the
upstream index for clients that use the address of another project, or when the last file was deleted (dependency
confusion). The first publication of a name adds its row in the same transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import ClassVar

import orjson
from packaging.utils import InvalidName, canonicalize_name
from sqlalchemy import (
    ColumnElement,
    ScalarSelect,
    and_,
    bindparam,
    case,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    union,
)
from sqlalchemy.orm import joinedload

from registry.database import (
    AdvisoryLock,
    Reading,
    Stage,
    Statement,
    at_end,
    changes_name,
    constant,
    contains,
    db,
    texts,
    transaction,
    utcnow,
)
from registry.domain import access, audit, namespaces
from registry.domain.access import Permission, Principal
from registry.domain.packages.lookalikes import LONGEST_COMPARED, neighbors, skeleton
from registry.domain.paging import Listing
from registry.domain.patterns import parse_reservation
from registry.errors import Code, Conflict, Forbidden, NotFound, ReservedPackageName
from registry.models import Ancestry, Namespace, NameStatus, Package, PackageName, PackageStatus, Project, ReservedName

_reserved, _ancestries, _namespaces = (model.__table__ for model in (ReservedName, Ancestry, Namespace))


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


_USES = (
    (Package, Package.status == constant(PackageStatus.DEFAULT)),
    (PackageName, PackageName.status == constant(NameStatus.QUARANTINED)),
)
# Every namespace is its own ancestor, too.
_IS_HELD_HERE = or_(
    *(
        exists().where(
            model.normalized_name == bindparam("name"),
            Ancestry.namespace_id == model.project_id,
            Ancestry.ancestor_id == bindparam("namespace_id"),
            condition,
        )
        for model, condition in _USES
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
_RESERVATION = Reading(
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
    rows = _RESERVATION.rows({"name": normalized_name, "namespace_id": namespace.id})
    if not rows or not (rows[0].is_held_here or rows[0].is_reserved):
        return None
    (row,) = rows
    return Reservation(bool(row.is_held_here), row.full_path, row.kind == "user")


def reserved_among(namespace: Namespace, names: Collection[str]) -> set[str]:
    """Return those of these normalized names for which there is a ``reservation``; one statement."""
    around = select(ReservedName.normalized_name).join(Ancestry, Ancestry.ancestor_id == ReservedName.top_id)
    held = (
        select(model.normalized_name)
        .join(Ancestry, Ancestry.namespace_id == model.project_id)
        .where(model.normalized_name.in_(names), Ancestry.ancestor_id == namespace.id, condition)
        for model, condition in _USES
    )
    is_around = and_(Ancestry.namespace_id == namespace.id, ReservedName.normalized_name.in_(names))
    return set(db.session.scalars(union(around.where(is_around), *held)))


def reserved_in(normalized_name: str) -> str | None:
    """Return the full path of a top-level group or personal namespace in which a name is reserved, if there is one."""
    return db.session.scalar(
        select(Namespace.full_path)
        .join(ReservedName, ReservedName.top_id == Namespace.id)
        .where(ReservedName.normalized_name == normalized_name)
        .order_by(Namespace.full_path)
        .limit(1)
    )


def top_of_project(parameter: str) -> ScalarSelect[int]:
    """Return the ID of the top-level group or personal namespace of a project, as an expression.

    :param parameter: the name of the parameter for the ID of the project.
    """
    line, top = _ancestries.alias(), _namespaces.alias()
    # The ancestor without a parent: to sort all of them, SQLite creates a table for each execution.
    return (
        select(line.c.ancestor_id)
        .join(top, top.c.id == line.c.ancestor_id)
        .where(line.c.namespace_id == bindparam(parameter), top.c.parent_id.is_(None))
        .scalar_subquery()
    )


TOP_OF_PROJECT = top_of_project("project_id")
# For statements with the parameters ``project_id`` and ``normalized_name``.
IS_RESERVED_AROUND = and_(
    _reserved.c.top_id == TOP_OF_PROJECT, _reserved.c.normalized_name == bindparam("normalized_name")
)
_others = _reserved.alias()
# Whether anything but the project holds a name there. Three ranges of an index; all holders unlike one would be none.
OTHERS_HOLD_NAMES = or_(
    *(
        exists().where(_others.c.top_id == TOP_OF_PROJECT, is_other)
        for is_other in (
            _others.c.holder_id < bindparam("project_id"),
            _others.c.holder_id > bindparam("project_id"),
            _others.c.holder_id.is_(None),
        )
    )
)

_neighbors = texts("skeletons")
_is_resembling = and_(
    _reserved.c.top_id == TOP_OF_PROJECT,
    _reserved.c.skeleton == _neighbors.c.value,
    func.coalesce(_reserved.c.holder_id, 0) != bindparam("project_id"),
)
# An outer join: with ``IN``, SQLite would first put the texts into a table of its own, which takes as long as to look
# them up, and it would begin an inner join with the names. Null, which most texts give, comes last.
_RESEMBLING = Reading(
    select(_reserved.c.normalized_name)
    .select_from(_neighbors.outerjoin(_reserved, _is_resembling))
    .order_by(
        case(
            (_reserved.c.normalized_name == bindparam("normalized_name"), 0),
            (_reserved.c.normalized_name.is_not(None), 1),
            else_=2,
        ),
        _reserved.c.normalized_name,
    )
    .limit(1)
)


def resembling(project_id: int, normalized_name: str) -> str | None:
    """Return a name that another project of the top-level group holds, and that is easily mistaken for this one.

    It is the same name, or one whose skeleton differs by one edit at most. Neighbors are looked up one by one, so the
    cost depends on the length of the name only, not on the number of names. Long names are not compared.
    """
    own = skeleton(normalized_name)
    skeletons = neighbors(own) if len(own) <= LONGEST_COMPARED else {own}
    asked = {
        "project_id": project_id,
        "normalized_name": normalized_name,
        "skeletons": orjson.dumps([*skeletons]).decode(),
    }
    found: str | None = next((row.normalized_name for row in _RESEMBLING.rows(asked)), None)
    return found


def refuse_reserved_elsewhere(project: Project, name: str, patterns: Iterable[str]) -> None:
    """Refuse to publish a name that the instance reserves for other groups.

    If patterns that match the name state groups, it can be published in these and below. A pattern without a group
    belongs to the top-level namespaces in which a name that matches it is reserved, because it was published there.

    :param name: in any spelling.
    :raises ReservedPackageName: a pattern that matches the name does not belong to the project.
    """
    normalized_name = canonicalize_name(name)
    matching = [pattern for pattern in map(parse_reservation, patterns) if pattern.matches_name(normalized_name)]
    for_groups = [pattern for pattern in matching if pattern.group]
    if for_groups:
        if not any(pattern.is_for(project.full_path) for pattern in for_groups):
            raise ReservedPackageName(name, for_groups[0].text, project.full_path.partition("/")[0])
        return
    for pattern in matching:
        is_matched = ReservedName.normalized_name == pattern.name
        if pattern.is_prefix:
            is_matched = ReservedName.normalized_name.startswith(pattern.name, autoescape=True)
        top = db.session.get_one(Namespace, namespaces.top_of(project))
        if db.session.scalar(select(ReservedName).where(ReservedName.top_id == top.id, is_matched).limit(1)) is None:
            raise ReservedPackageName(name, pattern.text, top.full_path)


_row = (
    bindparam("normalized_name", type_=_reserved.c.normalized_name.type),
    bindparam("skeleton", type_=_reserved.c.skeleton.type),
    bindparam("project_id", type_=_reserved.c.holder_id.type),
    bindparam("created_at", type_=_reserved.c.created_at.type),
)
_ADD = Statement(
    insert(_reserved).from_select(
        ["top_id", "normalized_name", "skeleton", "holder_id", "created_at"],
        select(TOP_OF_PROJECT, *_row).where(~exists().where(IS_RESERVED_AROUND)),
    )
)


def reserve(project_id: int, normalized_name: str) -> None:
    """Reserve a name in the top-level group of a project that publishes it, at the end of the present transaction.

    A name that is reserved by then keeps its row.
    """
    changes_name(normalized_name)  # no other transaction reserves it from then on
    at_end(_Reservations).names.add((project_id, normalized_name))


class _Reservations:
    """The names that one transaction reserves, with their projects."""

    order: ClassVar[int] = Stage.RESERVATIONS

    def __init__(self) -> None:
        self.names: set[tuple[int, str]] = set()

    def apply(self) -> None:
        for project_id, name in sorted(self.names):
            row = {"project_id": project_id, "normalized_name": name, "skeleton": skeleton(name)}
            _ADD.execute({**row, "created_at": utcnow()})


def names_in(top: Namespace, search: str = "") -> Listing[ReservedName]:
    """Return the names that are reserved in a top-level group or personal namespace, with their holders.

    :param search: part of the name.
    """
    listing = (
        select(ReservedName)
        .where(ReservedName.top_id == top.id)
        .options(joinedload(ReservedName.holder))
        .order_by(ReservedName.normalized_name)
    )
    return listing.where(contains(ReservedName.normalized_name, search)) if search else listing


def names_in_use(top: Namespace, names: Collection[str] | None = None) -> set[str]:
    """Return the reserved names of a top-level namespace of which a project has packages or a quarantine.

    :param names: only these.
    """
    used = select(ReservedName.normalized_name).where(ReservedName.top_id == top.id, _is_in_use())
    return set(db.session.scalars(used if names is None else used.where(ReservedName.normalized_name.in_(names))))


def may_release(namespace: Namespace, names: Collection[str], principal: Principal) -> bool:
    """Return whether a principal can release these normalized names, which are reserved around a namespace."""
    is_listed = ReservedName.normalized_name.in_(names)
    of_names = select(ReservedName).where(ReservedName.top_id == namespaces.top_of(namespace), is_listed)
    rows = db.session.scalars(of_names.options(joinedload(ReservedName.holder)))
    holders = {row.holder_id: row.holder for row in rows}.values()
    held = [holder for holder in holders if holder is not None]
    principal = access.load_roles(principal, held)
    return bool(held) and all(access.allowed(principal, Permission.OWN_NAMESPACE, holder) for holder in held)


def release(namespace: Namespace, name: str, *, by: Principal) -> None:
    """Release a name of which nothing is left, so that it can be asked for upstream again.

    Takes ``AdvisoryLock.TREE``, so that no package of the name is published in the meantime.

    :param namespace: anything in the top-level group, or in the personal namespace.
    :param name: in any spelling.
    :raises Forbidden: the principal is not an Owner of the project or group that holds the name.
    :raises NotFound: the name is not reserved.
    :raises Conflict: a project still has packages of the name, or its quarantine.
    """
    try:
        normalized_name = canonicalize_name(name, validate=True)
    except InvalidName as error:
        raise NotFound("Package name") from error
    with transaction(lock=AdvisoryLock.TREE):
        row = _row_of(namespace, normalized_name)
        if row is None:
            raise NotFound("Package name")
        _require_owner(row, by)
        if not _release(row, by):
            raise Conflict(Code.NAME_IN_USE, name=normalized_name)


def release_if_unused(namespace: Namespace, normalized_name: str, *, by: Principal) -> bool:
    """Do the same in a transaction that holds ``AdvisoryLock.TREE``, and return whether the name is not reserved now.

    :raises Forbidden: the principal is not an Owner of the project or group that holds the name.
    """
    row = _row_of(namespace, normalized_name)
    if row is None:
        return True
    _require_owner(row, by)
    return _release(row, by)


def _row_of(namespace: Namespace, normalized_name: str) -> ReservedName | None:
    db.session.flush()
    key = {"top_id": namespaces.top_of(namespace), "normalized_name": normalized_name}
    return db.session.get(ReservedName, key, populate_existing=True)


def _require_owner(row: ReservedName, by: Principal) -> None:
    """Check that a principal is an Owner of what holds a name, or of all that is around it."""
    top = db.session.get_one(Namespace, row.top_id)
    holder = top if row.holder_id is None else db.session.get_one(Namespace, row.holder_id)
    if not any(access.allowed(by, Permission.OWN_NAMESPACE, namespace) for namespace in (top, holder)):
        raise Forbidden


def _release(row: ReservedName, by: Principal) -> bool:
    """Release a name unless it is used, and return whether it was; the transaction holds ``AdvisoryLock.TREE``."""
    top = db.session.get_one(Namespace, row.top_id)
    if names_in_use(top, [row.normalized_name]):
        return False
    below = select(Ancestry.namespace_id).where(Ancestry.ancestor_id == row.top_id)
    with transaction():  # anonymous callers may get other responses for all names around it
        # A group that was at the top level before has a row of its own.
        db.session.execute(
            delete(ReservedName).where(
                ReservedName.normalized_name == row.normalized_name, ReservedName.top_id.in_(below)
            )
        )
        audit.record(by, "package_name_released", row.normalized_name, top, reserved_in=top.full_path)
    return True


def _is_in_use() -> ColumnElement[bool]:
    """Return a condition on ``ReservedName``: a project in its namespace has packages or a quarantine of the name."""
    return or_(
        *(
            exists().where(
                model.normalized_name == ReservedName.normalized_name,
                Ancestry.namespace_id == model.project_id,
                Ancestry.ancestor_id == ReservedName.top_id,
                condition,
            )
            for model, condition in _USES
        )
    )
