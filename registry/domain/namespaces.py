"""Groups and projects: found, created, changed, moved, deleted; and their members."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from types import EllipsisType
from typing import Any, TypeVar

from sqlalchemy import Select, bindparam, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import contains_eager, joinedload, selectinload

from registry.database import contains, db, transaction, utcnow
from registry.domain import access, audit
from registry.domain.access import Permission, Principal
from registry.domain.paging import Listing
from registry.errors import Conflict, Forbidden, InvalidGroup, InvalidRecord, NotFound, RecordNotFound
from registry.models import (
    MEMBER_ROLES,
    AllowedJobSource,
    Ancestry,
    Group,
    InstanceSettings,
    Membership,
    Namespace,
    Project,
    Role,
    StorageUsage,
    User,
    UserNamespace,
    UserState,
    Visibility,
)

AnyNamespace = TypeVar("AnyNamespace", bound=Namespace)

MAXIMUM_DEPTH = 20
TREE_LOCK = 7_202_614  # whoever changes paths, ancestors, owners or administrators excludes the others
MAXIMUM_ALLOWLIST = 200
MOST_CHOICES = 1000
_PATH = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# First segments of the registry's own addresses, and of pages an administrator may expect to add.
TOP_LEVEL_RESERVED = frozenset(
    {
        "-", ".well-known", "_", "abuse_reports", "admin", "api", "assets",
        "dashboard", "explore", "favicon.ico", "files", "groups", "health_check", "help",
        "import", "login", "logout", "oauth", "profile", "projects", "public",
        "robots.txt", "s", "search", "sitemap", "sitemap.xml", "snippets", "static",
        "unsubscribes", "uploads", "user", "users", "v2",
    }
)  # fmt: skip
# Last segments of pages below a namespace.
RESERVED = frozenset({"-", "edit", "new"})


# Finding --------------------------------------------------------------------------------------------------------


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


# Lists ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wanted:
    """What a list of groups or projects is narrowed to, and its order.

    :param search: a part of the name or path, without case.
    :param role: the caller holds at least this role there, by membership.
    :param joined_only: what is merely open to the caller is left out.
    """

    search: str = ""
    visibility: Visibility | None = None
    role: Role = Role.NO_ACCESS
    joined_only: bool = False
    order_by: str = "id"
    descending: bool = False


def groups(
    principal: Principal,
    wanted: Wanted,
    *,
    below: Group | None = None,
    children_only: bool = False,
    top_level_only: bool = False,
    without: Iterable[int] = (),
) -> Listing:
    """Groups the principal may know of.

    :param below: only its subgroups; with ``children_only`` those directly in it.
    :param without: ids left out.
    """
    listing = _narrowed(select(Group), Group, principal, wanted).where(Group.id.not_in(list(without)))
    if below is not None:
        listing = listing.where(Group.parent_id == below.id if children_only else access.within(below))
    if top_level_only:
        listing = listing.where(Group.parent_id.is_(None))
    return listing


def projects(
    principal: Principal,
    wanted: Wanted,
    *,
    below: Namespace | None = None,
    children_only: bool = False,
    archived: bool | None = None,
    after: int | None = None,
    before: int | None = None,
) -> Listing:
    """Projects the principal may know of, each with its parent.

    :param below: only those in this namespace or its subgroups; with ``children_only`` those directly in it.
    :param after: only ids above this one.
    :param before: only ids below this one.
    """
    listing = _narrowed(select(Project), Project, principal, wanted).options(selectinload(Project.parent))
    if below is not None:
        listing = listing.where(Project.parent_id == below.id if children_only else access.within(below))
    if archived is not None:
        listing = listing.where(Project.archived.is_(archived))
    if after is not None:
        listing = listing.where(Project.id > after)
    if before is not None:
        listing = listing.where(Project.id < before)
    return listing


@dataclass(frozen=True)
class Contents:
    """How many subgroups and projects lie in a group."""

    subgroups: int = 0
    projects: int = 0


def contents(groups: Iterable[Group], principal: Principal) -> dict[int, Contents]:
    """What the principal may know of directly in each of many groups, by id, in one statement."""
    found = {group.id: Contents() for group in groups}
    rows = db.session.execute(
        select(
            Namespace.parent_id,
            func.count().filter(Namespace.kind == "group"),
            func.count().filter(Namespace.kind == "project"),
        )
        .where(Namespace.parent_id.in_(found), access.visible(principal))
        .group_by(Namespace.parent_id)
    )
    return found | {
        parent_id: Contents(subgroups, projects) for parent_id, subgroups, projects in rows if parent_id is not None
    }


def counts_below(namespace: Namespace) -> Contents:
    """How many groups and projects lie anywhere below, whoever may know of them: what a deletion takes along."""
    row = db.session.execute(
        select(
            func.count().filter(Namespace.kind == "group"),
            func.count().filter(Namespace.kind == "project"),
        ).where(access.within(namespace))
    ).one()
    return Contents(*row)


def groups_with(principal: Principal, permission: Permission) -> Sequence[Group]:
    """Groups in which the principal holds a permission that asks for at least a Developer, by full path.

    For a choice on a page: no more than ``MOST_CHOICES`` are looked at.
    """
    listing = select(Group).where(access.visible(principal))
    if not principal.is_admin:
        listing = listing.where(access.has_role(principal, Role.DEVELOPER))
    found = db.session.scalars(listing.order_by(Group.full_path_key).limit(MOST_CHOICES)).all()
    access.held_roles(principal, found)
    return [group for group in found if access.allowed(principal, permission, group)]


def visible_ids(principal: Principal, records: Iterable[Namespace]) -> set[int]:
    """The ids of those that the principal may know of, in one statement."""
    ids = [record.id for record in records]
    return set(db.session.scalars(select(Namespace.id).where(Namespace.id.in_(ids), access.visible(principal))))


def open_visibilities(parent: Namespace | None, by: Principal) -> list[Visibility]:
    """The visibilities something in this parent may be given."""
    return [level for level in Visibility if not _visibility_errors(level, parent, by, InvalidRecord)]


def default_visibility(kind: type[Group] | type[Project], parent: Namespace | None) -> Visibility:
    """The instance's default for a new group or project, no higher than the parent's."""
    settings = InstanceSettings.current()
    default = settings.default_group_visibility if kind is Group else settings.default_project_visibility
    return _default_visibility(default, parent)


def _narrowed(listing: Listing, kind: type[Group] | type[Project], principal: Principal, wanted: Wanted) -> Listing:
    listing = listing.where(access.visible(principal))
    if wanted.search:
        path = Namespace.full_path if "/" in wanted.search else Namespace.path
        listing = listing.where(contains(Namespace.name, wanted.search) | contains(path, wanted.search))
    if wanted.visibility is not None:
        listing = listing.where(Namespace.visibility == wanted.visibility)
    if wanted.joined_only:
        listing = listing.where(access.joined(principal))
    if wanted.role > Role.NO_ACCESS:
        listing = listing.where(access.has_role(principal, wanted.role))
    order = func.lower(Namespace.name) if wanted.order_by == "name" else getattr(kind, wanted.order_by)
    keys = (order, kind.id)
    return listing.order_by(*(key.desc() for key in keys) if wanted.descending else keys)


# Creating and changing ------------------------------------------------------------------------------------------


def create_group(
    *, name: str, path: str, parent: Group | None, by: Principal, visibility: Visibility | None = None, **fields: Any
) -> Group:
    """A new group with its creator as Owner.

    :param parent: ``None`` makes a top-level group.
    :param visibility: default: the instance's setting, lowered to the parent's.
    :raises Forbidden: the creator may not create groups there.
    :raises InvalidGroup: path or visibility breaks a rule.
    """
    if parent is not None:
        access.require(by, Permission.CREATE_SUBGROUP, parent)
    elif not by.is_admin and not (by.user is not None and by.user.can_create_group):
        raise Forbidden
    if visibility is None:
        visibility = _default_visibility(InstanceSettings.current().default_group_visibility, parent)
    fields.setdefault("project_creation_level", InstanceSettings.current().default_project_creation)
    group = Group(path=path, name=name.strip(), visibility=visibility, creator_id=by.user_id, **fields)
    with transaction(lock=TREE_LOCK) as session:
        _read_again(parent)
        _refuse_invalid(group, parent, by, InvalidGroup)
        place(group, parent, refusal=InvalidGroup)
        if by.user is not None and access.role_of(by.user, group) < Role.OWNER:
            session.add(Membership(namespace_id=group.id, user_id=by.user.id, role=Role.OWNER))
        audit.record(by, "group_created", group.full_path, group, visibility=group.visibility.label)
    return group


def create_project(
    *,
    name: str,
    path: str,
    parent: Namespace | None,
    by: Principal,
    visibility: Visibility | None = None,
    **fields: Any,
) -> Project:
    """A new project in a group or in a user's own space.

    :param parent: ``None`` stands for one that does not exist, and is refused as one that is not the creator's to use.
    :raises InvalidRecord: the creator may not create projects there, or name, path or visibility breaks a rule.
    """
    if parent is None or isinstance(parent, Project) or not access.allowed(by, Permission.CREATE_PROJECT, parent):
        raise InvalidRecord({"namespace": ["is not valid"]})
    if visibility is None:
        visibility = _default_visibility(InstanceSettings.current().default_project_visibility, parent)
    project = Project(path=path, name=name.strip(), visibility=visibility, creator_id=by.user_id, **fields)
    with transaction(lock=TREE_LOCK):
        _read_again(parent)
        _refuse_invalid(project, parent, by, InvalidRecord)
        _refuse_over_limit(parent, by)
        place(project, parent)
        audit.record(by, "project_created", project.full_path, project, visibility=project.visibility.label)
    return project


def change(namespace: Group | Project, changes: Mapping[str, Any], *, by: Principal) -> None:
    """Set name, path, description, visibility and the kind's own columns.

    :raises Forbidden: visibility is the Owner's to change, the storage limit an administrator's.
    :raises InvalidRecord: a value breaks a rule.
    """
    refusal = InvalidGroup if isinstance(namespace, Group) else InvalidRecord
    with transaction(lock=TREE_LOCK) as session:
        _read_again(namespace)
        before = namespace.visibility
        path = changes.get("path", namespace.path)
        if changes.get("visibility", before) is not before:
            access.require(by, Permission.OWN_NAMESPACE, namespace)
        if "storage_size_limit" in changes:
            access.require(by, Permission.ADMIN_INSTANCE)
        with session.no_autoflush:
            for column, value in changes.items():
                if column != "path":
                    setattr(namespace, column, value)
            parent = None if namespace.parent_id is None else session.get_one(Namespace, namespace.parent_id)
            _refuse_invalid(namespace, parent, by, refusal, path=path, standing=before)
            if namespace.visibility < before:
                _refuse_more_visible_children(namespace, refusal)
        if path != namespace.path or "name" in changes:
            rename(namespace, path=path, refusal=refusal)
        session.flush()
        if "storage_size_limit" in changes:
            limit = namespace.storage_size_limit
            audit.record(by, "storage_limit_changed", namespace.full_path, namespace, size_bytes=limit)
        if namespace.visibility is not before:
            audit.record(
                by, f"{namespace.kind}_visibility_changed", namespace.full_path, namespace,
                before=before.label, after=namespace.visibility.label,
            )  # fmt: skip


def transfer(group: Group, parent: Group | None, *, by: Principal) -> None:
    """Move a group with everything below it under another parent, or to the top.

    At the top it needs an Owner of its own: without one, it is whoever moves it.

    :raises InvalidGroup: the parent lies below the group, the path is taken or reserved there, or the parent is less
        visible.
    """
    if parent is not None:
        access.require(by, Permission.CREATE_SUBGROUP, parent)
    elif not by.is_admin and not (by.user is not None and by.user.can_create_group):
        raise Forbidden
    with transaction(lock=TREE_LOCK) as session:
        _read_again(group)
        _read_again(parent)
        if parent is not None and access.is_within(parent, group.id):
            raise InvalidGroup({"parent": ["must not be the group itself or below it"]})
        if errors := path_errors(group.path, top_level=parent is None):
            raise InvalidGroup({"path": errors})
        if parent is not None and group.visibility > parent.visibility:
            raise InvalidGroup({"visibility_level": [_not_allowed_in_parent(group.visibility, parent)]})
        depth_above = 0 if parent is None else _depth(parent)
        depth_below = session.scalar(select(func.max(Ancestry.distance)).where(Ancestry.ancestor_id == group.id)) or 0
        if depth_above + depth_below + 1 > MAXIMUM_DEPTH:
            raise InvalidGroup({"parent": [f"is too deep (maximum is {MAXIMUM_DEPTH} levels)"]})
        before = group.full_path
        group.parent_id = None if parent is None else parent.id
        rename(group, path=group.path, refusal=InvalidGroup)
        _reattach(group, parent)
        _ensure_owner(group, by)
        audit.record(by, "group_transferred", group.full_path, group, before=before)


def delete_namespace(namespace: Group | Project, *, by: audit.Author) -> None:
    """Delete a group or project with everything below it; the bytes of its packages go with the next cleanup."""
    with transaction() as session:
        audit.record(by, f"{namespace.kind}_destroyed", namespace.full_path, namespace)
        session.flush()
        session.execute(delete(Namespace).where(Namespace.id == namespace.id))
        session.expunge(namespace)


def set_archived(project: Project, archived: bool, *, by: audit.Author) -> None:
    with transaction():
        project.archived = archived
        audit.record(by, "project_archived" if archived else "project_unarchived", project.full_path, project)


def place(namespace: Namespace, parent: Namespace | None, *, refusal: type[InvalidRecord] = InvalidRecord) -> None:
    """Give a new namespace its full path and its ancestors. Within the caller's transaction, which holds ``TREE_LOCK``.

    :raises InvalidRecord: the path is taken.
    """
    namespace.parent_id = None if parent is None else parent.id
    _set_full_names(namespace, parent)
    _refuse_taken(namespace, refusal)
    session = db.session
    session.add(namespace)
    try:
        session.flush()
    except IntegrityError as error:  # another process was faster
        raise refusal(_taken(namespace)) from error
    _attach(namespace.id, parent)
    if isinstance(namespace, Project):
        session.add(StorageUsage(project_id=namespace.id))


def rename(namespace: Namespace, *, path: str, refusal: type[InvalidRecord] = InvalidRecord) -> None:
    """Bring the full path and name of a namespace, and of everything below it, up to date.

    Within the caller's transaction, which holds ``TREE_LOCK``.

    :raises InvalidRecord: the path is taken.
    """
    session = db.session
    parent = None
    if namespace.parent_id is not None:
        parent = session.get_one(Namespace, namespace.parent_id, populate_existing=True)
    with session.no_autoflush:
        namespace.path = path
        _set_full_names(namespace, parent)
        _refuse_taken(namespace, refusal)
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


def path_errors(path: str, *, top_level: bool) -> list[str]:
    """What is wrong with the last part of a path; empty when nothing is."""
    if not path:
        return ["can't be blank"]
    if len(path) > 255:
        return ["is too long (maximum is 255 characters)"]
    if not _PATH.fullmatch(path) or path.lower().endswith((".git", ".atom")) or ".." in path:
        return [
            "can contain only letters, digits, '_', '-' and '.'. Cannot start with '-' or '.', "
            "nor end in '-', '.', '.git' or '.atom'."
        ]
    if path.lower() in RESERVED or (top_level and path.lower() in TOP_LEVEL_RESERVED):
        return [f"{path} is a reserved name"]
    return []


def name_errors(name: str) -> list[str]:
    if not name.strip():
        return ["can't be blank"]
    if len(name) > 255:
        return ["is too long (maximum is 255 characters)"]
    if _CONTROL.search(name):
        return ["can contain only printable characters"]
    return []


def _read_again(namespace: Namespace | None) -> None:
    """What was read before the transaction may have been renamed, moved or closed meanwhile.

    :raises NotFound: or deleted.
    """
    if namespace is not None and db.session.get(Namespace, namespace.id, populate_existing=True) is None:
        raise NotFound(namespace.kind.capitalize())


def _set_full_names(namespace: Namespace, parent: Namespace | None) -> None:
    namespace.full_path = namespace.path if parent is None else f"{parent.full_path}/{namespace.path}"
    namespace.full_path_key = namespace.full_path.lower()
    namespace.full_name = namespace.name if parent is None else f"{parent.full_name} / {namespace.name}"


def _refuse_invalid(
    namespace: Namespace,
    parent: Namespace | None,
    by: Principal,
    refusal: type[InvalidRecord],
    *,
    path: str | None = None,
    standing: Visibility | None = None,
) -> None:
    """:param path: the path to be, where it is not yet the namespace's.

    :param standing: the visibility that it has already, and may keep.
    """
    errors: dict[str, list[str]] = {}
    if found := name_errors(namespace.name):
        errors["name"] = found
    if found := path_errors(namespace.path if path is None else path, top_level=parent is None):
        errors["path"] = found
    if namespace.visibility is not standing:
        errors["visibility_level"] = _visibility_errors(namespace.visibility, parent, by, refusal)
    if parent is not None and _depth(parent) >= MAXIMUM_DEPTH:
        errors["parent"] = [f"is too deep (maximum is {MAXIMUM_DEPTH} levels)"]
    description = namespace.description or ""  # a new record has its default only once it is stored
    if len(description) > 2000 or "\x00" in description:
        errors["description"] = ["is too long (maximum is 2000 characters)"]
    if any(errors.values()):
        raise refusal({field: found for field, found in errors.items() if found})


def _visibility_errors(
    visibility: Visibility, parent: Namespace | None, by: Principal, refusal: type[InvalidRecord]
) -> list[str]:
    if isinstance(parent, Group) and visibility > parent.visibility:
        if refusal is InvalidGroup:
            return [_not_allowed_in_parent(visibility, parent)]
        return [f"{visibility.label} is not allowed in a {parent.visibility.label} group."]
    if not by.is_admin and visibility.label in InstanceSettings.current().restricted_visibility_levels:
        return [f"{visibility.label} has been restricted by your administrator."]
    return []


def _not_allowed_in_parent(visibility: Visibility, parent: Namespace) -> str:
    return f"{visibility.label} is not allowed since the parent group has a {parent.visibility.label} visibility."


def _refuse_more_visible_children(namespace: Namespace, refusal: type[InvalidRecord]) -> None:
    more_visible = db.session.execute(
        select(Namespace.kind)
        .where(access.within(namespace), Namespace.visibility > namespace.visibility)
        .group_by(Namespace.kind)
    ).scalars()
    label = namespace.visibility.label
    messages = {
        "project": f"{label} is not allowed since this group contains projects with higher visibility.",
        "group": f"{label} is not allowed since there are sub-groups with higher visibility.",
    }
    if errors := [messages[kind] for kind in more_visible]:
        raise refusal({"visibility_level": errors})


def _refuse_over_limit(parent: Namespace, by: Principal) -> None:
    if not isinstance(parent, UserNamespace) or by.user is None or by.user.id != parent.user_id:
        return
    held = db.session.scalar(select(func.count(Project.id)).where(Project.parent_id == parent.id)) or 0
    if held >= by.user.projects_limit:
        raise InvalidRecord({"limit_reached": [f"Your project limit is {by.user.projects_limit} projects!"]})


def _refuse_taken(namespace: Namespace, refusal: type[InvalidRecord]) -> None:
    taken = db.session.scalar(
        select(Namespace.id).where(
            Namespace.full_path_key == namespace.full_path_key, Namespace.id != (namespace.id or 0)
        )
    )
    if taken is not None:
        raise refusal(_taken(namespace))


def _taken(namespace: Namespace) -> dict[str, list[str]]:
    fields = ("project_namespace.name", "name", "path") if isinstance(namespace, Project) else ("path",)
    return {field: ["has already been taken"] for field in fields}


def _default_visibility(default: Visibility, parent: Namespace | None) -> Visibility:
    return min(default, parent.visibility) if isinstance(parent, Group) else default


def _depth(namespace: Namespace) -> int:
    return db.session.scalar(select(func.count()).where(Ancestry.namespace_id == namespace.id)) or 0


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
    """Replace the ancestors of a moved namespace, and of everything below it, by those of its new place."""
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


# Members --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Member:
    """One user's role as it counts in a namespace, and the membership it comes from."""

    membership: Membership
    source: Namespace
    is_direct: bool

    @property
    def user(self) -> User:
        return self.membership.user

    @property
    def role(self) -> Role:
        return self.membership.role


