"""The permission policy as one table, evaluated by one function.

``POLICY`` is GitLab's permission tables ("Permissions and roles", "Deploy tokens", "CI/CD job tokens") as data.
``allowed`` evaluates it, and ``require`` raises errors that reveal no more to the caller than GitLab does.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from registry.domain.access.principals import Principal
from registry.domain.access.roles import accepts_job, is_member_below, is_within, load_roles, role_in
from registry.domain.access.trust import accepting, load_accepting
from registry.errors import Forbidden, InsufficientScope, NotFound, Unauthenticated
from registry.models import (
    CreationLevel,
    DeployToken,
    Group,
    InstanceSettings,
    Namespace,
    Project,
    RegistryAccess,
    Role,
    Visibility,
)


class Scope(enum.StrEnum):
    """Scopes of personal access tokens. Scopes that do not apply to a registry are accepted but grant nothing."""

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
    """Scopes of deploy tokens; only the two of the package registry grant anything here."""

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
    # Permissions without a namespace:
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


@dataclass(frozen=True)
class Rule:
    """The requirements of one permission.

    :ivar role: minimum role in the namespace or an ancestor.
    :ivar group_role: minimum role in a group, if it differs or is a setting of the group.
    :ivar guests: an instance setting that also grants it to Guests.
    :ivar members_below: in a group, also granted to members of its subgroups and projects.
    :ivar open: whether visibility alone grants it to a principal. For permissions without a namespace, any such rule
        grants it to anonymous callers.
    :ivar scopes: scopes of access tokens, of which a token must have one.
    :ivar deploy_scopes: the same for deploy tokens of the namespace or an ancestor. Tokens of trusted readers of these
        have ``READ_PACKAGE_REGISTRY``.
    :ivar job: granted to a CI job token if the job's user has it.
    :ivar trusted: granted to a publishing token in the projects with a trusted publisher that accepts its job.
    :ivar uses_registry: denied, even to administrators, in a project with its package registry disabled.
    :ivar changes: denied, even to administrators, in an archived project.
    :ivar challenges: whether anonymous callers who can see the namespace get 401 instead of 403.
    """

    role: Role
    group_role: Role | Callable[[Group], Role] | None = None
    guests: Callable[[], bool] = lambda: False
    members_below: bool = False
    open: Callable[[Principal, Namespace], bool] | None = None
    scopes: tuple[Scope, ...] = (Scope.API,)
    deploy_scopes: tuple[DeployScope, ...] = ()
    job: bool = False
    trusted: bool = False
    uses_registry: bool = False
    changes: bool = False
    challenges: Callable[[Namespace], bool] = lambda _namespace: True

    def least_role(self, namespace: Namespace) -> Role:
        if self.group_role is None or not isinstance(namespace, Group):
            return self.role
        return self.group_role if isinstance(self.group_role, Role) else self.group_role(namespace)


def open_visibilities(principal: Principal) -> tuple[Visibility, ...]:
    """Return the visibility levels that are open to a principal without a role."""
    return (Visibility.PUBLIC, Visibility.INTERNAL) if principal.is_internal_user else (Visibility.PUBLIC,)


def _is_visible(principal: Principal, namespace: Namespace) -> bool:
    """Return whether the principal can see the namespace by visibility alone."""
    return namespace.visibility in open_visibilities(principal)


def _is_pullable(principal: Principal, namespace: Namespace) -> bool:
    """Return whether the principal can read packages by visibility alone.

    The registry of a project can be more or less open than the project. An internal group requires a role.
    """
    if isinstance(namespace, Project):
        if namespace.registry_access is RegistryAccess.PRIVATE:
            return False
        if namespace.registry_access is RegistryAccess.PUBLIC and anyone_may_pull():
            return True
        return _is_visible(principal, namespace)
    return namespace.visibility is Visibility.PUBLIC


def anyone_may_pull() -> bool:
    """Return whether projects can use "Allow anyone to pull from package registry"."""
    return InstanceSettings.current().package_registry_allow_anyone_to_pull_option


def _guests_may_pull() -> bool:
    return InstanceSettings.current().allow_guest_plus_roles_to_pull_packages


def _has_registry(namespace: Namespace) -> bool:
    return not isinstance(namespace, Project) or namespace.has_registry


_CREATION_ROLES = {
    CreationLevel.NOBODY: Role.ADMIN,
    CreationLevel.OWNER: Role.OWNER,
    CreationLevel.MAINTAINER: Role.MAINTAINER,
    CreationLevel.DEVELOPER: Role.DEVELOPER,
}


def _project_creators(group: Group) -> Role:
    return _CREATION_ROLES[group.project_creation_level or CreationLevel.DEVELOPER]


def _subgroup_creators(group: Group) -> Role:
    return _CREATION_ROLES[group.subgroup_creation_level or CreationLevel.MAINTAINER]


_READ = (Scope.API, Scope.READ_API)
_READS = DeployScope.READ_PACKAGE_REGISTRY
_PULL = (_READS, DeployScope.WRITE_PACKAGE_REGISTRY)
_PUSH = (DeployScope.WRITE_PACKAGE_REGISTRY,)
POLICY = {
    Permission.READ_NAMESPACE: Rule(
        Role.GUEST, members_below=True, open=_is_visible, scopes=_READ, deploy_scopes=_PULL, job=True, trusted=True
    ),
    Permission.READ_MEMBERS: Rule(Role.GUEST, open=_is_visible, scopes=_READ),
    Permission.READ_STATISTICS: Rule(Role.REPORTER, scopes=_READ),
    Permission.READ_PACKAGE: Rule(
        Role.REPORTER,
        guests=_guests_may_pull,
        open=_is_pullable,
        scopes=_READ,
        deploy_scopes=_PULL,
        job=True,
        uses_registry=True,
        challenges=_has_registry,
    ),
    Permission.CREATE_PACKAGE: Rule(
        Role.DEVELOPER, deploy_scopes=_PUSH, job=True, trusted=True, uses_registry=True, changes=True
    ),
    Permission.DESTROY_PACKAGE: Rule(
        Role.MAINTAINER, job=True, uses_registry=True, changes=True, challenges=lambda _namespace: False
    ),
    Permission.YANK_PACKAGE: Rule(Role.MAINTAINER, job=True, uses_registry=True, changes=True),
    Permission.ADMIN_PACKAGE: Rule(Role.MAINTAINER),
    Permission.CREATE_JOB: Rule(Role.DEVELOPER, changes=True),
    Permission.FINISH_JOB: Rule(Role.GUEST, job=True),  # for the jobs of other users, ``jobs.finish_job`` requires more
    Permission.ADMIN_JOB_TOKEN_SCOPE: Rule(Role.MAINTAINER),
    Permission.READ_PACKAGE_SETTINGS: Rule(Role.MAINTAINER, scopes=_READ),
    Permission.CHANGE_PACKAGE_SETTINGS: Rule(Role.OWNER),
    Permission.READ_DEPLOY_TOKENS: Rule(Role.MAINTAINER, scopes=_READ),
    Permission.CHANGE_DEPLOY_TOKENS: Rule(Role.MAINTAINER, group_role=Role.OWNER),
    Permission.ADMIN_MEMBERS: Rule(Role.MAINTAINER, group_role=Role.OWNER),
    Permission.ADMIN_NAMESPACE: Rule(Role.MAINTAINER, group_role=Role.OWNER),
    Permission.OWN_NAMESPACE: Rule(Role.OWNER),  # visibility, access to the registry, path, transfer, deletion
    Permission.LEAVE_NAMESPACE: Rule(Role.GUEST),
    Permission.CREATE_PROJECT: Rule(Role.OWNER, group_role=_project_creators),
    Permission.CREATE_SUBGROUP: Rule(Role.OWNER, group_role=_subgroup_creators),
    Permission.READ_VISIBLE: Rule(Role.NO_ACCESS, open=_is_visible, scopes=_READ),
    Permission.READ_USERS: Rule(Role.NO_ACCESS, open=_is_visible, scopes=(*_READ, Scope.READ_USER)),
    Permission.READ_USER: Rule(Role.NO_ACCESS, scopes=(*_READ, Scope.READ_USER)),
    Permission.READ_JOB: Rule(Role.NO_ACCESS, scopes=_READ, job=True),
    Permission.READ_OWN_TOKENS: Rule(Role.NO_ACCESS, scopes=_READ),
    Permission.USE_OWN_TOKEN: Rule(Role.NO_ACCESS, scopes=tuple(Scope)),
    Permission.ROTATE_OWN_TOKEN: Rule(Role.NO_ACCESS, scopes=(Scope.API, Scope.SELF_ROTATE)),
    Permission.USE_API: Rule(Role.NO_ACCESS),
    Permission.READ_INSTANCE: Rule(Role.ADMIN, scopes=_READ),
    Permission.ADMIN_INSTANCE: Rule(Role.ADMIN),
}


def allowed(principal: Principal, permission: Permission, namespace: Namespace | None = None) -> bool:
    """Return whether the principal has a permission in a namespace, or without a namespace.

    It does not check the scopes of access tokens; ``require`` checks them first.
    """
    rule = POLICY[permission]
    if namespace is None:
        return _allowed_in_instance(principal, rule)
    decided = _decided_without_role(principal, rule, namespace)
    return _role_suffices(principal, rule, namespace) if decided is None else decided


def load_role_for(principal: Principal, permission: Permission, namespace: Namespace | None) -> Principal:
    """Return the principal with its role in the namespace loaded, if the permission depends on it.

    For the token of a CI job, the trusted publishers or readers that accept the job are loaded instead.
    """
    if namespace is None:
        return principal
    if principal.publishing_token is not None or principal.reading_token is not None:
        return load_accepting(principal, namespace)
    if principal.user is None:
        return principal
    decided = _decided_without_role(principal, POLICY[permission], namespace)
    return load_roles(principal, [namespace]) if decided is None else principal


def require(principal: Principal, permission: Permission, namespace: Namespace | None = None) -> Principal:
    """Require a permission, revealing no more than the principal is allowed to know.

    :return: the principal, with its role in the namespace loaded if the permission depends on it.
    :raises InsufficientScope: the access token has none of the accepted scopes; its user can see the namespace.
    :raises Unauthenticated: the caller is anonymous, and signing in can help.
    :raises Forbidden: the principal can see the namespace but lacks the permission.
    :raises NotFound: the namespace is hidden from the principal.
    """
    if not _has_scope(principal, POLICY[permission].scopes):
        shown = (permission, Permission.READ_NAMESPACE)
        if namespace is None or any(allowed(principal, each, namespace) for each in shown):
            raise InsufficientScope(POLICY[permission].scopes)
        raise NotFound(namespace.kind.capitalize())
    principal = load_role_for(principal, permission, namespace)
    if allowed(principal, permission, namespace):
        return principal
    if namespace is None:
        raise Unauthenticated if principal.is_anonymous else Forbidden
    if allowed(principal, Permission.READ_NAMESPACE, namespace):
        if principal.is_anonymous and POLICY[permission].challenges(namespace):
            raise Unauthenticated
        raise _forbidden(principal, POLICY[permission], namespace)
    if principal.is_anonymous:
        raise Unauthenticated(hidden=NotFound(namespace.kind.capitalize()))
    raise NotFound(namespace.kind.capitalize())


def _forbidden(principal: Principal, rule: Rule, namespace: Namespace) -> Forbidden:
    """Return the refusal for a principal that can see the namespace, with the setting or role that decided."""
    place = f"the {namespace.kind} {namespace.full_path}"
    if rule.uses_registry and not _has_registry(namespace):
        return Forbidden().explained(
            "Package registry disabled",
            f"The package registry of {place} is switched off. An Owner can switch it on under Settings > "
            "Packages and registries.",
        )
    if not _admits(namespace, rule):
        return Forbidden().explained("Project archived", f"Nothing can be changed in {place}, which is archived.")
    if principal.deploy_token is not None:
        return Forbidden().explained(
            "Deploy token not accepted",
            f"This requires a deploy token of {place} or of a group above it, with the scope "
            f"{' or '.join(rule.deploy_scopes)}." if rule.deploy_scopes else "Deploy tokens cannot do this.",
        )  # fmt: skip
    if principal.publishing_token is not None:
        return Forbidden().explained(
            "Publishing token not accepted",
            f"A token of a trusted publisher can only publish, and only to projects that trust it; {place} "
            f"{'does not.' if rule.trusted else 'does.'}",
        )
    if principal.reading_token is not None:
        return Forbidden().explained(
            "Reading token not accepted",
            f"A token of a trusted reader can only install, from projects and groups that trust it. A Maintainer of "
            f"{place} can add its job under Settings > CI/CD." if _READS in rule.deploy_scopes
            else "A token of a trusted reader can only install.",
        )  # fmt: skip
    if principal.job is not None and not (rule.job and accepts_job(namespace, principal.job)):
        return Forbidden().explained(
            "Job token not accepted",
            f"A Maintainer of {place} can add the project of this CI job to the job token allowlist under Settings > "
            "CI/CD." if rule.job else "CI job tokens cannot do this.",
        )  # fmt: skip
    role = rule.least_role(namespace)
    return Forbidden().explained(
        "Role too low", f"This requires the role {role.title} or a higher one in {place}. Ask an Owner or Maintainer."
    )


def require_scope(principal: Principal, scopes: Iterable[Scope]) -> None:
    """Require one of these scopes of an access token; other principals need none.

    :raises InsufficientScope: the access token has none of these scopes.
    """
    if not _has_scope(principal, scopes):
        raise InsufficientScope(scopes)


def _has_scope(principal: Principal, scopes: Iterable[Scope]) -> bool:
    return principal.access_token is None or not set(scopes).isdisjoint(principal.access_token.scopes)


def _allowed_in_instance(principal: Principal, rule: Rule) -> bool:
    """Return whether a permission without a namespace is granted; deploy tokens have none, and CI jobs few."""
    if principal.publishing_token is not None or principal.reading_token is not None:
        return False
    if principal.deploy_token is not None or (principal.job is not None and not rule.job):
        return False
    if principal.is_anonymous:
        return rule.open is not None
    return principal.is_admin or rule.role is Role.NO_ACCESS


def _decided_without_role(principal: Principal, rule: Rule, namespace: Namespace) -> bool | None:
    """Return the decision if it does not depend on a role, else ``None``."""
    if not _admits(namespace, rule):
        return False
    if rule.open is not None and rule.open(principal, namespace):
        return True
    if principal.deploy_token is not None:
        return holds_scope(principal.deploy_token, rule) and _reaches(principal.deploy_token, namespace)
    if principal.publishing_token is not None:
        return rule.trusted and bool(accepting(principal, namespace))
    if principal.reading_token is not None:
        return _READS in rule.deploy_scopes and bool(accepting(principal, namespace))
    if principal.job is not None and not rule.job:
        return False
    return None


def _admits(namespace: Namespace, rule: Rule) -> bool:
    """Return whether the state of the namespace permits the action at all."""
    if rule.uses_registry and not _has_registry(namespace):
        return False
    return not (rule.changes and isinstance(namespace, Project) and namespace.archived)


def _role_suffices(principal: Principal, rule: Rule, namespace: Namespace) -> bool:
    role = role_in(principal, namespace)
    if role >= rule.least_role(namespace) or (role >= Role.GUEST and rule.guests()):
        return True
    return rule.members_below and isinstance(namespace, Group) and is_member_below(principal, namespace)


def holds_scope(token: DeployToken, rule: Rule) -> bool:
    return bool(set(rule.deploy_scopes) & set(token.scopes))


def _reaches(token: DeployToken, namespace: Namespace) -> bool:
    """Return whether a namespace is that of the deploy token or a descendant of it."""
    return is_within(namespace, token.namespace_id)
