"""Who may do what: the whole policy as one table, decided by one short function.

``POLICY`` is GitLab's permission tables ("Permissions and roles", "Deploy tokens", "CI/CD job tokens") as data.
``allowed`` decides, ``require`` refuses in the way that tells the caller no more than GitLab does, and ``readable``
and ``visible`` are the same rules as SQL conditions, for lists.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import date

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Date,
    SQLColumnExpression,
    and_,
    bindparam,
    exists,
    false,
    func,
    or_,
    select,
    true,
)

from registry.database import db, utcnow
from registry.errors import Forbidden, InsufficientScope, NotFound, Unauthenticated
from registry.models import (
    AccessToken,
    AllowedJobSource,
    Ancestry,
    CreationLevel,
    DeployToken,
    Group,
    InstanceSettings,
    Job,
    Membership,
    Namespace,
    Project,
    RegistryAccess,
    Role,
    User,
    Visibility,
)


class Scope(enum.StrEnum):
    """What a personal access token may be used for. Those the registry has no use for are known but open nothing."""

    API = "api"
    READ_API = "read_api"
    READ_USER = "read_user"
    SELF_ROTATE = "self_rotate"
    SUDO = "sudo"
    ADMIN_MODE = "admin_mode"
    READ_REPOSITORY = "read_repository"
    WRITE_REPOSITORY = "write_repository"
    READ_REGISTRY = "read_registry"
    WRITE_REGISTRY = "write_registry"
    K8S_PROXY = "k8s_proxy"


class DeployScope(enum.StrEnum):
    """What a deploy token may be used for; only the two of the package registry open anything here."""

    READ_REPOSITORY = "read_repository"
    READ_REGISTRY = "read_registry"
    WRITE_REGISTRY = "write_registry"
    READ_PACKAGE_REGISTRY = "read_package_registry"
    WRITE_PACKAGE_REGISTRY = "write_package_registry"
    READ_VIRTUAL_REGISTRY = "read_virtual_registry"
    WRITE_VIRTUAL_REGISTRY = "write_virtual_registry"


class Permission(enum.StrEnum):
    READ_NAMESPACE = "read_namespace"
    READ_MEMBERS = "read_members"
    READ_STATISTICS = "read_statistics"
    READ_PACKAGE = "read_package"
    CREATE_PACKAGE = "create_package"
    DESTROY_PACKAGE = "destroy_package"
    YANK_PACKAGE = "yank_package"
    ADMIN_PACKAGE = "admin_package"
    CREATE_JOB = "create_job"
    FINISH_JOB = "finish_job"
    ADMIN_JOB_TOKEN_SCOPE = "admin_job_token_scope"
    READ_PACKAGE_SETTINGS = "read_package_settings"
    CHANGE_PACKAGE_SETTINGS = "change_package_settings"
    READ_DEPLOY_TOKENS = "read_deploy_tokens"
    CHANGE_DEPLOY_TOKENS = "change_deploy_tokens"
    ADMIN_MEMBERS = "admin_members"
    ADMIN_NAMESPACE = "admin_namespace"
    OWN_NAMESPACE = "own_namespace"
    LEAVE_NAMESPACE = "leave_namespace"
    CREATE_PROJECT = "create_project"
    CREATE_SUBGROUP = "create_subgroup"
    # Held in no namespace:
    READ_VISIBLE = "read_visible"
    READ_USERS = "read_users"
    READ_USER = "read_user"
    READ_JOB = "read_job"
    READ_OWN_TOKENS = "read_own_tokens"
    USE_OWN_TOKEN = "use_own_token"
    ROTATE_OWN_TOKEN = "rotate_own_token"
    USE_API = "use_api"
    READ_INSTANCE = "read_instance"
    ADMIN_INSTANCE = "admin_instance"


class PrincipalKind(enum.StrEnum):
    ANONYMOUS = "anonymous"
    SESSION = "session"
    ACCESS_TOKEN = "access token"
    DEPLOY_TOKEN = "deploy token"
    JOB = "job"
    SHELL = "shell"


@dataclass(frozen=True)
class Principal:
    """Who asks: a signed-in user, a personal access token, a deploy token, a CI job, the shell, or nobody.

    :ivar sudo_by: the administrator who acts as ``user``.
    """

    kind: PrincipalKind
    user: User | None = None
    sudo_by: User | None = None
    access_token: AccessToken | None = None
    deploy_token: DeployToken | None = None
    job: Job | None = None
    address: str = ""
    _roles: dict[int, Role] = field(default_factory=dict, compare=False, repr=False)

    @property
    def is_anonymous(self) -> bool:
        return self.kind is PrincipalKind.ANONYMOUS

    @property
    def is_admin(self) -> bool:
        return self.kind is PrincipalKind.SHELL or (self.user is not None and self.user.is_admin)

    @property
    def is_internal_user(self) -> bool:
        """May see what is internal: everyone with an account, unless marked external."""
        return self.user is not None and not self.user.is_external

    @property
    def user_id(self) -> int | None:
        return None if self.user is None else self.user.id

    @property
    def label(self) -> str:
        if self.deploy_token is not None:
            return f"deploy token {self.deploy_token.id}"
        if self.user is None:
            return self.kind.value
        return self.user.username if self.sudo_by is None else f"{self.user.username} (sudo by {self.sudo_by.username})"


ANONYMOUS = Principal(PrincipalKind.ANONYMOUS)
SHELL = Principal(PrincipalKind.SHELL)


@dataclass(frozen=True)
class Rule:
    """What one permission asks for.

    :param role: least role in the namespace or above it.
    :param group_role: the same when the namespace is a group and GitLab asks for another role there.
    :param open: visibility alone may grant it: public to everybody, internal to every internal user. What is held in no
        namespace is then everybody's, and shows what is visible to whoever asks.
    :param scopes: an access token needs one of them.
    :param deploy_scopes: a deploy token of the namespace, or of a group above, needs one of them.
    :param job: CI job tokens may, with the rights of the job's user.
    :param changes: it changes the project, so that an archived one refuses it.
    """

    role: Role
    group_role: Role | None = None
    open: bool = False
    scopes: tuple[Scope, ...] = (Scope.API,)
    deploy_scopes: tuple[DeployScope, ...] = ()
    job: bool = False
    changes: bool = False


_READ = (Scope.API, Scope.READ_API)
_PULL = (DeployScope.READ_PACKAGE_REGISTRY, DeployScope.WRITE_PACKAGE_REGISTRY)
_PUSH = (DeployScope.WRITE_PACKAGE_REGISTRY,)

POLICY = {
    Permission.READ_NAMESPACE: Rule(Role.GUEST, open=True, scopes=_READ, deploy_scopes=_PULL, job=True),
    Permission.READ_MEMBERS: Rule(Role.GUEST, open=True, scopes=_READ),
    Permission.READ_STATISTICS: Rule(Role.REPORTER, scopes=_READ),
    Permission.READ_PACKAGE: Rule(Role.REPORTER, open=True, scopes=_READ, deploy_scopes=_PULL, job=True),
    Permission.CREATE_PACKAGE: Rule(Role.DEVELOPER, deploy_scopes=_PUSH, job=True, changes=True),
    Permission.DESTROY_PACKAGE: Rule(Role.MAINTAINER, job=True, changes=True),
    Permission.YANK_PACKAGE: Rule(Role.MAINTAINER, job=True, changes=True),
    Permission.ADMIN_PACKAGE: Rule(Role.MAINTAINER),
    Permission.CREATE_JOB: Rule(Role.DEVELOPER, changes=True),
    Permission.FINISH_JOB: Rule(Role.GUEST, job=True),  # one's own; others' as ``tokens.finish_job`` decides
    Permission.ADMIN_JOB_TOKEN_SCOPE: Rule(Role.MAINTAINER),
    Permission.READ_PACKAGE_SETTINGS: Rule(Role.MAINTAINER, scopes=_READ),
    Permission.CHANGE_PACKAGE_SETTINGS: Rule(Role.OWNER),
    Permission.READ_DEPLOY_TOKENS: Rule(Role.MAINTAINER, scopes=_READ),
    Permission.CHANGE_DEPLOY_TOKENS: Rule(Role.MAINTAINER, group_role=Role.OWNER),
    Permission.ADMIN_MEMBERS: Rule(Role.MAINTAINER, group_role=Role.OWNER),
    Permission.ADMIN_NAMESPACE: Rule(Role.MAINTAINER, group_role=Role.OWNER),
    Permission.OWN_NAMESPACE: Rule(Role.OWNER),  # visibility, transfer, deletion
    Permission.LEAVE_NAMESPACE: Rule(Role.GUEST),
    Permission.CREATE_PROJECT: Rule(Role.OWNER),  # in a group: as its own setting says
    Permission.CREATE_SUBGROUP: Rule(Role.OWNER),  # as the group's own setting says
    Permission.READ_VISIBLE: Rule(Role.NO_ACCESS, open=True, scopes=_READ),
    Permission.READ_USERS: Rule(Role.NO_ACCESS, open=True, scopes=(*_READ, Scope.READ_USER)),
    Permission.READ_USER: Rule(Role.NO_ACCESS, scopes=(*_READ, Scope.READ_USER)),
    Permission.READ_JOB: Rule(Role.NO_ACCESS, scopes=_READ, job=True),
    Permission.READ_OWN_TOKENS: Rule(Role.NO_ACCESS, scopes=_READ),
    Permission.USE_OWN_TOKEN: Rule(Role.NO_ACCESS, scopes=tuple(Scope)),
    Permission.ROTATE_OWN_TOKEN: Rule(Role.NO_ACCESS, scopes=(Scope.API, Scope.SELF_ROTATE)),
    Permission.USE_API: Rule(Role.NO_ACCESS),
    Permission.READ_INSTANCE: Rule(Role.ADMIN, scopes=_READ),
    Permission.ADMIN_INSTANCE: Rule(Role.ADMIN),
}

_PACKAGE_PERMISSIONS = (
    Permission.READ_PACKAGE,
    Permission.CREATE_PACKAGE,
    Permission.DESTROY_PACKAGE,
    Permission.YANK_PACKAGE,
)

_CREATION_ROLES = {
    CreationLevel.NOBODY: Role.ADMIN,
    CreationLevel.OWNER: Role.OWNER,
    CreationLevel.MAINTAINER: Role.MAINTAINER,
    CreationLevel.DEVELOPER: Role.DEVELOPER,
}


# Deciding -------------------------------------------------------------------------------------------------------


def allowed(principal: Principal, permission: Permission, namespace: Namespace | None = None) -> bool:
    """Whether the principal holds the permission in the namespace, or in the instance when there is none.

    Scopes of access tokens are not looked at: ``require`` does that before anything else.
    """
    rule = POLICY[permission]
    if namespace is None:
        return _allowed_in_instance(principal, rule)
    if not _admits(namespace, permission, rule):
        return False
    if rule.open and _is_open(principal, permission, namespace):
        return True
    if principal.deploy_token is not None:
        return _holds_scope(principal.deploy_token, rule) and _reaches(principal.deploy_token, namespace)
    if principal.job is not None and not (rule.job and _admits_job(namespace, principal.job)):
        return False
    return _role_suffices(principal, permission, namespace)


def require(principal: Principal, permission: Permission, namespace: Namespace | None = None) -> None:
    """Let pass, or refuse without telling more than the principal may know.

    :raises InsufficientScope: the access token has none of the scopes that would do.
    :raises Unauthenticated: nobody is signed in, and signing in may help.
    :raises Forbidden: the principal may see the namespace, but not do this.
    :raises NotFound: the principal may not know that the namespace exists.
    """
    require_scope(principal, POLICY[permission].scopes)
    if allowed(principal, permission, namespace):
        return
    if namespace is None:
        raise Unauthenticated if principal.is_anonymous else Forbidden
    if allowed(principal, Permission.READ_NAMESPACE, namespace):
        if principal.is_anonymous and _asks_to_sign_in(permission, namespace):
            raise Unauthenticated
        raise Forbidden
    if principal.is_anonymous:
        raise Unauthenticated(hidden=NotFound(namespace.kind.capitalize()))
    raise NotFound(namespace.kind.capitalize())


def require_scope(principal: Principal, scopes: Iterable[Scope]) -> None:
    """:raises InsufficientScope: the principal is an access token without any of these scopes."""
    if principal.access_token is not None and not set(scopes) & set(principal.access_token.scopes):
        raise InsufficientScope(scopes)


def role_in(principal: Principal, namespace: Namespace) -> Role:
    """The highest role of the principal's user in the namespace or any ancestor; administrators own everything."""
    if principal.is_admin:
        return Role.OWNER
    if principal.user is None:
        return Role.NO_ACCESS
    if namespace.id not in principal._roles:
        principal._roles[namespace.id] = role_of(principal.user, namespace)
    return principal._roles[namespace.id]