def members(
    namespace: Namespace,
    *,
    inherited: bool = False,
    query: str = "",
    by_email: bool = False,
    user_ids: Iterable[int] | None = None,
) -> list[Member]:
    """Members in the order of their user ids; with the inherited ones, one entry a user: the highest role.

    :param query: keep those whose name or user name contains it, or whose e-mail address it is.
    :param by_email: whether a part of an e-mail address will do: these are not everybody's to find out.
    :param user_ids: keep only these users.
    """
    statement = (
        select(Membership, Namespace, Ancestry.distance)
        .join(Ancestry, Ancestry.ancestor_id == Membership.namespace_id)
        .join(Namespace, Namespace.id == Membership.namespace_id)
        .join(User, User.id == Membership.user_id)
        .options(joinedload(Membership.user), joinedload(Membership.created_by))
        .where(Ancestry.namespace_id == namespace.id)
        .order_by(User.id, Membership.role.desc(), Ancestry.distance)
    )
    if inherited:
        statement = statement.where(access.unexpired())
    else:
        statement = statement.where(Ancestry.distance == 0)
    if query:
        searched = contains(User.name, query) | contains(User.username_key, query)
        searched |= contains(User.email_key, query) if by_email else User.email_key == query.lower()
        statement = statement.where(searched)
    if user_ids is not None:
        statement = statement.where(User.id.in_(list(user_ids)))
    found: dict[int, Member] = {}
    for membership, source, distance in db.session.execute(statement):
        found.setdefault(membership.user_id, Member(membership, source, distance == 0))
    return list(found.values())


