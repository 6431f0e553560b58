"""Creating, changing, transferring, and deleting groups and projects in the tree of namespaces."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from sqlalchemy import bindparam, delete, func, insert, select, update

from registry.database import AdvisoryLock, Stage, Statement, at_end, db, transaction, utcnow
from registry.domain import access, audit
from registry.domain.access import Permission, Principal
from registry.domain.namespaces.changes import GroupSettings, NamespaceChanges, ProjectSettings
from registry.domain.namespaces.members import ensure_owner, follows_from_provider, is_lasting, role_ends_on
from registry.domain.namespaces.old_paths import give_up, give_up_deleted, kept, take
from registry.domain.namespaces.reserved_names import carry, keep_deleted, top_of
from registry.domain.namespaces.rules import (
    MAXIMUM_DEPTH,
    depth,
    invalid,
    is_open_to_anyone,
    lowered_visibility,
    more_visible_children,
    not_allowed_in_parent,
    over_limit,
    path_errors,
    refuse,
    taken,
)
from registry.errors import Code, Fault, Faults, Forbidden, InvalidGroup, InvalidRecord, NotFound
from registry.models import (
    Ancestry,
    Group,
    InstanceSettings,
    Membership,
    Namespace,
    Project,
    Role,
    StorageUsage,
    User,
    Visibility,
)

OWNED = ("visibility", "path", "registry_access")  # changed by Owners only
GROUP_DEFAULTS, PROJECT_DEFAULTS = GroupSettings(), ProjectSettings()
NOTHING: Faults = {}


def create_group(
    *,
    name: str,
    path: str,
    parent: Group | None,
    by: Principal,
    visibility: Visibility | None = None,
    description: str = "",
    settings: GroupSettings = GROUP_DEFAULTS,
) -> Group:
    """Create a group with its creator as Owner, for as long as the role of the creator above it lasts.

    That role ends on its date, or with the group of the identity provider from which it follows.

    Takes ``AdvisoryLock.TREE``.

    :param parent: ``None`` creates a top-level group.
    :param visibility: defaults to the instance setting, limited to that of the parent.
    :param settings: ``project_creation_level`` defaults to the instance setting.
    :raises Forbidden: the principal cannot create groups there.
    :raises InvalidGroup: the path, visibility, or another value is invalid.
    """
    if parent is not None:
        access.require(by, Permission.CREATE_SUBGROUP, parent)
    elif not by.can_create_group:
        raise Forbidden
    if visibility is None:
        visibility = lowered_visibility(InstanceSettings.current().default_group_visibility, parent)
    if settings.project_creation_level is ...:
        settings = replace(settings, project_creation_level=InstanceSettings.current().default_project_creation)
    group = Group(
        path=path, name=name.strip(), description=description, visibility=visibility, creator_id=by.user_id,
        **settings.given(),
    )  # fmt: skip
    with transaction(lock=AdvisoryLock.TREE) as session:
        _read_again(parent)
        place(group, parent, by=by, refusal=InvalidGroup, found=invalid(group, parent, by, InvalidGroup))
        if by.user is not None and access.role_of(by.user, group) < Role.OWNER:
            session.add(_membership_of_creator(by.user, group, parent))
        audit.record(by, "group_created", group.full_path, group, visibility=group.visibility.label)
    return group


def _membership_of_creator(user: User, group: Group, parent: Group | None) -> Membership:
    """Return the membership that makes the creator of a group its Owner."""
    membership = Membership(namespace_id=group.id, user_id=user.id, role=Role.OWNER)
    if parent is not None:
        role_above = access.role_of(user, parent)
        membership.expires_on = role_ends_on(user, parent, role_above)
        membership.from_provider = membership.by_creation = follows_from_provider(user, parent, role_above)
    return membership


def create_project(
    *,
    name: str,
    path: str,
    parent: Namespace | None,
    by: Principal,
    visibility: Visibility | None = None,
    description: str = "",
    settings: ProjectSettings = PROJECT_DEFAULTS,
) -> Project:
    """Create a project in a group or personal namespace; takes ``AdvisoryLock.TREE``.

    :param parent: ``None`` if it does not exist; the error is the same as without permission to create projects there.
    :raises InvalidRecord: the principal cannot create projects there, or the name, path, or visibility is invalid.
    """
    if parent is None or isinstance(parent, Project) or not access.allowed(by, Permission.CREATE_PROJECT, parent):
        raise InvalidRecord({"namespace": [Fault(Code.NO_PROJECTS_THERE)]})
    if visibility is None:
        visibility = lowered_visibility(InstanceSettings.current().default_project_visibility, parent)
    project = Project(
        path=path, name=name.strip(), description=description, visibility=visibility, creator_id=by.user_id,
        **settings.given(),
    )  # fmt: skip
    with transaction(lock=AdvisoryLock.TREE):
        _read_again(parent)
        found = {**invalid(project, parent, by, InvalidRecord), **over_limit(parent, by)}
        place(project, parent, by=by, found=found)
        audit.record(by, "project_created", project.full_path, project, visibility=project.visibility.label)
    return project


def change(namespace: Group | Project, changes: NamespaceChanges, *, by: Principal) -> None:
    """Change a group or project; takes ``AdvisoryLock.TREE``.

    :param changes: for its kind, or for both kinds.
    :raises Forbidden: changing the visibility, the path, or the access to the package registry requires an Owner, and
        changing the storage limit an administrator.
    :raises InvalidRecord: a value is invalid.
    """
    refusal = InvalidGroup if isinstance(namespace, Group) else InvalidRecord
    with transaction(lock=AdvisoryLock.TREE) as session:
        _read_again(namespace)
        standing = changes.standing(namespace)
        before, path_before, was_open = namespace.visibility, namespace.full_path, is_open_to_anyone(namespace)
        path = namespace.path if changes.path is ... else changes.path
        new = changes.given()
        if any(name in new and new[name] != standing[name] for name in OWNED):
            access.require(by, Permission.OWN_NAMESPACE, namespace)
        if changes.storage_size_limit is not ...:
            access.require(by, Permission.ADMIN_INSTANCE)
        with session.no_autoflush:
            replace(changes, path=...).apply_to(namespace)  # the path must be checked first
            parent = None if namespace.parent_id is None else session.get_one(Namespace, namespace.parent_id)
            found = invalid(namespace, parent, by, refusal, path=path, standing=before, was_open_to_anyone=was_open)
            if namespace.visibility < before:
                found = {**found, **more_visible_children(namespace)}
            if path != namespace.path or changes.name is not ...:
                rename(namespace, path=path, by=by, refusal=refusal, found=found)
            refuse(refusal, found)
        session.flush()
        if namespace.visibility is not before:
            audit.record(
                by, f"{namespace.kind}_visibility_changed", namespace.full_path, namespace,
                before=before.label, after=namespace.visibility.label,
            )  # fmt: skip
        standing.pop("visibility", None)
        after = {name: getattr(namespace, name) for name in standing}
        if "path" in standing:
            standing["path"], after["path"] = path_before, namespace.full_path
        audit.record_change(by, f"{namespace.kind}_changed", namespace.full_path, namespace, standing, after)


def transfer(group: Group, parent: Group | None, *, by: Principal) -> None:
    """Move a group and its contents into another group, or to the top level; takes ``AdvisoryLock.TREE``.

    The names of its packages are reserved in both top-level groups then, the one of before and the one of after. If a
    group moved to the top level has no Owner, the user who moves it becomes one.

    :raises Forbidden: the principal cannot create groups there, or would become the Owner, but only has a role that
        expires or comes from a group of the identity provider.
    :raises InvalidGroup: the group is there already, or the parent is the group or in it, or is less visible, or the
        path is taken or reserved there.
    """
    if parent is not None:
        access.require(by, Permission.CREATE_SUBGROUP, parent)
    elif not by.can_create_group:
        raise Forbidden
    with transaction(lock=AdvisoryLock.TREE) as session:
        _read_again(group)
        _read_again(parent)
        if group.parent_id == (None if parent is None else parent.id):
            raise InvalidGroup({"parent": [Fault(Code.ALREADY_THERE)]})
        if parent is not None and access.is_within(parent, group.id):
            raise InvalidGroup({"parent": [Fault(Code.BELOW_ITSELF)]})
        if errors := path_errors(group.path, top_level=parent is None):
            raise InvalidGroup({"path": errors})
        if parent is not None and group.visibility > parent.visibility:
            raise InvalidGroup({"visibility_level": [not_allowed_in_parent(group.visibility, parent)]})
        depth_above = 0 if parent is None else depth(parent)
        depth_below = session.scalar(select(func.max(Ancestry.distance)).where(Ancestry.ancestor_id == group.id)) or 0
        if depth_above + depth_below + 1 > MAXIMUM_DEPTH:
            raise InvalidGroup({"parent": [Fault(Code.TOO_DEEP, maximum=MAXIMUM_DEPTH)]})
        may_last = by.user is None or by.is_admin or is_lasting(by.user, group, Role.OWNER)
        before, top_before = group.full_path, top_of(group)
        group.parent_id = None if parent is None else parent.id
        rename(group, path=group.path, by=by, refusal=InvalidGroup)
        _reattach(group, parent)
        carry(group, top_before)
        ensure_owner(group, by, may_last=may_last)
        audit.record(by, "group_transferred", group.full_path, group, before=before)


def delete_namespace(namespace: Group | Project, *, by: audit.Author) -> None:
    """Delete a group or project with its contents; the next cleanup removes its package files from storage.

    Takes ``AdvisoryLock.TREE``, as changes of ancestors read and write their descendants.

    :raises NotFound: it was deleted in the meantime.
    """
    with transaction(lock=AdvisoryLock.TREE) as session:
        _read_again(namespace)
        audit.record(by, f"{namespace.kind}_destroyed", namespace.full_path, namespace)
        give_up_deleted(namespace, by=by, deleter_id=by.user_id)
        keep_deleted(namespace)
        session.flush()
        session.execute(delete(Namespace).where(Namespace.id == namespace.id))
        session.expunge(namespace)


def set_archived(project: Project, archived: bool, *, by: audit.Author) -> None:
    """Archive or unarchive a project; takes ``AdvisoryLock.TREE``, as the audit event contains the project's path.

    :raises NotFound: it was deleted in the meantime.
    """
    with transaction(lock=AdvisoryLock.TREE):
        _read_again(project)
        project.archived = archived
        audit.record(by, "project_archived" if archived else "project_unarchived", project.full_path, project)


def place(
    namespace: Namespace,
    parent: Namespace | None,
    *,
    by: audit.Author,
    refusal: type[InvalidRecord] = InvalidRecord,
    found: Faults = NOTHING,
) -> None:
    """Set the full path and the ancestors of a new namespace.

    Requires a transaction that holds ``AdvisoryLock.TREE``.

    :param found: other errors of it, which are refused together with those of its path.
    :raises InvalidRecord: there are such errors, or the path is taken, or kept from the author.
    """
    namespace.parent_id = None if parent is None else parent.id
    _set_full_names(namespace, parent)
    refuse(refusal, found, _path_refusals(namespace, parent, by, found))
    take(namespace)
    session = db.session
    session.add(namespace)
    session.flush()
    _attach(namespace.id, parent)
    if isinstance(namespace, Project):
        session.add(StorageUsage(project_id=namespace.id))


def rename(
    namespace: Namespace,
    *,
    path: str,
    by: audit.Author,
    refusal: type[InvalidRecord] = InvalidRecord,
    found: Faults = NOTHING,
) -> None:
    """Update the full path and full name of a namespace and its descendants; requests for the old path lead to it.

    Requires a transaction that holds ``AdvisoryLock.TREE``.

    :param found: other errors of it, which are refused together with those of its path.
    :raises InvalidRecord: there are such errors, or the path is taken, or kept from the author.
    """
    session = db.session
    parent = None
    if namespace.parent_id is not None:
        parent = session.get_one(Namespace, namespace.parent_id, populate_existing=True)
    before = namespace.full_path
    with session.no_autoflush:
        namespace.path = path
        _set_full_names(namespace, parent)
        is_moved = namespace.full_path_key != before.lower()
        refuse(refusal, found, _path_refusals(namespace, parent, by, found) if is_moved else NOTHING)
        if is_moved:
            take(namespace)
    below = session.scalars(
        select(Namespace)
        .join(Ancestry, Ancestry.namespace_id == Namespace.id)
        .where(Ancestry.ancestor_id == namespace.id, Ancestry.distance > 0)
        .order_by(Ancestry.distance)
        .execution_options(populate_existing=True)
    )
    by_id = {namespace.id: namespace}
    for child in below:
        _set_full_names(child, by_id[child.parent_id or 0])
        by_id[child.id] = child
    session.flush()
    if is_moved:
        give_up(namespace, before, by=by)


def _path_refusals(namespace: Namespace, parent: Namespace | None, by: audit.Author, found: Faults) -> Faults:
    """Return the errors of the full path of a namespace; none if the path itself is already among those found."""
    if "path" in found:
        return {}
    of_old_path = kept(namespace.full_path, namespace.id, parent, by=by)
    return taken(namespace) or ({"path": of_old_path} if of_old_path else {})


def _read_again(namespace: Namespace | None) -> None:
    """Refresh a namespace, which can have changed since it was read.

    :raises NotFound: it was deleted in the meantime.
    """
    if namespace is not None and db.session.get(type(namespace), namespace.id, populate_existing=True) is None:
        raise NotFound(namespace.kind.capitalize())


def _set_full_names(namespace: Namespace, parent: Namespace | None) -> None:
    namespace.full_path = namespace.path if parent is None else f"{parent.full_path}/{namespace.path}"
    namespace.full_path_key = namespace.full_path.lower()
    namespace.full_name = namespace.name if parent is None else f"{parent.full_name} / {namespace.name}"


def _attach(namespace_id: int, parent: Namespace | None) -> None:
    session = db.session
    rows = [{"namespace_id": namespace_id, "ancestor_id": namespace_id, "distance": 0}]
    if parent is not None:
        above = session.execute(
            select(Ancestry.ancestor_id, Ancestry.distance).where(Ancestry.namespace_id == parent.id)
        )
        rows += [
            {"namespace_id": namespace_id, "ancestor_id": ancestor_id, "distance": distance + 1}
            for ancestor_id, distance in above
        ]
    session.execute(insert(Ancestry), rows)


def _reattach(namespace: Namespace, parent: Namespace | None) -> None:
    """Replace the ancestors of a moved namespace and its descendants with those of its new parent."""
    session = db.session
    below = session.execute(
        select(Ancestry.namespace_id, Ancestry.distance).where(Ancestry.ancestor_id == namespace.id)
    ).all()
    ids = [namespace_id for namespace_id, _ in below]
    session.execute(
        delete(Ancestry).where(Ancestry.namespace_id.in_(ids), Ancestry.ancestor_id.not_in(ids)),
        execution_options={"synchronize_session": False},
    )
    if parent is None:
        return
    above = session.execute(
        select(Ancestry.ancestor_id, Ancestry.distance).where(Ancestry.namespace_id == parent.id)
    ).all()
    rows = [
        {"namespace_id": namespace_id, "ancestor_id": ancestor_id, "distance": up + down + 1}
        for namespace_id, down in below
        for ancestor_id, up in above
    ]
    session.execute(insert(Ancestry), rows)


def touch(project_id: int) -> None:
    """Update ``last_activity_at`` of a project at the end of the present transaction.

    Takes no ``AdvisoryLock.TREE``, as no rule depends on the column.
    """
    at_end(_Touches).project_ids.add(project_id)


class _Touches:
    """The projects in which a transaction did something."""

    order: ClassVar[int] = Stage.ACTIVITY

    def __init__(self) -> None:
        self.project_ids: set[int] = set()

    def apply(self) -> None:
        for project_id in sorted(self.project_ids):
            _TOUCH.execute({"project_id": project_id, "now": utcnow()})


_namespaces = Namespace.__table__
_project = _namespaces.alias()
# A transaction that has locked the row sets the time, too, or deletes the project.
_free_row = (
    select(_project.c.id)
    .where(_project.c.id == bindparam("project_id"))
    .with_for_update(key_share=True, skip_locked=True)
)
_TOUCH = Statement(
    update(_namespaces).where(_namespaces.c.id == _free_row.scalar_subquery()).values(last_activity_at=bindparam("now"))
)
