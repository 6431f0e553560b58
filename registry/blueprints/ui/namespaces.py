"""Pages of groups, projects, and users: home, creation, general settings, and deletion."""

from __future__ import annotations

from typing import cast

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_babel import gettext
from werkzeug.wrappers import Response

from registry.blueprints.auth.permits import Gate
from registry.blueprints.ui import commands, pagination
from registry.blueprints.ui.explore import described
from registry.blueprints.ui.forms import (
    DeletionForm,
    GroupForm,
    NamespaceForm,
    NewGroupForm,
    NewProjectForm,
    PathForm,
    ProjectForm,
    TransferForm,
    search_text,
    text,
    where_to_create,
)
from registry.blueprints.ui.frame import namespace_url, pypi_url
from registry.blueprints.ui.viewer import may, principal, signed_in, viewer, visible_group
from registry.domain import access, namespaces, paging
from registry.domain.access import Permission
from registry.domain.accounts import users
from registry.domain.cascade import FORWARDING
from registry.domain.namespaces import NamespaceChanges, NamespaceFilter
from registry.domain.packages import lists, name_lists, usage
from registry.domain.packages.lists import PackageFilter
from registry.models import CreationLevel, Group, Namespace, Project, UserNamespace

RECENT = 5

Page = Response | tuple[str, int]


def routes(gate: Gate) -> Blueprint:
    blueprint = Blueprint("namespaces", __name__)

    @blueprint.get("/<page_namespace:namespace>")
    @gate(Permission.READ_NAMESPACE)
    def home(namespace: Namespace) -> str:
        """Show the group, project, or user with this path."""
        if isinstance(namespace, Project):
            return _project_home(namespace)
        if isinstance(namespace, UserNamespace):
            return _user_home(namespace)
        assert isinstance(namespace, Group)  # noqa: S101 - there is no fourth kind
        return _group_home(namespace)

    @blueprint.get("/groups/<page_group:group>")
    @gate(Permission.READ_NAMESPACE)
    def group_by_long_address(group: Group) -> Response:
        return redirect(url_for("ui.namespaces.home", namespace=group), 301)

    @blueprint.route("/groups/new", methods=["GET", "POST"])
    @gate(Permission.USE_API)
    def new_group() -> Page:
        """Create a top-level group, or a subgroup with ``?parent_id=``."""
        parent = _parent_group()
        form = NewGroupForm(visibility=int(namespaces.default_visibility(Group, parent)))
        form.offer_visibilities()
        if form.can_be_tried():
            with form.refusals():
                group = namespaces.create_group(parent=parent, by=principal(), **form.values())
                flash(gettext("Group %(name)s was created.", name=group.name))
                return redirect(url_for("ui.namespaces.home", namespace=group), 303)
        return _render_new("ui/namespaces/new_group.html", form, parent), form.status

    @blueprint.route("/projects/new", methods=["GET", "POST"])
    @gate(Permission.USE_API)
    def new_project() -> Page:
        """Create a project in a group or personal namespace; ``?namespace_id=`` preselects one."""
        space = users.personal_namespace(signed_in())
        places = where_to_create(namespaces.groups_with(principal(), Permission.CREATE_PROJECT), space)
        chosen = request.args.get("namespace_id", space.id, type=int)
        parent = namespaces.by_id(chosen) if chosen in dict(places) else space
        form = NewProjectForm(
            namespace_id=(parent or space).id, visibility=int(namespaces.default_visibility(Project, parent))
        )
        form.namespace_id.choices = places
        form.offer_visibilities()
        if form.can_be_tried():
            with form.refusals():
                place = namespaces.by_id(form.namespace_id.data)
                project = namespaces.create_project(parent=place, by=principal(), **form.values())
                flash(gettext("Project %(name)s was created.", name=project.name))
                return redirect(url_for("ui.namespaces.home", namespace=project), 303)
        return _render_new("ui/namespaces/new_project.html", form, None), form.status

    @blueprint.route("/groups/<page_group:group>/-/edit", methods=["GET", "POST"])
    @gate(Permission.ADMIN_NAMESPACE)
    def group_edit(group: Group) -> Page:
        """Show and change Settings › General of a group."""
        form = _group_form(group)
        if form.can_be_tried():
            with form.refusals():
                namespaces.change(group, form.changes(), by=principal())
                flash(gettext("Group %(name)s was saved.", name=group.name))
                return redirect(url_for("ui.namespaces.group_edit", group=group), 303)
        return _edit_page(group, form)

    @blueprint.route("/<page_project:project>/edit", methods=["GET", "POST"])
    @gate(Permission.ADMIN_NAMESPACE)
    def project_edit(project: Project) -> Page:
        """Show and change Settings › General of a project."""
        form = _project_form(project)
        if form.can_be_tried():
            with form.refusals():
                namespaces.change(project, form.changes(), by=principal())
                flash(gettext("Project %(name)s was saved.", name=project.name))
                return redirect(url_for("ui.namespaces.project_edit", project=project), 303)
        return _edit_page(project, form)

    @blueprint.post("/groups/<page_group:group>/-/path")
    @gate(Permission.OWN_NAMESPACE)
    def group_path(group: Group) -> Page:
        return _change_path(group)

    @blueprint.post("/<page_project:project>/-/path")
    @gate(Permission.OWN_NAMESPACE)
    def project_path(project: Project) -> Page:
        return _change_path(project)

    @blueprint.post("/groups/<page_group:group>/-/transfer")
    @gate(Permission.OWN_NAMESPACE)
    def group_transfer(group: Group) -> Page:
        """Move a group into another group, or to the top level."""
        form = _transfer_form(group)
        if form.validate_on_submit():
            with form.refusals():
                parent = namespaces.by_id(form.parent_id.data) if form.parent_id.data else None
                namespaces.transfer(group, cast("Group | None", parent), by=principal())
                flash(gettext("Group %(name)s was moved.", name=group.name))
                return redirect(url_for("ui.namespaces.group_edit", group=group), 303)
        return _edit_page(group, transfer=form)

    @blueprint.post("/<page_project:project>/-/archive")
    @gate(Permission.OWN_NAMESPACE)
    def project_archive(project: Project) -> Response:
        """Archive a project, which makes it read-only."""
        namespaces.set_archived(project, True, by=principal())
        flash(gettext("Project %(name)s is archived and can only be read.", name=project.name))
        return redirect(url_for("ui.namespaces.project_edit", project=project), 303)

    @blueprint.post("/<page_project:project>/-/unarchive")
    @gate(Permission.OWN_NAMESPACE)
    def project_unarchive(project: Project) -> Response:
        namespaces.set_archived(project, False, by=principal())
        flash(gettext("Project %(name)s is active again.", name=project.name))
        return redirect(url_for("ui.namespaces.project_edit", project=project), 303)

    @blueprint.route("/groups/<page_group:group>/-/delete", methods=["GET", "POST"])
    @gate(Permission.OWN_NAMESPACE)
    def group_delete(group: Group) -> Page:
        return _delete(group)

    @blueprint.route("/<page_project:project>/-/delete", methods=["GET", "POST"])
    @gate(Permission.OWN_NAMESPACE)
    def project_delete(project: Project) -> Page:
        return _delete(project)

    return blueprint