def member(namespace: Namespace, user_id: int, *, inherited: bool = False) -> Member:
    """:raises RecordNotFound: the user is no member."""
    for found in members(namespace, inherited=inherited, user_ids=[user_id]):
        return found
    raise RecordNotFound


def memberships_of(user: User) -> Listing:
    """The roles a user holds directly in groups and projects, with these, by full path."""
    return (
        select(Membership)
        .join(Namespace, Namespace.id == Membership.namespace_id)
        .options(contains_eager(Membership.namespace))
        .where(Membership.user_id == user.id, Namespace.kind != "user")
        .order_by(Namespace.full_path_key)
    )


def add_member(
    namespace: Namespace, user: User, role: Role, *, expires_on: date | None = None, by: Principal
) -> Membership:
    """:raises Conflict: the user is a direct member already.

    :raises Forbidden: the role is higher than the one of whoever adds it.
    :raises InvalidRecord: lower than what the user inherits, or an expiry that has passed.
    """
    with transaction() as session:
        if session.scalar(_direct(namespace, user.id)) is not None:
            raise Conflict("Member already exists")
        _refuse_role(namespace, user, role, expires_on, by)
        membership = Membership(
            namespace_id=namespace.id, user_id=user.id, user=user, role=role, expires_on=expires_on,
            created_by_id=by.user_id, created_by=by.user,
        )  # fmt: skip
        session.add(membership)
        try:
            session.flush()
        except IntegrityError as error:  # another process was faster
            raise Conflict("Member already exists") from error
        audit.record(by, "member_added", user.username, namespace, role=role.title, expires_on=_shown(expires_on))
    return membership


