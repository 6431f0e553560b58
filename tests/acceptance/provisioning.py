"""What an administrator's script does with python-gitlab, chapter by chapter; run in an environment of its own.

``provisioning.py <chapter> <url> <token of an administrator> [path of a project that holds packages]``
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import gitlab
from gitlab.exceptions import GitlabAuthenticationError, GitlabCreateError, GitlabDeleteError, GitlabGetError

PASSWORD = "correct horse battery"
DEVELOPER, MAINTAINER, OWNER = (
    gitlab.const.AccessLevel.DEVELOPER,
    gitlab.const.AccessLevel.MAINTAINER,
    gitlab.const.AccessLevel.OWNER,
)


def version(gl: gitlab.Gitlab) -> None:
    number, revision = gl.version()
    assert number.split(".")[0].isdigit(), number
    assert revision not in ("", "unknown")
    gl.auth()
    assert gl.user.username == "root"
    assert gl.user.is_admin
    refused(GitlabAuthenticationError, 401, gitlab.Gitlab(gl.url, private_token="glpat-wrong").auth)


def users(gl: gitlab.Gitlab) -> None:
    alice = gl.users.create(
        {
            "username": "alice",
            "email": "alice@example.com",
            "name": "Alice",
            "password": PASSWORD,
            "skip_confirmation": True,
        }
    )
    assert alice.state == "active"
    assert gl.users.get(alice.id).email == "alice@example.com"
    assert [user.id for user in gl.users.list(username="alice", get_all=True)] == [alice.id]
    assert [user.id for user in gl.users.list(search="alice@", get_all=True)] == [alice.id]
    alice.name, alice.note = "Alice A.", "Contractor"
    alice.save()
    assert (gl.users.get(alice.id).name, gl.users.get(alice.id).note) == ("Alice A.", "Contractor")
    alice.block()
    assert gl.users.get(alice.id).state == "blocked"
    alice.unblock()
    alice.deactivate()
    alice.activate()
    assert gl.users.get(alice.id).state == "active"
    generated = gl.users.create(
        {"username": "bob", "email": "bob@example.com", "name": "Bob", "force_random_password": True}
    )
    taken = {"username": "alice", "email": "other@example.com", "name": "Other", "password": PASSWORD}
    refused(GitlabCreateError, 409, gl.users.create, taken)
    as_alice = gitlab.Gitlab(gl.url, private_token=token_of(alice))
    as_alice.auth()
    assert as_alice.user.username == "alice"
    refused(GitlabCreateError, 403, as_alice.users.create, taken | {"username": "carol"})
    generated.delete()
    refused(GitlabGetError, 404, gl.users.get, generated.id)


def groups(gl: gitlab.Gitlab) -> None:
    top = gl.groups.create({"name": "Provisioned", "path": "provisioned", "visibility": "internal"})
    sub = gl.groups.create({"name": "Sub", "path": "sub", "parent_id": top.id})
    deep = gl.groups.create({"name": "Deep", "path": "deep", "parent_id": sub.id})
    assert gl.groups.get("provisioned/sub/deep").id == deep.id
    assert [group.id for group in top.subgroups.list(get_all=True)] == [sub.id]
    assert {group.id for group in top.descendant_groups.list(get_all=True)} == {sub.id, deep.id}
    assert [group.id for group in gl.groups.list(search="provisioned", top_level_only=True, get_all=True)] == [top.id]
    top.description = "Made by a script"
    top.save()
    assert gl.groups.get(top.id).description == "Made by a script"
    top.pypi_package_requests_forwarding = False
    top.lock_pypi_package_requests_forwarding = True
    top.save()
    assert gl.groups.get(top.id).pypi_package_requests_forwarding is False
    assert gl.groups.get(deep.id).pypi_package_requests_forwarding_locked is True
    project = gl.projects.create({"name": "tools", "namespace_id": sub.id})
    assert [found.id for found in top.projects.list(include_subgroups=True, get_all=True)] == [project.id]
    other = gl.groups.create({"name": "Other", "path": "provisioned-other"})
    deep.transfer(other.id)
    assert gl.groups.get("provisioned-other/deep").id == deep.id
    refused(GitlabCreateError, 400, gl.groups.create, {"name": "Again", "path": "provisioned"})
    gl.groups.delete("provisioned-other")
    top.delete()
    refused(GitlabGetError, 404, gl.groups.get, top.id)


def projects(gl: gitlab.Gitlab) -> None:
    group = gl.groups.create({"name": "Holder", "path": "holder"})
    project = gl.projects.create({"name": "Many tools", "path": "tools", "namespace_id": group.id})
    assert gl.projects.get("holder/tools").id == project.id
    assert project.path_with_namespace == "holder/tools"
    assert project.namespace["id"] == group.id
    project.description = "Hammers"
    project.package_registry_access_level = "private"
    project.save()
    assert gl.projects.get(project.id).package_registry_access_level == "private"
    project.archive()
    assert gl.projects.get(project.id).archived
    project.unarchive()
    assert not gl.projects.get(project.id).archived
    personal = gl.projects.create({"name": "personal"})
    assert personal.path_with_namespace == "root/personal"
    gl.auth()
    assert personal.id in [found.id for found in gl.users.get(gl.user.id).projects.list(get_all=True)]
    for number in range(25):
        gl.projects.create({"path": f"project{number}", "namespace_id": group.id})
    by_pages = [found.id for found in group.projects.list(iterator=True, per_page=7)]
    assert len(by_pages) == len(set(by_pages)) == 26
    by_keys = list(gl.projects.list(iterator=True, pagination="keyset", order_by="id", sort="asc", per_page=7))
    assert {*by_pages, personal.id} <= {found.id for found in by_keys}
    first_page = gl.projects.list(page=1, per_page=5, get_all=False)
    assert len(first_page) == 5
    assert gl.projects.list(iterator=True, per_page=5).total >= 27
    refused(GitlabCreateError, 400, gl.projects.create, {"path": "tools", "namespace_id": group.id})
    project.delete()
    refused(GitlabGetError, 404, gl.projects.get, "holder/tools")


def pages(gl: gitlab.Gitlab) -> None:
    by_pages = [found.id for found in gl.projects.list(iterator=True, per_page=1)]
    by_keys = [found.id for found in gl.projects.list(iterator=True, pagination="keyset", order_by="id", per_page=1)]
    assert len(by_pages) > 1
    assert sorted(by_pages) == sorted(by_keys)
    assert gl.projects.get(by_pages[0]).web_url.startswith(gl.url)


def members(gl: gitlab.Gitlab) -> None:
    group = gl.groups.create({"name": "Crew", "path": "crew"})
    project = gl.projects.create({"name": "ship", "namespace_id": group.id})
    ann, ben = user(gl, "ann"), user(gl, "ben")
    group.members.create({"user_id": ann.id, "access_level": OWNER})
    expiry = days_ahead(30)
    member = project.members.create({"user_id": ben.id, "access_level": DEVELOPER, "expires_at": expiry})
    assert member.expires_at == expiry
    assert [found.id for found in project.members.list(get_all=True)] == [ben.id]
    assert {found.id for found in project.members_all.list(get_all=True)} >= {ann.id, ben.id}
    assert project.members_all.get(ann.id).access_level == OWNER
    member.access_level = MAINTAINER
    member.save()
    assert project.members.get(ben.id).access_level == MAINTAINER
    assert project.members.get(ben.id).expires_at == expiry
    refused(GitlabCreateError, 409, project.members.create, {"user_id": ben.id, "access_level": DEVELOPER})
    member.delete()
    refused(GitlabGetError, 404, project.members.get, ben.id)


def access_tokens(gl: gitlab.Gitlab) -> None:
    eve = user(gl, "eve")
    expiry = days_ahead(90)
    made = eve.personal_access_tokens.create({"name": "ci", "scopes": ["api", "read_user"], "expires_at": expiry})
    assert made.token.startswith("glpat-")
    assert made.expires_at == expiry
    as_eve = gitlab.Gitlab(gl.url, private_token=made.token)
    own = as_eve.personal_access_tokens.get("self")
    assert (own.id, own.scopes) == (made.id, ["api", "read_user"])
    assert [token.id for token in as_eve.personal_access_tokens.list(get_all=True)] == [made.id]
    assert [token.id for token in gl.personal_access_tokens.list(user_id=eve.id, get_all=True)] == [made.id]
    rotated = gl.personal_access_tokens.rotate(made.id)
    refused(GitlabAuthenticationError, 401, as_eve.auth)
    as_eve = gitlab.Gitlab(gl.url, private_token=rotated["token"])
    renewed = as_eve.personal_access_tokens.get("self", lazy=True).rotate()
    as_eve = gitlab.Gitlab(gl.url, private_token=renewed["token"])
    as_eve.auth()
    gl.personal_access_tokens.delete(renewed["id"])
    refused(GitlabAuthenticationError, 401, as_eve.auth)
    assert gl.personal_access_tokens.get(renewed["id"]).revoked


def deploy_tokens(gl: gitlab.Gitlab) -> None:
    group = gl.groups.create({"name": "Depot", "path": "depot"})
    project = gl.projects.create({"name": "store", "namespace_id": group.id})
    scopes = ["read_package_registry", "write_package_registry"]
    ids = set()
    for namespace in (group, project):
        made = namespace.deploytokens.create({"name": "deployment", "scopes": scopes, "username": "deployer"})
        assert made.token.startswith("gldt-")
        assert made.username == "deployer"
        assert [token.id for token in namespace.deploytokens.list(get_all=True)] == [made.id]
        assert namespace.deploytokens.get(made.id).scopes == scopes
        ids.add(made.id)
    assert ids <= {token.id for token in gl.deploytokens.list(active=True, get_all=True)}
    project.deploytokens.list(get_all=True)[0].delete()
    assert project.deploytokens.list(get_all=True) == []
    refused(GitlabCreateError, 400, group.deploytokens.create, {"name": "x", "scopes": ["api"]})


def packages(gl: gitlab.Gitlab, path: str) -> None:
    project = gl.projects.get(path)
    group = gl.groups.get(project.namespace["id"])
    found = project.packages.list(order_by="version", sort="desc", get_all=True)
    assert [(package.name, package.version) for package in found] == [("demo", "2.0"), ("demo", "1.0")]
    assert [package.project_path for package in group.packages.list(package_name="dem", get_all=True)] == [path, path]
    newest = project.packages.get(found[0].id)
    assert newest.package_type == "pypi"
    assert [other["version"] for other in newest.versions] == ["1.0"]
    files = newest.package_files.list(get_all=True)
    assert sorted(file.file_name for file in files) == ["demo-2.0-py3-none-any.whl", "demo-2.0.tar.gz"]
    assert all(len(file.file_sha256) == 64 and file.size > 0 for file in files)
    assert newest.pipelines.list(get_all=True) == []
    files[0].delete()
    assert [file.id for file in newest.package_files.list(get_all=True)] == [files[1].id]
    newest.delete()
    refused(GitlabGetError, 404, project.packages.get, newest.id)
    assert [package.version for package in project.packages.list(get_all=True)] == ["1.0"]


def protection_rules(gl: gitlab.Gitlab, path: str) -> None:
    project = gl.projects.get(path)
    sent = {
        "package_name_pattern": "de*",
        "package_type": "pypi",
        "minimum_access_level_for_push": "maintainer",
        "minimum_access_level_for_delete": "admin",
    }
    rule = project.package_protection_rules.create(sent)
    assert [found.id for found in project.package_protection_rules.list(get_all=True)] == [rule.id]
    refused(GitlabCreateError, 422, project.package_protection_rules.create, sent)
    dora = user(gl, "dora")
    project.members.create({"user_id": dora.id, "access_level": MAINTAINER})
    as_dora = gitlab.Gitlab(gl.url, private_token=token_of(dora))
    package = as_dora.projects.get(path).packages.list(get_all=True)[0]
    refused(GitlabDeleteError, 403, package.delete)
    rule.minimum_access_level_for_push = "owner"
    rule.save()
    assert project.package_protection_rules.list(get_all=True)[0].minimum_access_level_for_push == "owner"
    rule.delete()
    assert project.package_protection_rules.list(get_all=True) == []


def settings(gl: gitlab.Gitlab) -> None:
    standing = gl.settings.get()
    before = standing.pypi_package_requests_forwarding
    standing.pypi_package_requests_forwarding = not before
    standing.restricted_visibility_levels = ["public"]
    standing.save()
    assert gl.settings.get().pypi_package_requests_forwarding is not before
    assert gl.settings.get().restricted_visibility_levels == ["public"]
    standing.pypi_package_requests_forwarding = before
    standing.restricted_visibility_levels = []
    standing.save()
    assert gl.settings.get().pypi_package_requests_forwarding is before
    limit = gl.http_get("/application/plan_limits")["pypi_max_file_size"]
    lowered = gl.http_put(
        "/application/plan_limits", post_data={"plan_name": "default", "pypi_max_file_size": limit // 2}
    )
    assert lowered["pypi_max_file_size"] == limit // 2
    gl.http_put("/application/plan_limits", post_data={"plan_name": "default", "pypi_max_file_size": 0})


def job_tokens(gl: gitlab.Gitlab) -> None:
    group = gl.groups.create({"name": "Works", "path": "works"})
    target = gl.projects.create({"name": "target", "namespace_id": group.id})
    source = gl.projects.create({"name": "source", "namespace_id": group.id})
    scope = target.job_token_scope.get()
    assert scope.inbound_enabled
    scope.allowlist.create({"target_project_id": source.id})
    scope.groups_allowlist.create({"target_group_id": group.id})
    assert [found.id for found in scope.allowlist.list(get_all=True)] == [source.id]
    assert [found.id for found in scope.groups_allowlist.list(get_all=True)] == [group.id]
    scope.allowlist.delete(source.id)
    scope.enabled = False
    scope.save()
    assert not target.job_token_scope.get().inbound_enabled
    job = gl.http_post(f"/projects/{target.id}/jobs", post_data={"name": "publish", "ref": "main"})
    as_job = gitlab.Gitlab(gl.url, job_token=job["token"])
    assert as_job.http_get("/job")["id"] == job["id"]
    assert as_job.http_get(f"/projects/{target.id}/packages") == []
    done = as_job.http_post(f"/projects/{target.id}/jobs/{job['id']}/finish", post_data={"status": "success"})
    assert done["status"] == "success"


def days_ahead(days: int) -> str:
    return str((datetime.now(UTC) + timedelta(days=days)).date())


def user(gl: gitlab.Gitlab, username: str) -> Any:
    return gl.users.create(
        {"username": username, "email": f"{username}@example.com", "name": username, "password": PASSWORD}
    )


def token_of(one: Any) -> str:
    secret: str = one.personal_access_tokens.create({"name": "script", "scopes": ["api"]}).token
    return secret


def refused(error: type[gitlab.GitlabError], status: int, call: Callable[..., Any], *arguments: Any) -> None:
    """The call fails with this error and status."""
    try:
        call(*arguments)
    except error as refusal:
        found = refusal.response_code
    else:
        found = None
    assert found == status, f"{call}: {found}"


CHAPTERS = (
    version, users, groups, projects, pages, members, access_tokens, deploy_tokens, packages, protection_rules,
    settings, job_tokens,
)  # fmt: skip

if __name__ == "__main__":
    chapter, url, token, *rest = sys.argv[1:]
    {function.__name__: function for function in CHAPTERS}[chapter](gitlab.Gitlab(url, private_token=token), *rest)
