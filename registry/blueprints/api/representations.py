"""JSON representations of records as in GitLab; functions for many records use a fixed number of statements.

Features without a counterpart here (issues, pipelines, repositories) are represented as disabled or empty, because
clients expect the keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from typing import Any

from flask import current_app, request

from registry.addresses import root_url
from registry.blueprints.api import setting_kinds
from registry.database import utcnow
from registry.domain import access, cascade, namespaces
from registry.domain.access import HeldRoles, Permission, Principal
from registry.domain.accounts import users as accounts
from registry.domain.explaining import Explanation
from registry.domain.namespaces import Member
from registry.domain.oidc.exchanged_tokens import TokenInUse
from registry.domain.oidc.identities import accepts_issuer
from registry.domain.packages import downloads, lists, usage
from registry.domain.packages.downloads import Downloads
from registry.models import (
    AccessToken,
    DeployToken,
    Group,
    ImportedPipeline,
    InstanceSettings,
    Job,
    Namespace,
    OldPath,
    Package,
    PackageFile,
    PackageName,
    Pipeline,
    Project,
    ProtectionRule,
    ProviderRole,
    Role,
    TrustedPublisher,
    TrustedReader,
    TrustedRun,
    UpstreamException,
    User,
    UserState,
)

JSON = dict[str, Any]

PUSH_ROLES = {"maintainer": Role.MAINTAINER, "owner": Role.OWNER, "admin": Role.ADMIN}
DELETE_ROLES = {"owner": Role.OWNER, "admin": Role.ADMIN}
NOTIFICATION_LEVEL = 3  # GitLab's "global"


def moment(value: datetime | None) -> str | None:
    """Return a timestamp in ISO 8601, in UTC with milliseconds."""
    if value is None:
        return None
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def day(value: date | None) -> str | None:
    return None if value is None else value.isoformat()


def address(path: str) -> str:
    """Return the absolute URL of a page or resource."""
    return root_url(request.environ) + path


def user(user: User) -> JSON:
    """Return the public attributes of a user."""
    return {
        "id": user.id,
        "username": user.username,
        "public_email": None,
        "name": user.name,
        "state": user.state,
        "locked": user.state is not UserState.ACTIVE,
        "avatar_url": None,
        "web_url": address(user.username),
    }


def users(listed: Sequence[User], viewer: Principal) -> list[JSON]:
    """Return the public attributes of users; for administrators, all attributes."""
    if not viewer.is_admin:
        return [user(one) for one in listed]
    spaces = accounts.personal_namespace_ids(listed)
    creators = accounts.by_ids(one.created_by_id for one in listed)
    return [_administered_user(one, spaces.get(one.id), creators.get(one.created_by_id or 0)) for one in listed]


def own_user(viewer: Principal, own: User) -> JSON:
    """Return the attributes of the current user."""
    return users([own], viewer)[0] if viewer.is_admin else _user_details(own)


def _administered_user(one: User, namespace_id: int | None, creator: User | None) -> JSON:
    return _user_details(one) | {
        "is_admin": one.is_admin,
        "note": one.note,
        "namespace_id": namespace_id,
        "created_by": None if creator is None else user(creator),
        "email_reset_offered_at": None,
        "using_license_seat": one.is_active,
    }


def _user_details(one: User) -> JSON:
    absent_texts = ("location", "linkedin", "twitter", "website_url", "organization", "job_title", "pronouns")
    return user(one) | {
        "created_at": moment(one.created_at),
        "bio": one.bio,
        **dict.fromkeys(absent_texts, ""),
        "bot": False,
        "work_information": None,
        "followers": 0,
        "following": 0,
        "local_time": None,
        "last_sign_in_at": moment(one.last_sign_in_at),
        "confirmed_at": moment(one.confirmed_at),
        "last_activity_on": None,
        "email": one.email,
        "theme_id": None,
        "color_scheme_id": None,
        "projects_limit": one.projects_limit,
        "current_sign_in_at": moment(one.current_sign_in_at),
        "identities": [],
        "can_create_group": one.can_create_group,
        "can_create_project": one.projects_limit > 0,
        "two_factor_enabled": one.has_second_factor,
        "external": one.is_external,
        "private_profile": one.private_profile,
        "commit_email": one.email,
        "shared_runners_minutes_limit": None,
    }


def groups(listed: Sequence[Group], viewer: Principal, *, statistics: bool = False) -> list[JSON]:
    shown = [_group(group) for group in listed]
    if statistics:
        _add_statistics(shown, listed, viewer)
    return shown


def group(group: Group, viewer: Principal, *, statistics: bool = False) -> JSON:
    """Return a group without its projects, including package settings if the viewer can change them."""
    shown = _group(group) | {
        "shared_with_groups": [],
        "prevent_sharing_groups_outside_hierarchy": False,
        "projects": [],
        "shared_projects": [],
    }
    if statistics:
        _add_statistics([shown], [group], viewer)
    if access.allowed(viewer, Permission.CHANGE_PACKAGE_SETTINGS, group):
        shown |= package_settings(group)
    return shown


def _group(group: Group) -> JSON:
    return {
        "id": group.id,
        "web_url": address(f"groups/{group.full_path}"),
        "name": group.name,
        "path": group.path,
        "description": group.description,
        "visibility": group.visibility.label,
        "share_with_group_lock": False,
        "require_two_factor_authentication": False,
        "two_factor_grace_period": 48,
        "project_creation_level": group.project_creation_level,
        "auto_devops_enabled": None,
        "subgroup_creation_level": group.subgroup_creation_level,
        "emails_disabled": True,
        "emails_enabled": False,
        "mentions_disabled": None,
        "lfs_enabled": False,
        "default_branch_protection": None,
        "avatar_url": None,
        "request_access_enabled": False,
        "full_name": group.full_name,
        "full_path": group.full_path,
        "created_at": moment(group.created_at),
        "parent_id": group.parent_id,
        "organization_id": 1,
        "shared_runners_setting": "disabled_and_unoverridable",
        "storage_size_limit": group.storage_size_limit,
    }


def package_settings(group: Group) -> JSON:
    """Return the cascading settings of a group: its own and the effective values."""
    shown: JSON = {}
    for setting, standing in cascade.standings(group):
        own, inherited, effective = (
            None if value is None else setting_kinds.in_json(setting.any_kind, value)
            for value in (standing.value, standing.inherited, standing.effective)
        )
        shown |= {
            setting.name: own,
            setting.lock_name: standing.lock,
            f"{setting.name}_locked": standing.is_locked,
            f"{setting.name}_inherited_value": inherited,
            f"{setting.name}_effective_value": effective,
        }
    return shown


def upstream_exception(exception: UpstreamException) -> JSON:
    """Return an exception to the minimum age of upstream files."""
    return {
        "id": exception.id,
        "pattern": exception.pattern,
        "reason": exception.reason,
        "expires_at": moment(exception.expires_at),
        "created_at": moment(exception.created_at),
        "user": None if exception.user is None else user(exception.user),
    }


def provider_role(role: ProviderRole) -> JSON:
    """Return a role that follows from a group of the identity provider."""
    return {
        "id": role.id,
        "provider_group": role.provider_group,
        "group_id": role.group_id,
        "group_full_path": role.group.full_path,
        "access_level": role.role,
        "created_at": moment(role.created_at),
    }


def explanation(explanation: Explanation) -> JSON:
    """Return why the files of a package name are offered or withheld."""
    hidden_by = explanation.hidden_by
    return {
        "name": explanation.name,
        "source": explanation.source,
        "rule": None if hidden_by is None else hidden_by.rule,
        "set_in": None if hidden_by is None else hidden_by.set_in,
        "files": [
            {
                "filename": one.file.filename,
                "decision": "offered" if one.is_offered else "withheld",
                "rule": one.rule,
                "set_in": one.set_in,
                "until": moment(one.until),
            }
            for one in explanation.files
        ],
        "detail": explanation.detail,
    }


def _add_statistics(shown: Iterable[JSON], listed: Sequence[Namespace], viewer: Principal) -> None:
    viewer = access.load_roles(viewer, listed)
    sizes = usage.sizes_of(namespace.id for namespace in listed)
    for entry, namespace in zip(shown, listed, strict=True):
        if access.allowed(viewer, Permission.READ_STATISTICS, namespace):
            size = sizes[namespace.id]
            entry["statistics"] = {"storage_size": size, "packages_size": size, "repository_size": 0}


def projects(
    listed: Sequence[Project], viewer: Principal, *, statistics: bool = False, simple: bool = False
) -> list[JSON]:
    """Return projects.

    :param simple: only the basic attributes, up to the namespace.
    """
    shown = [_simple_project(project) for project in listed]
    if simple:
        return shown
    owners = accounts.owners(project.parent_id for project in listed)
    held = access.held_roles(viewer, listed)
    shown = [
        entry | _project_details(project, owners.get(project.parent_id or 0), held[project.id])
        for entry, project in zip(shown, listed, strict=True)
    ]
    if statistics:
        _add_statistics(shown, listed, viewer)
    return shown


def project(project: Project, viewer: Principal, *, statistics: bool = False) -> JSON:
    return projects([project], viewer, statistics=statistics)[0]


def _simple_project(project: Project) -> JSON:
    return {
        "id": project.id,
        "description": project.description,
        "name": project.name,
        "name_with_namespace": project.full_name,
        "path": project.path,
        "path_with_namespace": project.full_path,
        "created_at": moment(project.created_at),
        "default_branch": None,
        "tag_list": [],
        "topics": [],
        "ssh_url_to_repo": None,
        "http_url_to_repo": None,
        "web_url": address(project.full_path),
        "readme_url": None,
        "forks_count": 0,
        "avatar_url": None,
        "star_count": 0,
        "last_activity_at": moment(project.last_activity_at),
        "visibility": project.visibility.label,
        "namespace": None if project.parent is None else _parent(project.parent),
    }


def _parent(parent: Namespace) -> JSON:
    page = f"groups/{parent.full_path}" if parent.kind == "group" else parent.full_path
    return {
        "id": parent.id,
        "name": parent.name,
        "path": parent.path,
        "kind": parent.kind,
        "full_path": parent.full_path,
        "parent_id": parent.parent_id,
        "avatar_url": None,
        "web_url": address(page),
    }


def _project_details(project: Project, owner: User | None, held: HeldRoles) -> JSON:
    resource = address(f"api/v4/projects/{project.id}")
    details: JSON = {
        "_links": {"self": resource, "members": f"{resource}/members"},
        "packages_enabled": project.has_registry,
        "package_registry_access_level": project.registry_access,
        **setting_kinds.values(project, namespaces.PROJECT_SETTINGS),
        "storage_size_limit": project.storage_size_limit,
        "empty_repo": True,
        "archived": bool(project.archived),
        "creator_id": project.creator_id,
        "container_registry_enabled": False,
        "issues_enabled": False,
        "merge_requests_enabled": False,
        "wiki_enabled": False,
        "jobs_enabled": True,
        "snippets_enabled": False,
        "shared_with_groups": [],
        "permissions": {"project_access": _held(held.direct), "group_access": _held(held.inherited)},
    }
    if owner is not None:
        details["owner"] = user(owner)
    return details


def _held(role: Role) -> JSON | None:
    return {"access_level": role, "notification_level": NOTIFICATION_LEVEL} if role > Role.NO_ACCESS else None


def member(member: Member, *, email: bool) -> JSON:
    """Return a member.

    :param email: whether the caller can see e-mail addresses.
    """
    membership = member.membership
    shown = user(member.user) | {
        "access_level": membership.role,
        "created_at": moment(membership.created_at),
        "created_by": None if membership.created_by is None else user(membership.created_by),
        "expires_at": day(membership.expires_on),
        "membership_state": "active",
        "from_provider": membership.from_provider,
    }
    return shown | {"email": member.user.email} if email else shown


def access_token(token: AccessToken, secret: str | None = None) -> JSON:
    """Return an access token.

    :param secret: only after creation and rotation.
    """
    shown = {
        "id": token.id,
        "name": token.name,
        "revoked": token.revoked_at is not None,
        "created_at": moment(token.created_at),
        "description": token.description,
        "scopes": token.scopes,
        "user_id": token.user_id,
        "last_used_at": moment(token.last_used_at),
        "active": token.is_active(utcnow()),
        "expires_at": day(token.expires_on),
    }
    return shown if secret is None else shown | {"token": secret}


def deploy_token(token: DeployToken, secret: str | None = None) -> JSON:
    """Return a deploy token.

    :param secret: only after creation.
    """
    shown = {
        "id": token.id,
        "name": token.name,
        "username": token.username,
        "expires_at": moment(token.expires_at),
        "revoked": token.revoked_at is not None,
        "expired": token.is_expired(utcnow()),
        "scopes": token.scopes,
    }
    return shown if secret is None else shown | {"token": secret}


def job(job: Job, secret: str | None = None) -> JSON:
    """Return a job.

    :param secret: only after its start.
    """
    shown = {
        "id": job.id,
        "status": job.status,
        "name": job.name,
        "ref": job.ref,
        "project_id": job.project_id,
        "user": user(job.user),
        "created_at": moment(job.created_at),
        "expires_at": moment(job.expires_at),
        "finished_at": moment(job.finished_at),
    }
    return shown if secret is None else shown | {"token": secret}


def pipeline(pipeline: Pipeline) -> JSON:
    """Return the job that published a package, or the pipeline that did so elsewhere, in GitLab's format."""
    if isinstance(pipeline, ImportedPipeline):
        return _imported_pipeline(pipeline)
    return {
        "id": pipeline.id,
        "iid": pipeline.id,
        "project_id": pipeline.project_id,
        "sha": None,
        "ref": pipeline.ref,
        "status": pipeline.status,
        "source": "api",
        "created_at": moment(pipeline.created_at),
        "updated_at": moment(pipeline.finished_at or pipeline.created_at),
        "web_url": None,
        "user": user(pipeline.user),
    }