def add_members(
    namespace: Namespace, users: Iterable[User], role: Role, *, expires_on: date | None = None, by: Principal
) -> dict[str, str]:
    """Add several users, each alone; why some could not be added, by user name.

    :raises Forbidden: the role is higher than the one of whoever adds them.
    """
    failures = {}
    for user in users:
        try:
            add_member(namespace, user, role, expires_on=expires_on, by=by)
        except (Conflict, InvalidRecord) as error:
            failures[user.username] = error.message
    return failures


def change_member(
    namespace: Namespace, user: User, role: Role, *, expires_on: date | EllipsisType | None = ..., by: Principal
) -> Membership:
    """:param expires_on: ``...`` keeps what is set.

    :raises RecordNotFound: the user is no direct member.

    :raises Forbidden: above the changer's own role, or the group would lose its last owner.
    :raises InvalidRecord: as for ``add_member``.
    """
    with transaction(lock=TREE_LOCK) as session:
        membership = session.scalar(_direct(namespace, user.id).with_for_update())
        if membership is None:
            raise RecordNotFound
        if isinstance(expires_on, EllipsisType):
            expires_on = membership.expires_on
        _refuse_higher(namespace, membership.role, by)
        _refuse_role(namespace, user, role, expires_on, by)
        if (role < Role.OWNER or expires_on is not None) and is_last_owner(membership):
            raise Forbidden
        audit.record(
            by, "member_changed", user.username, namespace,
            before=membership.role.title, after=role.title, expires_on=_shown(expires_on),
        )  # fmt: skip
        membership.role, membership.expires_on = role, expires_on
    return membership