def role_of(user: User, namespace: Namespace) -> Role:
    """The same by membership alone, fresh from the database."""
    highest = db.session.scalar(
        _HIGHEST_ROLE, {"namespace_id": namespace.id, "user_id": user.id, "today": utcnow().date()}
    )
    return Role(highest or Role.NO_ACCESS)


@dataclass(frozen=True)
class HeldRoles:
    """What one user holds in a namespace: directly, and by the groups above it."""

    direct: Role = Role.NO_ACCESS
    inherited: Role = Role.NO_ACCESS


def held_roles(principal: Principal, namespaces: Iterable[Namespace]) -> dict[int, HeldRoles]:
    """What the principal's user holds in each of many namespaces, by id, in one statement; ``role_in`` knows it then.

    The Owner of a personal namespace counts as a direct Owner of its projects.
    """
    found = {namespace.id: HeldRoles() for namespace in namespaces}
    if principal.user is None or not found:
        return found
    rows = db.session.execute(
        select(Ancestry.namespace_id, or_(Ancestry.distance == 0, Namespace.kind == "user"), Membership.role)
        .join(Membership, Membership.namespace_id == Ancestry.ancestor_id)
        .join(Namespace, Namespace.id == Ancestry.ancestor_id)
        .where(Ancestry.namespace_id.in_(found), Membership.user_id == principal.user.id, unexpired())
    )
    for namespace_id, is_direct, role in rows:
        held = found[namespace_id]
        found[namespace_id] = (
            replace(held, direct=max(held.direct, role))
            if is_direct
            else replace(held, inherited=max(held.inherited, role))
        )
    for namespace_id, held in found.items():
        principal._roles[namespace_id] = max(held.direct, held.inherited)
    return found


