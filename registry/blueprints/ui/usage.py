"""Usage quotas: storage usage and storage limits of projects and groups."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, request
from flask_babel import gettext, lazy_gettext
from werkzeug.wrappers import Response
from wtforms.validators import Optional

from registry.blueprints.auth.permits import Gate
from registry.blueprints.ui import pagination
from registry.blueprints.ui.forms import SIZE_EXPECTED, SIZE_HINT, Form, SizeField, Within
from registry.blueprints.ui.viewer import principal
from registry.domain import access, namespaces
from registry.domain.access import Permission
from registry.domain.namespaces import NamespaceChanges
from registry.domain.packages import storage_use, usage
from registry.domain.packages.storage_use import StorageUse
from registry.domain.settings import LARGEST_SIZE_BYTES
from registry.models import Group, Project

_ = lazy_gettext

Page = Response | tuple[str, int]


class LimitForm(Form):
    storage_size_limit = SizeField(
        _("Storage limit"), [Optional(), Within(0, LARGEST_SIZE_BYTES, SIZE_EXPECTED)], description=SIZE_HINT
    )


def routes(gate: Gate) -> Blueprint:
    blueprint = Blueprint("usage", __name__)

    @blueprint.route("/<page_project:project>/-/usage_quotas", methods=["GET", "POST"])
    @gate(Permission.ADMIN_NAMESPACE)
    def project_usage_quotas(project: Project) -> Page:
        """Show storage usage by package name; only administrators can set the limit."""
        return _page(project, storage_use.by_name(project))

    @blueprint.route("/groups/<page_group:group>/-/usage_quotas", methods=["GET", "POST"])
    @gate(Permission.ADMIN_NAMESPACE)
    def group_usage_quotas(group: Group) -> Page:
        """Show storage usage by project; only administrators can set the limit."""
        return _page(group, storage_use.by_project(group))

    return blueprint


def _page(namespace: Project | Group, uses: list[StorageUse]) -> Page:
    """Render the page; ``uses`` are ordered by size, and with ``?order_by=name`` shown by name."""
    order_by = "name" if request.args.get("order_by") == "name" else "size"
    form = LimitForm(obj=namespace)
    if form.validate_on_submit():
        with form.refusals():
            changes = NamespaceChanges(storage_size_limit=form.storage_size_limit.data)
            namespaces.change(namespace, changes, by=principal())
            flash(gettext("The storage limit was saved."))
            return redirect(request.path, 303)
    limits = usage.limits_on(namespace.id)
    above = namespaces.ancestors(namespace)
    by = access.load_roles(principal(), above)
    shown = {namespace.id, *(one.id for one in above if access.allowed(by, Permission.READ_STATISTICS, one))}
    page = render_template(
        "ui/namespaces/usage_quotas.html",
        namespace=namespace,
        form=form,
        limits=limits,
        held=usage.sizes_of(limit.namespace_id for limit in limits if limit.namespace_id in shown),
        default_bytes=usage.default_limit(namespace),
        total_bytes=sum(use.size_bytes for use in uses),
        largest_bytes=max((use.size_bytes for use in uses), default=0),
        order_by=order_by,
        found=pagination.page_of(sorted(uses, key=lambda use: use.name.lower()) if order_by == "name" else uses),
    )
    return page, form.status