def remove_member(namespace: Namespace, user: User, *, by: Principal) -> None:
    """:raises RecordNotFound: the user is no direct member.

    :raises Forbidden: above the remover's own role, or the group would lose its last owner.
    """
    with transaction(lock=TREE_LOCK) as session:
        membership = session.scalar(_direct(namespace, user.id).with_for_update())
        if membership is None:
            raise RecordNotFound
        if by.user_id != user.id:
            access.require(by, Permission.ADMIN_MEMBERS, namespace)
            _refuse_higher(namespace, membership.role, by)
        if is_last_owner(membership):
            raise Forbidden
        audit.record(by, "member_removed", user.username, namespace, role=membership.role.title)
        session.delete(membership)


def is_last_owner(membership: Membership) -> bool:
    """Whether a group, or a user's own space, would be without an Owner if this membership ended."""
    namespace = db.session.get_one(Namespace, membership.namespace_id)
    if isinstance(namespace, UserNamespace):
        return True
    if membership.role < Role.OWNER or not isinstance(namespace, Group):
        return False
    return not _has_owner_besides(namespace, membership.user_id)


def _has_owner_besides(group: Group, user_id: int | None) -> bool:
    """Whether another active user owns the group for good: one whose role ends would leave it without an Owner."""
    others = db.session.scalar(
        select(func.count(Membership.id))
        .join(Ancestry, Ancestry.ancestor_id == Membership.namespace_id)
        .join(User, User.id == Membership.user_id)
        .where(
            Ancestry.namespace_id == group.id,
            Membership.role == Role.OWNER,
            Membership.user_id != (user_id or 0),
            User.state == UserState.ACTIVE,
            Membership.expires_on.is_(None),
        )
    )
    return bool(others)


