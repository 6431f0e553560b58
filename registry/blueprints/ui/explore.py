"""Lists of groups and projects, the user's own projects, and search."""

from __future__ import annotations

from flask import Blueprint, redirect, render_template, url_for
from werkzeug.wrappers import Response

from registry.blueprints.auth.permits import Gate
from registry.blueprints.ui import pagination
from registry.blueprints.ui.forms import search_text
from registry.blueprints.ui.viewer import principal, viewer
from registry.domain import access, namespaces
from registry.domain.access import Permission
from registry.domain.namespaces import NamespaceFilter
from registry.domain.packages import lists
from registry.domain.paging import Page, page
from registry.models import Group, Namespace, Project


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
        """Search groups and projects by part of the name or path; a full path redirects to its page."""
        text = search_text()
        path = text.strip("/")
        exact = namespaces.visible_at(path, Namespace, principal()) if "/" in path else None
        if exact is not None:
            return redirect(url_for("ui.namespaces.home", namespace=exact), 303)
        wanted = NamespaceFilter(search=text, order_by="name")
        size = pagination.PAGE_SIZE
        found_groups = page(namespaces.groups(principal(), wanted), 1, size)
        found_projects = page(namespaces.projects(principal(), wanted), 1, size)
        return render_template(
            "ui/explore/search.html",
            text=text,
            groups=found_groups,
            projects=found_projects,
            **described(found_groups, found_projects),
        )

    return blueprint


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
        "package_counts": lists.package_counts(readable),
    }


def _project_list(*, joined_only: bool) -> str:
    found = pagination.page(
        namespaces.projects(principal(), _wanted(joined_only), archived=None if search_text() else False)
    )
    return _render("projects", found, joined_only)


def _group_list(*, joined_only: bool) -> str:
    return _render("groups", pagination.page(namespaces.groups(principal(), _wanted(joined_only))), joined_only)


def _render(kind: str, found: Page[Namespace], joined_only: bool) -> str:
    return render_template(
        "ui/explore/list.html", kind=kind, found=found, joined_only=joined_only, text=search_text(), **described(found)
    )


def _wanted(joined_only: bool) -> NamespaceFilter:
    return NamespaceFilter(search=search_text(), joined_only=joined_only, order_by="name")
