"""What happens to reserved package names when groups and projects are moved and deleted.

A name stays reserved in the top-level group in which it was published, and follows its group into another one.
"""

from __future__ import annotations

from sqlalchemy import Select, case, exists, func, insert, literal, or_, select, update

from registry.database import db
from registry.models import Ancestry, Group, Namespace, Package, Project, ReservedName


def keep_deleted(namespace: Group | Project) -> None:
    """Leave the names of a namespace that is about to be deleted to the group above it."""
    if namespace.parent_id is not None:
        db.session.execute(
            update(ReservedName)
            .where(ReservedName.holder_id.in_(_within(namespace)))
            .values(holder_id=namespace.parent_id),
            execution_options={"synchronize_session": False},
        )


def top_of(namespace: Namespace) -> int:
    """Return the ID of the top-level group of a group or project, or of its personal namespace."""
    ancestors = select(Ancestry.ancestor_id).where(Ancestry.namespace_id == namespace.id)
    return db.session.scalars(ancestors.order_by(Ancestry.distance.desc()).limit(1)).one()


def carry(group: Group, top_before: int) -> None:
    """Reserve the names of a group that was moved in its present top-level group, too.

    :param top_before: the ID of the top-level group in which it was.
    """
    top_id = top_of(group)
    below = _within(group)
    published = exists().where(Package.normalized_name == ReservedName.normalized_name, Package.project_id.in_(below))
    is_own = or_(
        ReservedName.holder_id.in_(below),
        ReservedName.top_id.in_(below),
        (ReservedName.top_id == top_before) & published,
    )
    holder = case((ReservedName.holder_id.in_(below), ReservedName.holder_id), else_=group.id)
    present = select(ReservedName.normalized_name).where(ReservedName.top_id == top_id)
    names = (
        select(
            literal(top_id),
            ReservedName.normalized_name,
            func.max(ReservedName.skeleton),
            func.max(holder),
            func.min(ReservedName.created_at),
        )
        .where(is_own, ReservedName.normalized_name.not_in(present))
        .group_by(ReservedName.normalized_name)
    )
    columns = ["top_id", "normalized_name", "skeleton", "holder_id", "created_at"]
    db.session.execute(insert(ReservedName).from_select(columns, names))


def _within(namespace: Namespace) -> Select[int]:
    return select(Ancestry.namespace_id).where(Ancestry.ancestor_id == namespace.id)