def _ensure_owner(group: Group, by: Principal) -> None:
    if by.user is None or _has_owner_besides(group, None):
        return
    membership = db.session.scalar(_direct(group, by.user.id))
    if membership is None:
        membership = Membership(namespace_id=group.id, user_id=by.user.id)
        db.session.add(membership)
    membership.role, membership.expires_on = Role.OWNER, None


def _direct(namespace: Namespace, user_id: int) -> Select[Membership]:
    return select(Membership).where(Membership.namespace_id == namespace.id, Membership.user_id == user_id)


def _refuse_role(namespace: Namespace, user: User, role: Role, expires_on: date | None, by: Principal) -> None:
    if role not in MEMBER_ROLES:
        raise InvalidRecord({"access_level": ["is not included in the list"]})
    _refuse_higher(namespace, role, by)
    if expires_on is not None and expires_on <= utcnow().date():
        raise InvalidRecord({"expires_at": ["cannot be a date in the past"]})
    inherited = db.session.execute(
        select(Membership.role, Namespace.name)
        .join(Ancestry, Ancestry.ancestor_id == Membership.namespace_id)
        .join(Namespace, Namespace.id == Membership.namespace_id)
        .where(
            Ancestry.namespace_id == namespace.id,
            Ancestry.distance > 0,
            Membership.user_id == user.id,
            access.unexpired(),
        )
        .order_by(Membership.role.desc(), Ancestry.distance)
    ).first()
    if inherited is not None and role < inherited.role:
        told = f"{inherited.role.title} inherited membership from group {inherited.name}"
        raise InvalidRecord({"access_level": [f"should be greater than or equal to {told}"]})