def _imported_pipeline(pipeline: ImportedPipeline) -> JSON:
    """Return a pipeline of the GitLab instance that a file was imported from; its user is not one of this registry."""
    return {
        "id": pipeline.id,
        "iid": pipeline.iid,
        "project_id": None,
        "sha": pipeline.sha or None,
        "ref": pipeline.ref,
        "status": pipeline.status,
        "source": pipeline.source,
        "created_at": moment(pipeline.created_at),
        "updated_at": moment(pipeline.updated_at),
        "web_url": pipeline.web_url or None,
        "user": {"id": None, "username": pipeline.username, "name": pipeline.user_name} if pipeline.username else None,
    }


def packages(listed: Sequence[Package], viewer: Principal, *, of_group: bool = False) -> list[JSON]:
    """Return packages.

    :param of_group: include the project of each package.
    """
    pipelines, runs = lists.pipelines_of(listed), lists.trusted_runs_of(listed)
    viewer = access.load_roles(viewer, {package.project.id: package.project for package in listed}.values())
    shown = [
        _package(package, package.project, pipelines.get(package.id, []), runs.get(package.id), viewer)
        for package in listed
    ]
    if of_group:
        for entry, package in zip(shown, listed, strict=True):
            entry |= {"project_id": package.project_id, "project_path": package.project.full_path}
    return shown


