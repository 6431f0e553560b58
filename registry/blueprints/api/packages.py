"""Packages and their files ("Packages API"), also for CI jobs.

These routes are extensions, because GitLab supports neither yanks (PEP 592) nor statuses of package names (PEP 792):

- ``PUT …/packages/:package_id/yank`` with ``{"reason": "…"}`` yanks all files of a package; ``DELETE`` unyanks them;
- the same below ``…/package_files/:package_file_id`` for one file; files have ``yanked`` and ``yanked_reason``;
- ``GET`` and ``PUT …/packages/names/:name/status`` with ``{"status": "…", "reason": "…"}``: ``active``, ``deprecated``,
  ``archived`` (no uploads), or ``quarantined`` (no downloads either).

- ``DELETE …/packages/:package_id?release_name=true`` also releases the reserved name if nothing of it is left.

The reason is optional. Yanks require ``yank_package``, and statuses ``admin_package``: Maintainers and Owners.
"""

from __future__ import annotations

from flask import Blueprint, Response, jsonify

from registry.blueprints.api import pagination, parameters, representations
from registry.blueprints.api.parameters import Sent, boolean, integer, one_of, optional, required, text
from registry.blueprints.auth.credentials import current_principal
from registry.blueprints.auth.permits import Gate
from registry.domain.access import Permission
from registry.domain.packages import deletion, lists, names, releases
from registry.domain.packages.lists import PackageFilter
from registry.models import Group, NameStatus, Package, PackageStatus, Project

PACKAGES = "/projects/<project:project>/packages"
PACKAGE = f"{PACKAGES}/<id:package_id>"
FILE = f"{PACKAGE}/package_files/<id:file_id>"
STATUS = f"{PACKAGES}/names/<name>/status"
LARGEST_PIPELINES_PAGE = 20
# GitLab's package types; only one exists here, and lists of the others are empty.
_TYPES = (
    "conan", "maven", "npm", "pypi", "composer", "nuget", "helm", "terraform_module", "golang", "generic", "debian",
    "rubygems", "rpm", "ml_model",
)  # fmt: skip
# GitLab's package statuses; lists of statuses that do not exist here, and of deleted packages, are empty.
_STATUSES: dict[str, tuple[PackageStatus, ...]] = {
    str(PackageStatus.DEFAULT): (PackageStatus.DEFAULT,),
    **dict.fromkeys(("hidden", "processing", "error", "deprecated", str(PackageStatus.PENDING_DESTRUCTION)), ()),
}
_ORDERS = ("created_at", "name", "version", "type")
_SORT = optional(one_of({"asc": False, "desc": True}))
_LIST = {
    "order_by": optional(one_of({name: name for name in _ORDERS})),
    "sort": _SORT,
    "package_type": optional(one_of({name: name for name in _TYPES})),
    "package_name": optional(text),
    "package_version": optional(text),
    "include_versionless": optional(boolean),
    "status": optional(one_of(_STATUSES)),
}
_GROUP_LIST = {
    **_LIST,
    "order_by": optional(one_of({name: name for name in (*_ORDERS, "project_path")})),
    "exclude_subgroups": optional(boolean),
}
_FILES = {"order_by": optional(one_of({name: name for name in ("id", "file_name", "created_at")})), "sort": _SORT}
_PIPELINES = {
    "per_page": optional(one_of({number: number for number in range(1, LARGEST_PIPELINES_PAGE + 1)}, integer)),
    "cursor": optional(integer),
}
_DELETION = {"release_name": optional(boolean)}
_REASON = {"reason": optional(text)}
_STATUS = {"status": required(one_of({str(status): status for status in NameStatus})), **_REASON}


