"""Pages for Maintainers to yank versions and files, and to set the status of a package name."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_babel import gettext, lazy_gettext
from werkzeug.wrappers import Response
from wtforms import RadioField, StringField

from registry.blueprints.auth.permits import Gate
from registry.blueprints.ui.forms import Form, text
from registry.blueprints.ui.viewer import principal
from registry.blueprints.ui.wording import name_status_name
from registry.domain.access import Permission
from registry.domain.packages import lists, names, releases
from registry.models import NameStatus, Package, PackageFile, Project

_ = lazy_gettext

PACKAGE = "/<page_project:project>/-/packages/<id:package_id>"
FILE = f"{PACKAGE}/package_files/<id:file_id>"

Page = Response | tuple[str, int]


class ReasonForm(Form):
    reason = StringField(_("Reason"))


class StatusForm(ReasonForm):
    shown_last = frozenset({"reason"})
    name_status = RadioField(_("Status"))

    def offer(self) -> None:
        self.name_status.choices = [(status.value, name_status_name(status)) for status in NameStatus]


def routes(gate: Gate) -> Blueprint:
    blueprint = Blueprint("releases", __name__)

    @blueprint.route(f"{PACKAGE}/yank", methods=["GET", "POST"])
    @gate(Permission.YANK_PACKAGE)
    def yank_package(project: Project, package_id: int) -> Page:
        """Ask for a reason, then yank all files of a package version."""
        package = lists.package(project, package_id)
        form = ReasonForm(reason=lists.yanks([package])[package.id].reason)
        if form.validate_on_submit():
            with form.refusals():
                releases.yank_version(package, project, text(form.reason), by=principal())
                return _yanked(package, project)
        return _yank_page(form, package, project)

    @blueprint.route(f"{PACKAGE}/unyank", methods=["GET", "POST"])
    @gate(Permission.YANK_PACKAGE)
    def unyank_package(project: Project, package_id: int) -> Page:
        """Ask for confirmation, then unyank all files of a package version."""
        package = lists.package(project, package_id)
        if request.method == "POST":
            releases.unyank_version(package, project, by=principal())
            return _unyanked(package, project)
        return _unyank_page(package, project)

    @blueprint.route(f"{FILE}/yank", methods=["GET", "POST"])
    @gate(Permission.YANK_PACKAGE)
    def yank_file(project: Project, package_id: int, file_id: int) -> Page:
        """Ask for a reason, then yank a file."""
        package = lists.package(project, package_id)
        file = lists.package_file(package, file_id)
        form = ReasonForm(reason=file.yanked_reason)
        if form.validate_on_submit():
            with form.refusals():
                releases.yank_file(file, package, project, text(form.reason), by=principal())
                return _yanked(package, project, file)
        return _yank_page(form, package, project, file)

    @blueprint.route(f"{FILE}/unyank", methods=["GET", "POST"])
    @gate(Permission.YANK_PACKAGE)
    def unyank_file(project: Project, package_id: int, file_id: int) -> Page:
        """Ask for confirmation, then unyank a file."""
        package = lists.package(project, package_id)
        file = lists.package_file(package, file_id)
        if request.method == "POST":
            releases.unyank_file(file, package, project, by=principal())
            return _unyanked(package, project, file)
        return _unyank_page(package, project, file)

    @blueprint.route(f"{PACKAGE}/status", methods=["GET", "POST"])
    @gate(Permission.ADMIN_PACKAGE)
    def package_status(project: Project, package_id: int) -> Page:
        """Show and change the status of the package name, which all its versions in the project share."""
        package = lists.package(project, package_id)
        name_status = names.name_status(project, package.name)
        form = StatusForm(name_status=name_status.status, reason=name_status.reason)
        form.offer()
        if form.can_be_tried():
            with form.refusals():
                status = NameStatus(form.name_status.data)
                releases.set_name_status(project, package.name, status, text(form.reason), by=principal())
                flash(
                    gettext(
                        "The status of %(name)s is now: %(status)s.", name=package.name, status=name_status_name(status)
                    )
                )
                return _to_package(package, project)
        return _page("status", package, project, form=form), form.status

    return blueprint


def _yank_page(form: ReasonForm, package: Package, project: Project, file: PackageFile | None = None) -> Page:
    return _page("yank", package, project, file=file, form=form), form.status


def _unyank_page(package: Package, project: Project, file: PackageFile | None = None) -> Page:
    return _page("unyank", package, project, file=file), 200


def _page(view: str, package: Package, project: Project, **values: object) -> str:
    return render_template(
        f"ui/releases/{view}.html",
        namespace=project,
        package=package,
        longest_reason=releases.LONGEST_REASON,
        **values,
    )


def _yanked(package: Package, project: Project, file: PackageFile | None = None) -> Response:
    flash(gettext("%(release)s is yanked.", release=_named(package, file)))
    return _to_package(package, project)


def _unyanked(package: Package, project: Project, file: PackageFile | None = None) -> Response:
    flash(gettext("%(release)s is no longer yanked.", release=_named(package, file)))
    return _to_package(package, project)


def _named(package: Package, file: PackageFile | None) -> str:
    return f"{package.name} {package.version}" if file is None else file.filename


def _to_package(package: Package, project: Project) -> Response:
    return redirect(url_for("ui.packages.project_package", project=project, package_id=package.id), 303)