def package(package: Package, project: Project, viewer: Principal) -> JSON:
    """Return a package with the other versions of its name."""
    others = lists.other_versions(package)
    pipelines = lists.pipelines_of([package, *others])
    versions = [
        {
            "id": other.id,
            "version": other.version,
            "created_at": moment(other.created_at),
            "tags": [],
            "pipelines": [pipeline(each) for each in pipelines.get(other.id, [])],
        }
        for other in others
    ]
    run = lists.trusted_runs_of([package]).get(package.id)
    return _package(package, project, pipelines.get(package.id, []), run, viewer) | {"versions": versions}


def _package(
    package: Package, project: Project, pipelines: Sequence[Pipeline], run: TrustedRun | None, viewer: Principal
) -> JSON:
    links = {"web_path": f"{request.script_root}/{project.full_path}/-/packages/{package.id}"}
    if access.allowed(viewer, Permission.DESTROY_PACKAGE, project):
        links["delete_api_path"] = address(f"api/v4/projects/{project.id}/packages/{package.id}")
    return {
        "id": package.id,
        "name": package.name,
        "version": package.version,
        "package_type": package.package_type,
        "status": package.status,
        "_links": links,
        "created_at": moment(package.created_at),
        "last_downloaded_at": moment(package.last_downloaded_at),
        "tags": [],
        "pipelines": [pipeline(each) for each in pipelines],
        "trusted_publisher": None if run is None else _trusted_run(run),
    }