def _allowed_in_instance(principal: Principal, rule: Rule) -> bool:
    """Deploy tokens and CI jobs are made for a namespace, and have little business in the instance as a whole."""
    if principal.deploy_token is not None or (principal.job is not None and not rule.job):
        return False
    if principal.is_anonymous:
        return rule.open
    return principal.is_admin or rule.role is Role.NO_ACCESS


def _admits(namespace: Namespace, permission: Permission, rule: Rule) -> bool:
    """Whether the namespace is in a state in which anyone at all may."""
    if not isinstance(namespace, Project):
        return True
    return not (_is_switched_off(namespace, permission) or (rule.changes and namespace.archived))


def _is_switched_off(namespace: Namespace, permission: Permission) -> bool:
    return (
        permission in _PACKAGE_PERMISSIONS
        and isinstance(namespace, Project)
        and namespace.registry_access is RegistryAccess.DISABLED
    )


def _asks_to_sign_in(permission: Permission, namespace: Namespace) -> bool:
    """Whether nobody is told 401 rather than 403: not where reading is off for all, and as in GitLab not to delete."""
    if permission is Permission.READ_PACKAGE:
        return not _is_switched_off(namespace, permission)
    return permission is not Permission.DESTROY_PACKAGE


def _is_open(principal: Principal, permission: Permission, namespace: Namespace) -> bool:
    """Whether visibility alone grants it. The registry of a project may be narrower or wider than the project."""
    if permission is Permission.READ_PACKAGE:
        if isinstance(namespace, Project):
            if namespace.registry_access is RegistryAccess.PRIVATE:
                return False
            if namespace.registry_access is RegistryAccess.PUBLIC and anyone_may_pull():
                return True
        elif namespace.visibility is Visibility.INTERNAL:
            return False  # a group's endpoints ask for a role unless the group is public
    if namespace.visibility is Visibility.PUBLIC:
        return True
    return namespace.visibility is Visibility.INTERNAL and principal.is_internal_user