def _refuse_higher(namespace: Namespace, role: Role, by: Principal) -> None:
    if role > access.role_in(by, namespace):
        raise Forbidden


def _shown(day: date | None) -> str | None:
    return None if day is None else day.isoformat()


# Which CI jobs reach a project ----------------------------------------------------------------------------------


def allowed_job_sources(project: Project, kind: type[AnyNamespace]) -> list[AnyNamespace]:
    """Projects, or groups, on the job token allowlist of a project."""
    return list(
        db.session.scalars(
            select(kind)
            .join(AllowedJobSource, AllowedJobSource.source_id == kind.id)
            .where(AllowedJobSource.project_id == project.id)
            .order_by(kind.id)
        )
    )


def allow_job_source(project: Project, source: Namespace, *, by: Principal) -> None:
    """:raises InvalidRecord: listed already, or the list is full (200).

    :raises NotFound: the source is not there for whoever lists it.
    """
    access.require(by, Permission.READ_NAMESPACE, source)
    is_listed = InvalidRecord({"target_project": ["is already in the job token scope"]})
    with transaction() as session:
        if session.get(AllowedJobSource, (project.id, source.id)) is not None:
            raise is_listed
        listed = session.scalar(select(func.count()).where(AllowedJobSource.project_id == project.id)) or 0
        if listed >= MAXIMUM_ALLOWLIST:
            raise InvalidRecord(
                {"source_project": [f"exceeds the allowable number of project links ({MAXIMUM_ALLOWLIST})"]}
            )
        session.add(AllowedJobSource(project_id=project.id, source_id=source.id))
        try:
            session.flush()
        except IntegrityError as error:  # another process was faster
            raise is_listed from error
        audit.record(by, "job_source_allowed", source.full_path, project)


def disallow_job_source(project: Project, source: Namespace, *, by: audit.Author) -> None:
    """:raises RecordNotFound: it is not listed."""
    with transaction() as session:
        entry = session.get(AllowedJobSource, (project.id, source.id))
        if entry is None:
            raise RecordNotFound
        session.delete(entry)
        audit.record(by, "job_source_disallowed", source.full_path, project)


def touch(project_id: int) -> None:
    """Note that something happened in a project (``last_activity_at``)."""
    db.session.execute(
        _TOUCH, {"project_id": project_id, "now": utcnow()}, execution_options={"synchronize_session": False}
    )


_TOUCH = update(Project).where(Project.id == bindparam("project_id")).values(last_activity_at=bindparam("now"))