def package_files(files: Sequence[PackageFile]) -> list[JSON]:
    """Return files with GitLab's attributes, yank status, and download count."""
    counted = downloads.of_files(files, utcnow().date())
    return [_package_file(file, counted[file.id]) for file in files]


def _package_file(file: PackageFile, counted: Downloads) -> JSON:
    return {
        "id": file.id,
        "package_id": file.package_id,
        "created_at": moment(file.created_at),
        "file_name": file.filename,
        "size": file.size_bytes,
        "file_md5": file.md5,
        "file_sha1": None,
        "file_sha256": file.sha256,
        "yanked": file.is_yanked,
        "yanked_reason": file.yanked_reason,
        "downloads": {"last_30_days": counted.recent, "total": counted.total},
        "pipelines": [pipeline(each) for each in file.pipelines],
        "trusted_publisher": None if file.published_by is None else _trusted_run(file.published_by),
    }


def trusted_identity(identity: TrustedPublisher | TrustedReader) -> JSON:
    common = {
        "issuer": identity.issuer,
        "issuer_accepted": accepts_issuer(identity.issuer),
        "claims": identity.claims,
    }
    created = {"created_at": moment(identity.created_at)}
    if isinstance(identity, TrustedPublisher):
        place = {"project_id": identity.project_id}
        return {"id": identity.id, **place, **common, "package_names": identity.package_names, **created}
    return {"id": identity.id, "namespace_id": identity.namespace_id, **common, **created}