def anyone_may_pull() -> bool:
    """Whether the instance honours "Allow anyone to pull from package registry" of its projects."""
    return InstanceSettings.current().package_registry_allow_anyone_to_pull_option


def _role_suffices(principal: Principal, permission: Permission, namespace: Namespace) -> bool:
    if principal.is_admin:
        return True
    role = role_in(principal, namespace)
    if role >= _least_role(permission, namespace):
        return True
    if permission is Permission.READ_PACKAGE and role >= Role.GUEST:
        return InstanceSettings.current().allow_guest_plus_roles_to_pull_packages
    if permission is Permission.READ_NAMESPACE and isinstance(namespace, Group):
        return _is_member_below(principal, namespace)
    return False


def _least_role(permission: Permission, namespace: Namespace) -> Role:
    if isinstance(namespace, Group):
        if permission is Permission.CREATE_PROJECT:
            return _CREATION_ROLES[namespace.project_creation_level or CreationLevel.DEVELOPER]
        if permission is Permission.CREATE_SUBGROUP:
            return _CREATION_ROLES[namespace.subgroup_creation_level or CreationLevel.MAINTAINER]
        return POLICY[permission].group_role or POLICY[permission].role
    return POLICY[permission].role


def _is_member_below(principal: Principal, group: Group) -> bool:
    if principal.user is None:
        return False
    return bool(db.session.scalar(select(_member_below(principal.user.id, group.id))))


