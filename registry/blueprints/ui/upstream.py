"""The page "Upstream" of groups and projects: where the files of a package name come from, and what withholds them."""

from __future__ import annotations

from flask import Blueprint, current_app, flash, redirect, render_template, request
from flask_babel import gettext, lazy_gettext
from packaging.utils import canonicalize_name
from packaging.version import Version
from werkzeug.wrappers import Response
from wtforms import StringField

from registry.blueprints.auth.permits import Gate
from registry.blueprints.ui.forms import Form, text
from registry.blueprints.ui.frame import namespace_url
from registry.blueprints.ui.viewer import principal
from registry.database import utcnow
from registry.domain import access, namespaces
from registry.domain.access import Permission
from registry.domain.advisories import loading
from registry.domain.distributions.filenames import is_valid_name
from registry.domain.explaining import Explanation, explain
from registry.domain.upstream import asks, exceptions
from registry.domain.upstream.rules import rules_of
from registry.errors import InvalidRecord, UpstreamBusy, UpstreamFailed
from registry.models import Group, Project

_ = lazy_gettext

ATTRIBUTES = {"spellcheck": "false", "autocapitalize": "none"}
MOST_SHOWN = 200  # files, the newest ones

Page = Response | tuple[str, int]


class AskForm(Form):
    name = StringField(_("Package name"), render_kw=ATTRIBUTES)
    version = StringField(_("Version"), render_kw=ATTRIBUTES)


def routes(gate: Gate) -> Blueprint:
    blueprint = Blueprint("upstream", __name__)

    @blueprint.get("/<page_project:project>/-/upstream")
    @gate(Permission.READ_PACKAGE)
    def project_upstream(project: Project) -> Page:
        """Explain a package name in a project."""
        return _page(project)

    @blueprint.get("/groups/<page_group:group>/-/upstream")
    @gate(Permission.READ_PACKAGE)
    def group_upstream(group: Group) -> Page:
        """Explain a package name in a group."""
        return _page(group)

    @blueprint.post("/groups/<page_group:group>/-/upstream/exceptions")
    @gate(Permission.CHANGE_PACKAGE_SETTINGS)
    def except_version(group: Group) -> Response:
        """Except a version from the age, for a group and all below it."""
        return _except(group)

    return blueprint


def _page(namespace: Project | Group) -> Page:
    form = AskForm(request.args)
    explanation, status = None, 200
    if form.name.data:
        explanation = _explained(namespace, form)
        status = 422 if form.errors else 200
    group = namespace if isinstance(namespace, Group) else namespaces.by_id(namespace.parent_id or 0)
    page = render_template(
        "ui/upstream/upstream.html",
        namespace=namespace,
        form=form,
        explanation=explanation,
        files=() if explanation is None else explanation.files[: -MOST_SHOWN - 1 : -1],
        rules=rules_of(namespace),
        are_advisories_loaded=loading.are_loaded(),
        asked=asks.latest(namespace) if _may_see_asked(namespace) else None,
        group=group if isinstance(group, Group) and _may_except(group) else None,
    )
    return page, status


def _may_see_asked(namespace: Project | Group) -> bool:
    """Return whether the reader sees what others asked for, among it names that not all readers may know."""
    return access.allowed(access.load_roles(principal(), [namespace]), Permission.READ_PACKAGE_SETTINGS, namespace)


def _may_except(group: Group) -> bool:
    return access.allowed(access.load_roles(principal(), [group]), Permission.CHANGE_PACKAGE_SETTINGS, group)


def _explained(namespace: Project | Group, form: AskForm) -> Explanation | None:
    name, version = text(form.name), None
    if not is_valid_name(name):
        form.refuse("name", gettext("This is not a valid package name."))
    if form.version.data:
        try:
            version = Version(text(form.version))
        except ValueError:  # also of a number with too many digits
            form.refuse("version", gettext("This is not a valid version."))
    if form.errors:
        return None
    pages = current_app.extensions["upstream_pages"]
    try:
        return explain(namespace, canonicalize_name(name), principal(), pages, utcnow(), version=version)
    except (UpstreamFailed, UpstreamBusy):
        form.refuse("", gettext("The public index is not responding. Try again later."))
        return None


def _except(group: Group) -> Response:
    pattern = request.form.get("pattern", "")
    reason = gettext("Added on the page Upstream")
    try:
        exceptions.add_exception(group, pattern=pattern, reason=reason, expires_at=None, by=principal())
    except InvalidRecord:
        flash(gettext("The exception could not be added."), "error")
    else:
        flash(gettext("%(pattern)s is now offered in %(group)s.", pattern=pattern, group=group.full_name))
    return redirect(namespace_url("upstream.upstream", group, name=pattern.partition("==")[0]), 303)