def exchanged_token(used: TokenInUse) -> JSON:
    """Return a token without details of its job, which may have nothing to do with this project or group."""
    return {
        "id": used.token.id,
        "issuer": used.token.issuer,
        f"{used.accepted_by[0].noun}_ids": [each.id for each in used.accepted_by],
        "created_at": moment(used.token.created_at),
        "expires_at": moment(used.token.expires_at),
    }


def _trusted_run(run: TrustedRun) -> JSON:
    return {"issuer": run.issuer, "subject": run.subject, "claims": run.claims, "run_url": run.url or None}


def package_name(name: PackageName) -> JSON:
    return {
        "project_id": name.project_id,
        "name": name.normalized_name,
        "status": name.status,
        "reason": name.reason,
    }


def protection_rule(rule: ProtectionRule) -> JSON:
    return {
        "id": rule.id,
        "project_id": rule.project_id,
        "package_name_pattern": rule.pattern,
        "package_type": rule.package_type,
        "minimum_access_level_for_delete": _role_name(rule.minimum_delete_role),
        "minimum_access_level_for_push": _role_name(rule.minimum_push_role),
    }


def _role_name(role: Role | None) -> str | None:
    return None if role is None else role.name.lower()


def old_path(old: OldPath, now: datetime) -> JSON:
    return {
        "path": old.path,
        "current_path": None if old.namespace is None else old.namespace.full_path,
        "given_up_at": moment(old.given_up_at),
        "kept_until": moment(old.kept_until) if old.is_kept(now) else None,
    }


def instance_settings(instance: InstanceSettings) -> JSON:
    return {
        "id": instance.id,
        **setting_kinds.values(instance, setting_kinds.INSTANCE_SETTINGS),
        "signup_enabled": False,
        "password_authentication_enabled_for_web": current_app.config["PASSWORD_SIGN_IN"],
        "home_page_url": None,
        "after_sign_out_path": None,
        "enforce_ci_inbound_job_token_scope_enabled": False,
    }


def plan_limits(max_file_size: int) -> JSON:
    """Return the plan limits.

    :param max_file_size: in bytes; 0 is unlimited.
    """
    return {"pypi_max_file_size": max_file_size, "storage_size_limit": 0}