def _group_home(group: Group) -> str:
    """Show the direct subgroups and projects of a group; a search includes all descendants."""
    searched = search_text()
    wanted = NamespaceFilter(search=searched, order_by="name")
    kind = "groups" if request.args.get("tab") == "groups" else "projects"
    found: paging.Page[Group] | paging.Page[Project]
    if kind == "groups":
        found = pagination.page(namespaces.groups(principal(), wanted, below=group, children_only=not searched))
    else:
        found = pagination.page(namespaces.projects(principal(), wanted, below=group, children_only=not searched))
    return render_template(
        "ui/namespaces/group.html",
        namespace=group,
        text=searched,
        kind=kind,
        found=found,
        here=namespaces.contents([group], principal())[group.id],
        **described(found),
    )


def _project_home(project: Project) -> str:
    recent = None
    if may("read_package", project):
        packages = lists.packages(project, principal(), PackageFilter())
        recent = paging.page(lists.ordered(packages, "created_at", descending=True), 1, RECENT)
    forwards, decided_by = FORWARDING.decision_in(project)
    return render_template(
        "ui/namespaces/project.html",
        namespace=project,
        project=project,
        recent=recent,
        packages_count=name_lists.package_counts([project])[project.id],
        size_bytes=usage.size_of(project.id) if may("read_statistics", project) else None,
        forwards=forwards,
        decided_by=decided_by,
        decider=visible_group(decided_by),
        build_command=commands.build(),
        publish_command=commands.publish(pypi_url(project)),
        pypirc=commands.pypirc(pypi_url(project)),
    )


