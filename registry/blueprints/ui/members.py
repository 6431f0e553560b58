"""Pages to list, add, change, and remove members of projects and groups, and to leave them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from flask import Blueprint, flash, jsonify, redirect, render_template, url_for
from flask_babel import gettext
from werkzeug.wrappers import Response

from registry.blueprints.auth.permits import Gate
from registry.blueprints.ui import pagination
from registry.blueprints.ui.forms import MemberForm, NewMemberForm, search_text, text
from registry.blueprints.ui.frame import namespace_url
from registry.blueprints.ui.viewer import may, principal, role_in, viewer
from registry.blueprints.ui.wording import role_name
from registry.domain import namespaces
from registry.domain.access import Permission
from registry.domain.accounts import lists, users
from registry.domain.paging import first
from registry.domain.single_sign_on import provider_roles
from registry.models import Group, Namespace, Project, Role, User

PROJECT_MEMBERS = "/<page_project:project>/-/project_members"
GROUP_MEMBERS = "/groups/<page_group:group>/-/group_members"

MOST_SUGGESTED = 8

Page = Response | tuple[str, int]


def routes(gate: Gate) -> Blueprint:
    blueprint = Blueprint("members", __name__)

    @blueprint.get(PROJECT_MEMBERS)
    @gate(Permission.READ_MEMBERS)
    def project_members(project: Project) -> Page:
        return _list(project)

    @blueprint.get(GROUP_MEMBERS)
    @gate(Permission.READ_MEMBERS)
    def group_members(group: Group) -> Page:
        return _list(group)

    @blueprint.post(PROJECT_MEMBERS)
    @gate(Permission.ADMIN_MEMBERS)
    def project_add(project: Project) -> Page:
        return _add(project)

    @blueprint.post(GROUP_MEMBERS)
    @gate(Permission.ADMIN_MEMBERS)
    def group_add(group: Group) -> Page:
        return _add(group)

    @blueprint.get(PROJECT_MEMBERS + "/suggestions.json")
    @gate(Permission.ADMIN_MEMBERS)
    def project_suggestions(project: Project) -> Response:
        return _suggestions(project)

    @blueprint.get(GROUP_MEMBERS + "/suggestions.json")
    @gate(Permission.ADMIN_MEMBERS)
    def group_suggestions(group: Group) -> Response:
        return _suggestions(group)

    @blueprint.post(PROJECT_MEMBERS + "/<id:user_id>")
    @gate(Permission.ADMIN_MEMBERS)
    def project_change(project: Project, user_id: int) -> Page:
        return _change(project, user_id)

    @blueprint.post(GROUP_MEMBERS + "/<id:user_id>")
    @gate(Permission.ADMIN_MEMBERS)
    def group_change(group: Group, user_id: int) -> Page:
        return _change(group, user_id)

    @blueprint.post(PROJECT_MEMBERS + "/<id:user_id>/remove")
    @gate(Permission.LEAVE_NAMESPACE)
    def project_remove(project: Project, user_id: int) -> Page:
        return _remove(project, user_id)

    @blueprint.post(GROUP_MEMBERS + "/<id:user_id>/remove")
    @gate(Permission.LEAVE_NAMESPACE)
    def group_remove(group: Group, user_id: int) -> Page:
        return _remove(group, user_id)

    return blueprint


def _list(namespace: Project | Group, form: NewMemberForm | None = None, suggested: Sequence[User] = ()) -> Page:
    """Render the list of members by name, direct and inherited, each with the highest role.

    :param suggested: the users to choose from after a part of a name was submitted.
    """
    members = namespaces.members(namespace, inherited=True, query=search_text())
    found = pagination.page_of(sorted(members, key=lambda member: (member.user.name.lower(), member.user.id)))
    highest = role_in(namespace)
    if form is None:
        form = _new_member_form(highest, formdata=None)
    page = render_template(
        "ui/members/members.html",
        namespace=namespace,
        found=found,
        form=form,
        suggested=suggested,
        roles=form.role.choices,
        highest=highest,
        first_day=MemberForm.first_day(),
        may_change=may("admin_members", namespace),
        provider_groups=_provider_groups(namespace),
    )
    return page, form.status


def _provider_groups(namespace: Project | Group) -> Mapping[Role, list[str]]:
    """Return the groups of the identity provider that have a role here, by role, for members only."""
    is_member = role_in(namespace) > Role.NO_ACCESS
    return provider_roles.groups_by_role(namespace) if is_member else defaultdict(list)


def _add(namespace: Project | Group) -> Page:
    form = _new_member_form(role_in(namespace))
    if form.can_be_tried():
        user = users.by_name_or_confirmed_email(text(form.chosen) or text(form.username))
        if user is None and form.username.errors:
            return _list(namespace, form)
        if user is None:
            return _choose(namespace, form)
        with form.refusals():
            role = Role(form.role.data)
            namespaces.add_member(namespace, user, role, expires_on=form.expires_on.data, by=principal())
            flash(gettext("%(user)s was added with the %(role)s role.", user=user.name, role=role_name(role)))
            return _back(namespace)
    return _list(namespace, form)


def _new_member_form(highest: Role, **options: object) -> NewMemberForm:
    form = NewMemberForm(role=int(Role.GUEST), **options)
    form.offer(highest)
    return form


def _choose(namespace: Project | Group, form: NewMemberForm) -> Page:
    """Show the users that match a part of a name, each with a button that adds the user."""
    suggested = _suggested(namespace, text(form.username))
    if suggested:
        form.refuse("username", gettext("No user has exactly this username. Choose a person."))
    else:
        form.refuse("username", gettext("No user was found with this name or confirmed email address."))
    return _list(namespace, form, suggested)


def _suggestions(namespace: Project | Group) -> Response:
    """Return the same users while the name is typed."""
    found = _suggested(namespace, search_text("q"))
    return jsonify(users=[{"username": user.username, "name": user.name} for user in found])


def _suggested(namespace: Project | Group, typed: str) -> Sequence[User]:
    found, _ = first(lists.addable(namespace, typed, to=principal()), MOST_SUGGESTED)
    return found


def _change(namespace: Project | Group, user_id: int) -> Page:
    """Change a member by the form in the row of the list, or show what is wrong on a page of its own."""
    member = namespaces.member(namespace, user_id)
    user = member.user
    form = MemberForm(role=int(member.role), expires_on=member.membership.expires_on)
    form.offer(role_in(namespace))
    if form.can_be_tried():
        with form.refusals():
            role, expires_on = Role(form.role.data), form.expires_on.data
            if namespaces.leaves_no_owner(member.membership, role, expires_on):
                return _keep_owner(namespace)
            namespaces.change_member(namespace, user, role, expires_on=expires_on, by=principal())
            flash(gettext("The membership of %(user)s was changed.", user=user.name))
            return _back(namespace)
    page = render_template(
        "ui/members/member.html", namespace=namespace, user=user, form=form, first_day=MemberForm.first_day()
    )
    return page, form.status


def _remove(namespace: Project | Group, user_id: int) -> Page:
    member = namespaces.member(namespace, user_id)
    if namespaces.is_last_owner(member.membership):
        return _keep_owner(namespace)
    namespaces.remove_member(namespace, member.user, by=principal())
    if member.user == viewer():
        flash(gettext("You left %(namespace)s.", namespace=namespace.full_name))
        return redirect(url_for("ui.explore.home"), 303)
    flash(gettext("%(user)s was removed.", user=member.user.name))
    return _back(namespace)


def _keep_owner(namespace: Namespace) -> Response:
    flash(gettext("%(namespace)s needs at least one owner.", namespace=namespace.name), "error")
    return _back(namespace)


def _back(namespace: Namespace) -> Response:
    return redirect(namespace_url("members.members", namespace), 303)
