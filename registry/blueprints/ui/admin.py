"""The admin area: the overview, and the lists of users, groups, projects, and old paths."""

from __future__ import annotations

import platform
from dataclasses import replace
from importlib.metadata import version

from flask import Blueprint, current_app, flash, redirect, render_template, request, url_for
from flask_babel import gettext
from werkzeug.wrappers import Response

from registry.addresses import root_url
from registry.blueprints.auth.permits import Gate
from registry.blueprints.ui import admin_settings, admin_users, pagination
from registry.blueprints.ui.explore import described
from registry.blueprints.ui.forms import search_text
from registry.blueprints.ui.viewer import principal
from registry.database import db, is_sqlite, utcnow
from registry.domain import namespaces, paging
from registry.domain.access import Permission
from registry.domain.accounts import lists
from registry.domain.accounts.lists import UserFilter
from registry.domain.namespaces import NamespaceFilter
from registry.domain.packages import storage_use, usage
from registry.models import Namespace, UserState
from registry.product import installed_version

NEWEST = 5
# The filters of the list of users, by ``?filter=``.
KINDS = {
    "active": UserFilter(states=(UserState.ACTIVE,)),
    "admins": UserFilter(is_admin=True),
    "external": UserFilter(is_external=True),
    "two_factor_enabled": UserFilter(has_second_factor=True),
    "two_factor_disabled": UserFilter(has_second_factor=False),
    "blocked": UserFilter(states=(UserState.BLOCKED,)),
    "deactivated": UserFilter(states=(UserState.DEACTIVATED,)),
}
ORDERS = ("name", "username", "created_at", "current_sign_in_at")


def routes(gate: Gate) -> Blueprint:
    blueprint = Blueprint("admin", __name__, url_prefix="/admin")
    admin_users.add_to(blueprint, gate)
    admin_settings.add_to(blueprint, gate)

    @blueprint.get("")
    @gate(Permission.READ_INSTANCE)
    def dashboard() -> str:
        """Show totals of the instance, and the latest additions."""
        newest = NamespaceFilter(order_by="id", descending=True)
        return render_template(
            "ui/admin/dashboard.html",
            totals=storage_use.totals(),
            users=paging.page(lists.users(UserFilter(), by_email=True), 1, NEWEST),
            groups=paging.page(namespaces.groups(principal(), newest), 1, NEWEST),
            projects=paging.page(namespaces.projects(principal(), newest), 1, NEWEST),
            facts=_facts(),
        )

    @blueprint.get("/users")
    @gate(Permission.READ_INSTANCE)
    def users() -> str:
        """Show all users, filtered by ``?filter=`` and ``?search=``."""
        kind = request.args.get("filter", "")
        order_by = request.args.get("order_by", "")
        wanted = replace(
            KINDS.get(kind, UserFilter()),
            search=search_text(),
            order_by=order_by if order_by in ORDERS else "name",
            descending=order_by in ("created_at", "current_sign_in_at"),
        )
        return render_template(
            "ui/admin/users.html",
            found=pagination.page(lists.users(wanted, by_email=True)),
            counts=lists.counts(),
            kind=kind if kind in KINDS else "",
            order_by=wanted.order_by,
            text=search_text(),
        )

    @blueprint.get("/groups")
    @gate(Permission.READ_INSTANCE)
    def groups() -> str:
        found = pagination.page(namespaces.groups(principal(), NamespaceFilter(search=search_text(), order_by="name")))
        return _namespaces_page("groups", found)

    @blueprint.get("/projects")
    @gate(Permission.READ_INSTANCE)
    def projects() -> str:
        found = pagination.page(
            namespaces.projects(principal(), NamespaceFilter(search=search_text(), order_by="name"))
        )
        return _namespaces_page("projects", found)

    @blueprint.get("/old_paths")
    @gate(Permission.READ_INSTANCE)
    def old_paths() -> str:
        """Show the paths that groups, projects, and users have given up, the latest first."""
        return render_template(
            "ui/admin/old_paths.html",
            found=pagination.page(namespaces.all_old_paths(search_text())),
            text=search_text(),
            now=utcnow(),
        )

    @blueprint.post("/old_paths/free")
    @gate(Permission.ADMIN_INSTANCE)
    def free_path() -> Response:
        """End the redirect from an old path, and let others take it."""
        old = namespaces.find_old_path(request.form.get("path", ""))
        path = old.path
        namespaces.free(old, by=principal())
        flash(gettext("The path %(path)s is free.", path=path))
        return redirect(url_for("ui.admin.old_paths"), 303)

    return blueprint


def _namespaces_page(kind: str, found: paging.Page[Namespace]) -> str:
    return render_template(
        "ui/admin/namespaces.html",
        kind=kind,
        found=found,
        text=search_text(),
        sizes=usage.sizes_of(namespace.id for namespace in found.items),
        **described(found),
    )


def _facts() -> dict[str, str]:
    """Return the versions and configuration that support requests need."""
    return {
        gettext("Registry"): installed_version(),
        "Python": platform.python_version(),
        "Flask": version("flask"),
        gettext("Database"): "SQLite" if is_sqlite(db.engine) else "PostgreSQL",
        gettext("Public index"): current_app.config["UPSTREAM_URL"],
        gettext("Address"): root_url(request.environ).rstrip("/"),
    }