def _user_home(space: UserNamespace) -> str:
    user = users.by_ids([space.user_id])[space.user_id or 0]
    is_self = user == viewer()
    found = pagination.page(
        namespaces.projects(principal(), NamespaceFilter(order_by="name"), below=space, children_only=True)
    )
    return render_template(
        "ui/namespaces/user.html",
        namespace=space,
        user=user,
        found=found,
        is_self=is_self,
        is_shown=users.shows_profile(user, principal()),
        **described(found),
    )


def _parent_group() -> Group | None:
    """Return the group with the ID ``?parent_id=``.

    :raises NotFound: it does not exist or is hidden from the viewer.
    """
    parent_id = request.args.get("parent_id")
    if not parent_id:
        return None
    group = namespaces.find(parent_id, Group)
    access.require(principal(), Permission.CREATE_SUBGROUP, group)
    return group


def _render_new(template: str, form: NamespaceForm, parent: Group | None) -> str:
    return render_template(
        template, form=form, namespace=parent, open_visibilities=namespaces.open_visibilities(parent, principal())
    )


def _group_form(group: Group, **options: object) -> GroupForm:
    form = GroupForm(
        name=group.name,
        description=group.description,
        visibility=int(group.visibility),
        project_creation_level=group.project_creation_level or CreationLevel.DEVELOPER,
        subgroup_creation_level=group.subgroup_creation_level or CreationLevel.MAINTAINER,
        **options,
    )
    form.offer()
    return form


def _project_form(project: Project, **options: object) -> ProjectForm:
    form = ProjectForm(
        name=project.name,
        description=project.description,
        visibility=int(project.visibility),
        **ProjectForm.standing(project),
        **options,
    )
    if not may("own_namespace", project):
        form.leave_out_owned()
    form.offer()
    return form


def _transfer_form(group: Group, **options: object) -> TransferForm:
    form = TransferForm(parent_id=group.parent_id or 0, **options)
    form.offer(namespaces.new_parents(group, principal()))
    return form


def _edit_page(
    namespace: Group | Project,
    form: GroupForm | ProjectForm | None = None,
    *,
    path: PathForm | None = None,
    transfer: TransferForm | None = None,
) -> Page:
    """Render all forms of Settings › General: the submitted one with its errors, and the others with current values."""
    sent = next((sent for sent in (form, path, transfer) if sent is not None), None)
    if isinstance(namespace, Group):
        form = form or _group_form(namespace, formdata=None)
        transfer = transfer or _transfer_form(namespace, formdata=None)
    page = render_template(
        f"ui/namespaces/{namespace.kind}_edit.html",
        namespace=namespace,
        form=form or _project_form(cast(Project, namespace), formdata=None),
        path_form=path or PathForm(path=namespace.path, formdata=None),
        transfer_form=transfer,
        open_visibilities=namespaces.visibilities_for(namespace, principal()),
        anyone_may_pull_is_offered=access.anyone_may_pull() and namespaces.can_open_registry(namespace, principal()),
    )
    return page, 200 if sent is None else sent.status


def _change_path(namespace: Group | Project) -> Page:
    form = PathForm()
    if form.validate_on_submit():
        with form.refusals():
            namespaces.change(namespace, NamespaceChanges(path=text(form.path)), by=principal())
            flash(gettext("The path was changed. The old path redirects here until it is used again."))
            return redirect(namespace_url("namespaces.edit", namespace), 303)
    return _edit_page(namespace, path=form)


def _delete(namespace: Group | Project) -> Page:
    """Ask for the path as confirmation, then delete."""
    form = DeletionForm(namespace)
    if form.validate_on_submit():
        parent = None if namespace.parent_id is None else namespaces.by_id(namespace.parent_id)
        namespaces.delete_namespace(namespace, by=principal())
        if isinstance(namespace, Group):
            flash(gettext("Group %(name)s was deleted.", name=namespace.full_name))
        else:
            flash(gettext("Project %(name)s was deleted.", name=namespace.full_name))
        home = url_for("ui.explore.home") if parent is None else url_for("ui.namespaces.home", namespace=parent)
        return redirect(home, 303)
    page = render_template(
        "ui/namespaces/delete.html",
        namespace=namespace,
        form=form,
        below=namespaces.counts_below(namespace),
        size_bytes=usage.size_of(namespace.id),
    )
    return page, form.status