def routes(gate: Gate) -> Blueprint:
    blueprint = Blueprint("packages", __name__)

    @blueprint.get(PACKAGES)
    @gate(Permission.READ_PACKAGE)
    def list_packages(project: Project) -> Response:
        """Return the packages of a project."""
        return _list(project, parameters.read(_LIST))

    @blueprint.get("/groups/<group:group>/packages")
    @gate(Permission.READ_PACKAGE)
    def list_group_packages(group: Group) -> Response:
        """Return the packages of all projects in a group that the caller can read."""
        return _list(group, parameters.read(_GROUP_LIST))

    @blueprint.get(PACKAGE)
    @gate(Permission.READ_PACKAGE)
    def show_package(project: Project, package_id: int) -> Response:
        """Return a package with the other versions of its name."""
        package = lists.package(project, package_id)
        return jsonify(representations.package(package, project, current_principal()))

    @blueprint.delete(PACKAGE)
    @gate(Permission.DESTROY_PACKAGE)
    def delete_package(project: Project, package_id: int) -> tuple[str, int]:
        """Delete a package with its files, which disappear from all lists immediately.

        With ``release_name``, its name is released if nothing of it is left then, which requires an Owner.
        """
        package = lists.package(project, package_id)
        release_name = parameters.read(_DELETION).get("release_name", False)
        parameters.refuse_if_modified(package.updated_at)
        deletion.delete_package(package, project, by=current_principal(), release_name=release_name)
        return "", 204

    @blueprint.get(f"{PACKAGE}/pipelines")
    @gate(Permission.READ_PACKAGE)
    def list_pipelines(project: Project, package_id: int) -> Response:
        """Return the CI jobs and imported pipelines that published files of a package, newest first."""
        package = lists.package(project, package_id)
        sent = parameters.read(_PIPELINES)
        size = sent.get("per_page", LARGEST_PIPELINES_PAGE)
        found = lists.pipelines(package, before=sent.get("cursor"))
        following = {"per_page": size, "cursor": found[size - 1][0]} if len(found) > size else None
        return pagination.keyset_answer([representations.pipeline(each) for _, each in found[:size]], following)

    @blueprint.get(f"{PACKAGE}/package_files")
    @gate(Permission.READ_PACKAGE)
    def list_files(project: Project, package_id: int) -> Response:
        """Return the files of a package."""
        return _files(lists.package(project, package_id), parameters.read(_FILES))

    @blueprint.delete(FILE)
    @gate(Permission.DESTROY_PACKAGE)
    def delete_file(project: Project, package_id: int, file_id: int) -> tuple[str, int]:
        """Delete a file of a package."""
        package = lists.package(project, package_id)
        file = lists.package_file(package, file_id)
        parameters.refuse_if_modified(file.created_at)
        deletion.delete_file(file, package, project, by=current_principal())
        return "", 204

    @blueprint.put(f"{PACKAGE}/yank")
    @gate(Permission.YANK_PACKAGE)
    def yank_package(project: Project, package_id: int) -> Response:
        """Yank all files of a package, and return them."""
        package = lists.package(project, package_id)
        reason = parameters.read(_REASON).get("reason", "")
        releases.yank_version(package, project, reason, by=current_principal())
        return _files(package, {})

    @blueprint.delete(f"{PACKAGE}/yank")
    @gate(Permission.YANK_PACKAGE)
    def unyank_package(project: Project, package_id: int) -> tuple[str, int]:
        """Unyank all files of a package."""
        releases.unyank_version(lists.package(project, package_id), project, by=current_principal())
        return "", 204

    @blueprint.put(f"{FILE}/yank")
    @gate(Permission.YANK_PACKAGE)
    def yank_file(project: Project, package_id: int, file_id: int) -> Response:
        """Yank a file."""
        package = lists.package(project, package_id)
        file = lists.package_file(package, file_id)
        reason = parameters.read(_REASON).get("reason", "")
        releases.yank_file(file, package, project, reason, by=current_principal())
        return jsonify(representations.package_files([file])[0])

    @blueprint.delete(f"{FILE}/yank")
    @gate(Permission.YANK_PACKAGE)
    def unyank_file(project: Project, package_id: int, file_id: int) -> tuple[str, int]:
        """Unyank a file."""
        package = lists.package(project, package_id)
        file = lists.package_file(package, file_id)
        releases.unyank_file(file, package, project, by=current_principal())
        return "", 204

    @blueprint.get(STATUS)
    @gate(Permission.READ_PACKAGE)
    def show_status(project: Project, name: str) -> Response:
        """Return the status of a package name, in any spelling."""
        return jsonify(representations.package_name(names.package_name(project, name)))

    @blueprint.put(STATUS)
    @gate(Permission.ADMIN_PACKAGE)
    def change_status(project: Project, name: str) -> Response:
        """Change the status of a package name; without a reason, the previous one is removed."""
        sent = parameters.read(_STATUS)
        record = releases.set_name_status(project, name, sent["status"], sent.get("reason", ""), by=current_principal())
        return jsonify(representations.package_name(record))

    return blueprint


def _list(namespace: Project | Group, sent: Sent) -> Response:
    viewer = current_principal()
    wanted = PackageFilter(
        name=sent.get("package_name", ""),
        version=sent.get("package_version", ""),
        package_type=sent.get("package_type", ""),
        statuses=sent.get("status", _STATUSES["default"]),
    )
    found = lists.packages(namespace, viewer, wanted, subgroups=not sent.get("exclude_subgroups", False))
    page = pagination.page(lists.ordered(found, sent.get("order_by", "created_at"), descending=sent.get("sort", False)))
    return pagination.answer(page, representations.packages(page.items, viewer, of_group=isinstance(namespace, Group)))


def _files(package: Package, sent: Sent) -> Response:
    files = lists.ordered_files(package, sent.get("order_by", "id"), descending=sent.get("sort", False))
    page = pagination.page(files)
    return pagination.answer(page, representations.package_files(page.items))
