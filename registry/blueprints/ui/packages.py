"""Pages of the package registry of projects and groups: the list, a package, its files, and deletion."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, current_app, flash, redirect, render_template, request, url_for
from flask_babel import gettext, ngettext
from werkzeug.wrappers import Response

from registry.blueprints.auth import sessions
from registry.blueprints.auth.permits import Gate
from registry.blueprints.pypi.files import send_package_file
from registry.blueprints.ui import commands, pagination
from registry.blueprints.ui.charts import LineChart
from registry.blueprints.ui.event_details import author_name, deploy_token_id, event_status
from registry.blueprints.ui.forms import query_parameters
from registry.blueprints.ui.frame import namespace_url, pypi_url
from registry.blueprints.ui.viewer import may, principal, role_in
from registry.blueprints.ui.wording import event_name
from registry.database import utcnow
from registry.domain import explaining, forwarding, namespaces, paging
from registry.domain.access import Permission
from registry.domain.accounts import deploy_tokens, users
from registry.domain.distributions.filenames import is_valid_name
from registry.domain.packages import (
    deletion,
    dependencies,
    downloads,
    index,
    lists,
    name_lists,
    names,
    protection,
    requirements,
    reserved,
    versions,
    vulnerabilities,
)
from registry.domain.packages.about import Documents
from registry.domain.packages.lists import PackageFilter
from registry.domain.packages.name_lists import NameFilter, NameState
from registry.domain.packages.readmes import Readme, Readmes
from registry.domain.packages.versions import PublishedVersion
from registry.errors import NotFound
from registry.models import CLOSED, Group, Package, PackageFile, Project, Role

PROJECT_PACKAGES = "/<page_project:project>/-/packages"
GROUP_PACKAGES = "/groups/<page_group:group>/-/packages"
PACKAGE_TYPES = ("pypi",)
ORDERS = ("created_at", "name", "version", "type")
NAME_ORDERS = ("created_at", "name", "downloads", "size")
VERSION_ORDERS = ("version", "type", "project_path")  # that only the list of versions has
VERSION_FILTERS = frozenset({"version", "type"})
MOST_AT_ONCE = 100  # packages or files deleted by one form
CHART_DAYS = 90

Page = Response | tuple[str, int] | str


def routes(gate: Gate) -> Blueprint:
    blueprint = Blueprint("packages", __name__)

    @blueprint.get(PROJECT_PACKAGES)
    @gate(Permission.READ_PACKAGE)
    def project_packages(project: Project) -> Page:
        return _list(project)

    @blueprint.get(GROUP_PACKAGES)
    @gate(Permission.READ_PACKAGE)
    def group_packages(group: Group) -> Page:
        """Show the packages of all projects in the group that the viewer can read."""
        return _list(group)

    @blueprint.get(f"{PROJECT_PACKAGES}/<id:package_id>")
    @gate(Permission.READ_PACKAGE)
    def project_package(project: Project, package_id: int) -> Page:
        return _show(project, package_id)

    @blueprint.get(f"{PROJECT_PACKAGES}/names/<name>")
    @gate(Permission.READ_PACKAGE)
    def package_name(project: Project, name: str) -> Page:
        """Show the latest version of a name, or lead to the version ``?version=``; other spellings are redirected."""
        return _show_name(project, name)

    @blueprint.get(f"{GROUP_PACKAGES}/<id:package_id>")
    @gate(Permission.READ_PACKAGE)
    def group_package(group: Group, package_id: int) -> Page:
        return _show(group, package_id)

    @blueprint.route(f"{PROJECT_PACKAGES}/delete", methods=["GET", "POST"])
    @gate(Permission.DESTROY_PACKAGE)
    def project_delete(project: Project) -> Page:
        """Ask for confirmation, then delete the packages with the IDs ``?id=``."""
        return _delete(project)

    @blueprint.route(f"{GROUP_PACKAGES}/delete", methods=["GET", "POST"])
    @gate(Permission.READ_PACKAGE)
    def group_delete(group: Group) -> Page:
        """Do the same in a group; the permission is checked in the project of each package."""
        return _delete(group)

    @blueprint.route(f"{PROJECT_PACKAGES}/<id:package_id>/package_files/delete", methods=["GET", "POST"])
    @gate(Permission.DESTROY_PACKAGE)
    def delete_files(project: Project, package_id: int) -> Page:
        """Ask for confirmation, then delete the files with the IDs ``?id=``; the last one deletes the package."""
        package = lists.shown_package(project, package_id, principal())
        if package is None:
            return _unknown(project)
        files = lists.package_files_by_id(package, _chosen())
        if not files:
            flash(gettext("Select at least one file."), "error")
            return redirect(url_for("ui.packages.project_package", project=project, package_id=package.id), 303)
        return _delete_files(files, package, project)

    @blueprint.get("/<page_project:project>/-/package_files/<id:file_id>/download")
    @gate(Permission.READ_PACKAGE)
    def download(project: Project, file_id: int) -> Response:
        """Redirect to the download URL of clients, which also accepts sessions, except those by the header of a proxy.

        Users of the proxy get the file here: responses of this URL are never kept.
        """
        file = lists.project_file(project, file_id)
        if sessions.is_by_proxy() and not principal().is_anonymous:
            return send_package_file(project, file.sha256, file.filename, NotFound("Package"))
        return redirect(
            url_for("pypi.files.project_file", project=project.id, sha256=file.sha256, filename=file.filename), 302
        )

    return blueprint


@dataclass(frozen=True)
class Query:
    """The query parameters of a list of versions; invalid values are ignored."""

    wanted: PackageFilter
    order_by: str
    descending: bool

    @property
    def is_narrowed(self) -> bool:
        return self.wanted != PackageFilter()


@dataclass(frozen=True)
class NameQuery:
    """The query parameters of a list of names; invalid values are ignored."""

    wanted: NameFilter
    order_by: str
    descending: bool

    @property
    def is_narrowed(self) -> bool:
        return self.wanted != NameFilter()


def _query(asked: Mapping[str, str], orders: Iterable[str]) -> Query:
    package_type = asked.get("type", "")
    order_by = asked.get("order_by", "")
    order_by = order_by if order_by in orders else "created_at"
    return Query(
        PackageFilter(
            name=asked.get("search", ""),
            version=asked.get("version", ""),
            package_type=package_type if package_type in PACKAGE_TYPES else "",
        ),
        order_by,
        _is_descending(asked, order_by == "created_at"),
    )


def _name_query(asked: Mapping[str, str], states: Collection[NameState]) -> NameQuery:
    state, order_by = asked.get("state", ""), asked.get("order_by", "")
    order_by = order_by if order_by in NAME_ORDERS else "created_at"
    return NameQuery(
        NameFilter(
            name=asked.get("search", ""),
            state=NameState(state) if state in states else None,
            publisher=asked.get("publisher", ""),
        ),
        order_by,
        _is_descending(asked, order_by != "name"),
    )


def _is_descending(asked: Mapping[str, str], default: bool) -> bool:
    return {"asc": False, "desc": True}.get(asked.get("sort", ""), default)


def _list(namespace: Project | Group) -> str:
    """Show the list of names, or that of versions, as GitLab has it, on a tab and for parameters that only it has."""
    asked = query_parameters()
    if asked.get("tab") == "versions" or asked.get("order_by") in VERSION_ORDERS or VERSION_FILTERS & set(asked):
        return _version_list(namespace, asked)
    shows_remarks = may("create_package", namespace)
    states = [each for each in NameState if each is not NameState.REMARKS or shows_remarks]
    query = _name_query(asked, states)
    listing = name_lists.package_names(namespace, principal(), query.wanted)
    found = pagination.page(name_lists.ordered_names(listing, query.order_by, descending=query.descending))
    latest = [each.latest for each in found.items]
    newest = name_lists.newest_without_user(found.items)
    return render_template(
        "ui/packages/list.html",
        namespace=namespace,
        tab="",
        query=query,
        orders=NAME_ORDERS,
        states=states,
        shows_remarks=shows_remarks,
        publishers=users.by_ids(each.publisher_id for each in found.items),
        newest=newest,
        trusted_runs=lists.trusted_runs_of(newest.values()),
        tokens=_token_names(namespace, ((each.project_id, each) for each in newest.values())),
        found=found,
        protections=protection.protections(latest, principal()),
        name_statuses=names.name_statuses(latest),
        pypi_url=pypi_url(namespace),
        build_command=commands.build(),
        publish_command=commands.publish(pypi_url(namespace)),
        pypirc=commands.pypirc(pypi_url(namespace)),
    )


def _version_list(namespace: Project | Group, asked: Mapping[str, str]) -> str:
    orders = [*ORDERS, *(["project_path"] if isinstance(namespace, Group) else [])]
    query = _query(asked, orders)
    found = _found(namespace, query)
    protections = protection.protections(found.items, principal())
    return render_template(
        "ui/packages/version_list.html",
        namespace=namespace,
        tab="versions",
        query=query,
        orders=orders,
        found=found,
        creators=users.by_ids(package.creator_id for package in found.items),
        pipelines=lists.pipelines_of(found.items),
        trusted_runs=lists.trusted_runs_of(found.items),
        tokens=_token_names(namespace, ((package.project_id, package) for package in found.items)),
        protections=protections,
        yanks=lists.yanks(found.items),
        name_statuses=names.name_statuses(found.items),
        deletable=[package_id for package_id, each in protections.items() if each.may_delete],
    )


def _found(namespace: Project | Group, query: Query) -> paging.Page[Package]:
    listing = lists.packages(namespace, principal(), query.wanted)
    if query.order_by == "version":
        return pagination.page(lists.in_version_order(listing, descending=query.descending))
    return pagination.page(lists.ordered(listing, query.order_by, descending=query.descending))


def _show(namespace: Project | Group, package_id: int) -> Page:
    package = lists.shown_package(namespace, package_id, principal())
    if package is None:
        return _unknown(namespace)
    published = versions.of_name(package.project, package.normalized_name)
    if request.args.get("tab") == "versions":
        return _versions(namespace, package, published)
    if request.args.get("tab") == "dependencies":
        return _dependencies(namespace, package, published)
    if request.args.get("tab") == "activity":
        return _activity(namespace, package, published)
    return _detail(namespace, package, published)


def _show_name(project: Project, name: str) -> Page:
    if not is_valid_name(name):
        return _unknown(project)
    normalized_name = names.normalized(name)
    if name != normalized_name:
        version, tab = request.args.get("version"), request.args.get("tab")
        here = url_for("ui.packages.package_name", project=project, name=normalized_name, version=version, tab=tab)
        return redirect(here, 301)
    published = versions.of_name(project, normalized_name)
    if wanted := request.args.get("version"):
        chosen = next((each for each in published if each.version == wanted), None)
        if chosen is not None:
            return redirect(url_for("ui.packages.project_package", project=project, package_id=chosen.id), 302)
    newest = versions.latest(published)
    return _unknown(project) if newest is None else _show(project, newest.id)


def _unknown(namespace: Project | Group) -> Page:
    return render_template("ui/packages/unknown.html", namespace=namespace), 404


def _versions(namespace: Project | Group, package: Package, published: list[PublishedVersion]) -> str:
    found = pagination.page_of(published)
    return render_template(
        "ui/packages/versions.html",
        found=found,
        creators=users.by_ids(other.creator_id for other in found.items),
        trusted_runs=lists.trusted_runs_of(found.items),
        tokens=_token_names(package.project, ((package.project_id, each) for each in found.items)),
        **_header(namespace, package, published),
    )


def _token_names(
    namespace: Project | Group, published: Iterable[tuple[int, Package | PublishedVersion]]
) -> dict[int, str]:
    """Return the deploy tokens that published versions by package ID: their names, or the IDs of unknown ones."""
    tokens = versions.publishing_tokens(published)
    names = _known_tokens(namespace, tokens.values())
    return {package_id: names.get(token_id, str(token_id)) for package_id, token_id in tokens.items()}


def _known_tokens(namespace: Project | Group, ids: Iterable[int]) -> dict[int, str]:
    """Return the names of deploy tokens by ID, without deleted ones; none to viewers without a role."""
    wanted = set(ids)
    return deploy_tokens.names(wanted) if wanted and role_in(namespace) > Role.NO_ACCESS else {}


def _dependencies(namespace: Project | Group, package: Package, published: list[PublishedVersion]) -> str:
    """Show the dependencies of the version, and the packages that require its name."""
    project, name = package.project, package.normalized_name
    index_namespace = _group_of(namespace, project) or project
    if package.requirements_sha256 is None:  # its rows are made in the background
        about = _documents().about(lists.core_metadata_digest(package))
        found = dependencies.of_requirements(requirements.read(about.requirements), index_namespace, principal())
    else:
        found = dependencies.of_package(package, index_namespace, principal())
    lacking = {each.requirement.normalized_name for each in found if each.project is None}
    dependents = pagination.page_of(dependencies.dependents(project, name, principal()))
    return render_template(
        "ui/packages/dependencies.html",
        dependencies=dependencies.by_extra(found),
        forwarded=explaining.forwarded_among(index_namespace, lacking, principal()),
        dependents=dependents,
        described=dependencies.described(dependents.items, name),
        are_complete=requirements.are_complete(),
        **_header(namespace, package, published),
    )


def _activity(namespace: Project | Group, package: Package, published: list[PublishedVersion]) -> str:
    """Show the audit events of the name to everyone who can read it; network addresses are for Owners."""
    found = pagination.page(versions.events(package.project, package.normalized_name))
    return render_template(
        "ui/packages/activity.html",
        found=found,
        authors=users.by_ids(event.author_id for event in found.items),
        author_name=author_name,
        deploy_tokens=_known_tokens(
            package.project, (token for event in found.items if (token := deploy_token_id(event)))
        ),
        event_name=event_name,
        event_status=event_status,
        **_header(namespace, package, published),
    )


def _detail(namespace: Project | Group, package: Package, published: list[PublishedVersion]) -> str:
    project, today = package.project, utcnow().date()
    listing = lists.with_remarks(lists.ordered_files(package, "id", descending=False))
    files: paging.Page[PackageFile] = pagination.page(listing)
    header = _header(namespace, package, published)
    digest = lists.core_metadata_digest(package)
    about = _documents().about(digest)
    index_namespace = _group_of(namespace, project) or project
    pipelines = lists.pipelines_of([package]).get(package.id, [])
    return render_template(
        "ui/packages/detail.html",
        files=files,
        advisories=vulnerabilities.of_package(package, today),
        file_downloads=downloads.of_files(files.items, today),
        publishers=users.by_ids(file.creator_id for file in files.items),
        pipeline=pipelines[-1] if pipelines else None,
        trusted_run=lists.trusted_runs_of([package]).get(package.id),
        tokens=_token_names(package.project, [(package.project_id, package)]),
        readme=_readme(digest),
        about=about,
        index_namespace=index_namespace,
        installation=_installation(package, header, index_namespace),
        from_project=None if index_namespace == project else _installation(package, header, project),
        pypirc=commands.pypirc(pypi_url(project)) if _takes_files(header) else "",
        set_token=commands.set_token(),
        forwards=forwarding.forwards(index_namespace),
        chart=LineChart([counted for _, counted in downloads.by_day(package, today, CHART_DAYS)]),
        chart_days=CHART_DAYS,
        **header,
    )


def _installation(package: Package, header: dict[str, Any], index_namespace: Project | Group) -> commands.Installation:
    return commands.installation(
        package.name,
        package.version,
        pypi_url(index_namespace),
        is_open=index.opens_to_all(index_namespace, package.project),
        is_pinned=_is_pinned(package, header, index_namespace),
    )


def _takes_files(header: dict[str, Any]) -> bool:
    """Return whether the viewer can publish files of the name."""
    return header["name_status"].status not in CLOSED and may("create_package", header["project"])


def _is_pinned(package: Package, header: dict[str, Any], index_namespace: Project | Group) -> bool:
    """Return whether installers choose this version from an index only if they are asked for it."""
    latest = header["latest"]
    is_surpassed = isinstance(index_namespace, Group) and versions.is_surpassed(package, index_namespace, principal())
    return is_surpassed or latest is None or latest.id != package.id or header["yank"].is_whole


def _documents() -> Documents:
    documents: Documents = current_app.extensions["documents"]
    return documents


def _readme(digest: str | None) -> Readme | None:
    readmes: Readmes = current_app.extensions["readmes"]
    return readmes.shown(digest) if digest else None


def _header(namespace: Project | Group, package: Package, published: list[PublishedVersion]) -> dict[str, Any]:
    return {
        "namespace": namespace,
        "package": package,
        "project": package.project,
        "protection": protection.protections([package], principal())[package.id],
        "name_status": names.name_status(package.project, package.name),
        "yank": lists.yanks([package])[package.id],
        "size_bytes": lists.package_size(package),
        "downloads": downloads.of_package(package, utcnow().date()),
        "published": published,
        "is_prerelease": names.is_prerelease(package.version),
        "latest": versions.latest(published),
    }


def _group_of(namespace: Project | Group, project: Project) -> Group | None:
    """Return a group whose index contains the project's packages: the one being viewed, or the project's parent."""
    group = namespace if isinstance(namespace, Group) else namespaces.by_id(project.parent_id or 0)
    return group if isinstance(group, Group) and may("read_package", group) else None


def _delete(namespace: Project | Group) -> Page:
    chosen = lists.packages_by_id(namespace, principal(), _chosen())
    if not chosen:
        flash(gettext("Select at least one version."), "error")
        return _to_list(namespace)
    if request.method == "POST":
        deletion.delete_packages(chosen, by=principal(), release_names="release_name" in request.form)
        flash(ngettext("Version deleted successfully", "Versions deleted successfully", len(chosen)))
        return _to_list(namespace)
    protections = protection.protections(chosen, principal())
    deletable = [package for package in chosen if protections[package.id].may_delete]
    ended = deletion.names_ended_by_deleting(deletable)
    return render_template(
        "ui/packages/delete.html",
        namespace=namespace,
        packages=deletable,
        kept=[package for package in chosen if not protections[package.id].may_delete],
        ended=ended,
        forwards=bool(ended) and forwarding.forwards(namespace),
        may_release=reserved.may_release(namespace, ended, principal()),
    )


def _delete_files(files: list[PackageFile], package: Package, project: Project) -> Page:
    if request.method == "POST":
        release_name = "release_name" in request.form
        if deletion.delete_files(files, package, project, by=principal(), release_name=release_name):
            flash(gettext("Version deleted successfully"))
            return _to_list(project)
        flash(ngettext("File deleted successfully", "Files deleted successfully", len(files)))
        return redirect(url_for("ui.packages.project_package", project=project, package_id=package.id), 303)
    takes_package = len(files) == pagination.page(lists.package_files(package)).total
    ended = deletion.names_ended_by_deleting([package]) if takes_package else set()
    return render_template(
        "ui/packages/delete_files.html",
        namespace=project,
        package=package,
        files=files,
        takes_package=takes_package,
        ended=ended,
        may_delete=protection.protections([package], principal())[package.id].may_delete,
        forwards=bool(ended) and forwarding.forwards(project),
        may_release=reserved.may_release(project, ended, principal()),
    )


def _to_list(namespace: Project | Group) -> Response:
    return redirect(namespace_url("packages.packages", namespace), 303)


def _chosen() -> list[int]:
    """Return the IDs in ``?id=`` or the form fields of that name, ignoring invalid ones."""
    sent = [value for value in request.values.getlist("id") if value.isascii() and value.isdigit() and len(value) < 10]
    return list(dict.fromkeys(map(int, sent)))[:MOST_AT_ONCE]