def _holds_scope(token: DeployToken, rule: Rule) -> bool:
    return bool(set(rule.deploy_scopes) & set(token.scopes))


def _reaches(token: DeployToken, namespace: Namespace) -> bool:
    """A deploy token reaches its own namespace and everything below it."""
    return is_within(namespace, token.namespace_id)


def is_within(namespace: Namespace, ancestor_id: int) -> bool:
    """Whether the namespace is the one with this id or lies below it."""
    if namespace.id == ancestor_id:
        return True
    return db.session.get(Ancestry, (namespace.id, ancestor_id)) is not None


def _admits_job(namespace: Namespace, job: Job) -> bool:
    """A project admits its own jobs and those of its allowlist; a group admits a job as it does the job's user."""
    if not isinstance(namespace, Project) or namespace.id == job.project_id or not namespace.job_allowlist_enforced:
        return True
    listed = exists().where(
        AllowedJobSource.project_id == namespace.id,
        AllowedJobSource.source_id == Ancestry.ancestor_id,
        Ancestry.namespace_id == job.project_id,
    )
    return bool(db.session.scalar(select(listed)))


# The same as SQL, for lists -------------------------------------------------------------------------------------


def readable(principal: Principal) -> ColumnElement[bool]:
    """Projects whose packages the principal may read through a group or a list, as a condition on ``Project``.

    Narrower than ``allowed`` on the project itself in two points, as in GitLab: "anyone may pull" opens only the
    project's own endpoints, and a deploy token is shown only its own namespace. Wider in one: a job token on a group
    counts as its user, without regard to the allowlists of the projects below.
    """
    enabled = Project.registry_access != RegistryAccess.DISABLED
    if principal.is_admin:
        return enabled
    if principal.deploy_token is not None:
        token = principal.deploy_token
        if _holds_scope(token, POLICY[Permission.READ_PACKAGE]):
            return and_(enabled, _lies_within(token.namespace_id))
    open_to_all = and_(
        Project.registry_access != RegistryAccess.PRIVATE, Project.visibility.in_(_open_visibilities(principal))
    )
    if principal.user is None:
        return and_(enabled, open_to_all)
    least = Role.GUEST if InstanceSettings.current().allow_guest_plus_roles_to_pull_packages else Role.REPORTER
    return and_(enabled, or_(open_to_all, _has_role(principal.user.id, least)))


