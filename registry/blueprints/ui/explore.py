"""Lists of groups and projects, the user's own projects, and search."""

from __future__ import annotations

from flask import Blueprint, jsonify, redirect, render_template, url_for
from werkzeug.wrappers import Response

from registry.blueprints.auth.permits import Gate
from registry.blueprints.ui import pagination
from registry.blueprints.ui.forms import search_text
from registry.blueprints.ui.viewer import principal, viewer
from registry.domain import access, namespaces
from registry.domain.access import Permission
from registry.domain.namespaces import NamespaceFilter
from registry.domain.packages import name_lists
from registry.domain.packages import search as package_search
from registry.domain.packages.search import FoundName
from registry.domain.paging import Listing, Page, first, page
from registry.models import Group, Namespace, Project

# Of each kind, while typing.
MOST_NAMES = 8
MOST_NAMESPACES = 4
MOST_OTHERS = 10  # on the start page of users who are not a member of any


def routes(gate: Gate) -> Blueprint:
    blueprint = Blueprint("explore", __name__)

    @blueprint.get("/")
    @gate.open
    def home() -> Response | str:
        """Show the user's own projects, or public projects if anonymous."""
        if viewer() is None:
            return redirect(url_for("ui.explore.projects"), 303)
        return _project_list(joined_only=True)

    @blueprint.get("/dashboard/groups")
    @gate(Permission.USE_API)
    def own_groups() -> str:
        return _group_list(joined_only=True)

    @blueprint.get("/explore")
    @gate(Permission.READ_VISIBLE)
    def projects() -> str:
        """Show all visible projects."""
        return _project_list(joined_only=False)

    @blueprint.get("/explore/groups")
    @gate(Permission.READ_VISIBLE)
    def groups() -> str:
        """Show all visible groups."""
        return _group_list(joined_only=False)

    @blueprint.get("/search")
    @gate(Permission.READ_VISIBLE)
    def search() -> Response | str:
        """Search package names, groups, and projects; the full path of a group or project redirects to its page."""
        text = search_text("q")
        path = text.strip("/")
        exact = namespaces.visible_at(path, Namespace, principal()) if "/" in path else None
        if exact is not None:
            return redirect(url_for("ui.namespaces.home", namespace=exact), 303)
        found_names = pagination.page(package_search.names(principal(), text))
        found_groups, found_projects = (page(listing, 1, pagination.PAGE_SIZE) for listing in _namespaces(text))
        return render_template(
            "ui/explore/search.html",
            text=text,
            names=found_names,
            most_words=package_search.MOST_WORDS if package_search.has_more_words(text) else 0,
            packages=package_search.described(found_names.items),
            groups=found_groups,
            projects=found_projects,
            name_url=name_url,
            **described(found_groups, found_projects),
        )

    @blueprint.get("/search.json")
    @gate(Permission.READ_VISIBLE)
    def search_while_typing() -> Response:
        """Return the best matches of the same search, as the search box of every page shows them."""
        text = search_text("q")
        found_names, _ = first(package_search.names(principal(), text), MOST_NAMES)
        (found_groups, _), (found_projects, _) = (first(listing, MOST_NAMESPACES) for listing in _namespaces(text))
        return jsonify(
            packages=[_name_as_json(found) for found in package_search.described(found_names)],
            groups=[_namespace_as_json(group) for group in found_groups],
            projects=[_namespace_as_json(project) for project in found_projects],
        )

    return blueprint


def _namespaces(text: str) -> tuple[Listing[Group], Listing[Project]]:
    """Select the groups and the projects that match the text, the best matches first."""
    wanted = NamespaceFilter(search=text, order_by="match")
    return namespaces.groups(principal(), wanted), namespaces.projects(principal(), wanted)


def _name_as_json(found: FoundName) -> dict[str, str]:
    return {
        "name": found.latest.name,
        "version": found.latest.version,
        "summary": found.latest.summary,
        "status": found.status,
        "project": found.project.full_path,
        "url": name_url(found),
    }


def _namespace_as_json(namespace: Namespace) -> dict[str, str]:
    return {
        "name": namespace.name,
        "path": namespace.full_path,
        "url": url_for("ui.namespaces.home", namespace=namespace),
    }


def name_url(found: FoundName) -> str:
    """Return the URL of the page of a package name."""
    return url_for("ui.packages.package_name", project=found.project, name=found.latest.normalized_name)


def described(*pages: Page[Namespace]) -> dict[str, object]:
    """Return the further values of rows by record ID, in a fixed number of statements."""
    records = [record for found in pages for record in found.items]
    groups = [record for record in records if isinstance(record, Group)]
    projects = [record for record in records if isinstance(record, Project)]
    roles = access.held_roles(principal(), records)
    by = access.load_roles(principal(), projects)
    readable = [project for project in projects if access.allowed(by, Permission.READ_PACKAGE, project)]
    return {
        "roles": {id_: held.highest for id_, held in roles.items()},
        "contents": namespaces.contents(groups, principal()),
        "package_counts": name_lists.package_counts(readable),
    }


def _project_list(*, joined_only: bool) -> str:
    found = pagination.page(
        namespaces.projects(principal(), _wanted(joined_only), archived=None if search_text() else False)
    )
    return _render("projects", found, joined_only)


def _group_list(*, joined_only: bool) -> str:
    return _render("groups", pagination.page(namespaces.groups(principal(), _wanted(joined_only))), joined_only)


def _render(kind: str, found: Page[Namespace], joined_only: bool) -> str:
    others = _others(kind) if joined_only and not found.total and not search_text() else None
    return render_template(
        "ui/explore/list.html",
        kind=kind,
        found=found,
        others=others,
        joined_only=joined_only,
        text=search_text(),
        **described(others or found),
    )


def _others(kind: str) -> Page[Namespace]:
    """Return the first groups or projects that a user who is not a member of any can see, such as an administrator."""
    if kind == "groups":
        return page(namespaces.groups(principal(), _wanted(joined_only=False)), 1, MOST_OTHERS)
    return page(namespaces.projects(principal(), _wanted(joined_only=False), archived=False), 1, MOST_OTHERS)


def _wanted(joined_only: bool) -> NamespaceFilter:
    return NamespaceFilter(search=search_text(), joined_only=joined_only, order_by="name")