def visible(principal: Principal) -> ColumnElement[bool]:
    """Namespaces the principal may know of, as a condition on ``Namespace``; a CI job counts as its user."""
    if principal.is_admin:
        return true()
    conditions: list[ColumnElement[bool]] = [Namespace.visibility.in_(_open_visibilities(principal))]
    if principal.deploy_token is not None and _holds_scope(principal.deploy_token, POLICY[Permission.READ_NAMESPACE]):
        conditions.append(_lies_within(principal.deploy_token.namespace_id))
    return or_(*conditions, joined(principal))


def joined(principal: Principal) -> ColumnElement[bool]:
    """Namespaces the principal's user is a member of, or of one above; and groups with such a namespace below."""
    if principal.user is None:
        return false()
    is_above = and_(Namespace.kind == "group", _member_below(principal.user.id, Namespace.id))
    return or_(_has_role(principal.user.id, Role.GUEST), is_above)


def has_role(principal: Principal, least: Role) -> ColumnElement[bool]:
    """Namespaces in which the principal's user is a member with at least this role, as a condition on ``Namespace``."""
    return false() if principal.user is None else _has_role(principal.user.id, least)


def within(ancestor: Namespace, *, itself: bool = False) -> ColumnElement[bool]:
    """Namespaces below the given one, as a condition on ``Namespace``."""
    below = _lies_within(ancestor.id)
    return below if itself else and_(below, Namespace.id != ancestor.id)


def _open_visibilities(principal: Principal) -> list[Visibility]:
    return [Visibility.PUBLIC, Visibility.INTERNAL] if principal.is_internal_user else [Visibility.PUBLIC]


def _lies_within(ancestor_id: int) -> ColumnElement[bool]:
    return exists().where(Ancestry.namespace_id == Namespace.id, Ancestry.ancestor_id == ancestor_id)


def _has_role(user_id: int, least: Role) -> ColumnElement[bool]:
    return exists().where(
        Ancestry.namespace_id == Namespace.id,
        Membership.namespace_id == Ancestry.ancestor_id,
        Membership.user_id == user_id,
        Membership.role >= least,
        unexpired(),
    )


def _member_below(user_id: int, group_id: int | SQLColumnExpression[int]) -> ColumnElement[bool]:
    return exists().where(
        Ancestry.ancestor_id == group_id,
        Membership.namespace_id == Ancestry.namespace_id,
        Membership.user_id == user_id,
        unexpired(),
    )


def unexpired() -> ColumnElement[bool]:
    """Memberships that count today, as a condition on ``Membership``; they end at 00:00 UTC of their last day."""
    return _counts_on(utcnow().date())


def _counts_on(today: date | BindParameter[date]) -> ColumnElement[bool]:
    return or_(Membership.expires_on.is_(None), Membership.expires_on > today)


# Made once, as the statements of the read path are: to make one takes as long as to run it.
_HIGHEST_ROLE = (
    select(func.max(Membership.role))
    .join(Ancestry, Ancestry.ancestor_id == Membership.namespace_id)
    .where(
        Ancestry.namespace_id == bindparam("namespace_id"),
        Membership.user_id == bindparam("user_id"),
        _counts_on(bindparam("today", type_=Date())),
    )
)
