"""Page of the roles that follow from groups of the identity provider, for administrators."""

from __future__ import annotations

from flask import Blueprint, current_app, flash, redirect, render_template, url_for
from flask_babel import gettext, lazy_gettext
from werkzeug.wrappers import Response
from wtforms import SelectField, StringField
from wtforms.validators import InputRequired

from registry.blueprints.auth.permits import Gate
from registry.blueprints.ui.forms import Form, refusing_field, text
from registry.blueprints.ui.viewer import principal
from registry.blueprints.ui.wording import role_name
from registry.domain import namespaces
from registry.domain.access import Permission
from registry.domain.single_sign_on import provider_roles
from registry.errors import NotFound
from registry.models import MEMBER_ROLES, Group, Role

_ = lazy_gettext


class ProviderRoleForm(Form):
    provider_group = StringField(_("Group of the identity provider"), [InputRequired(_("This field is required."))])
    group = StringField(_("Path of the group"), [InputRequired(_("This field is required."))])
    role = SelectField(_("Role"), coerce=int)

    def validate_provider_group(self, field: StringField) -> None:
        with refusing_field():
            provider_roles.refuse_invalid(text(field))

    def offer(self) -> None:
        self.role.choices = [(int(role), role_name(role)) for role in MEMBER_ROLES]


Page = Response | tuple[str, int]


def routes(gate: Gate) -> Blueprint:
    blueprint = Blueprint("provider_roles", __name__, url_prefix="/admin/provider_roles")

    @blueprint.get("")
    @gate(Permission.READ_INSTANCE)
    def show() -> Page:
        return _page(_form(formdata=None))

    @blueprint.post("")
    @gate(Permission.ADMIN_INSTANCE)
    def add() -> Page:
        form = _form()
        is_readable, group = form.can_be_tried(), _group(form)
        if is_readable and group is not None:
            with form.refusals():
                provider_roles.add(text(form.provider_group), group, Role(form.role.data), by=principal())
                flash(gettext("The role was added. Each person gets it at their next sign-in."))
                return redirect(url_for("ui.provider_roles.show"), 303)
        return _page(form)

    @blueprint.post("/<id:role_id>/delete")
    @gate(Permission.ADMIN_INSTANCE)
    def delete(role_id: int) -> Response:
        provider_roles.delete(role_id, by=principal())
        flash(gettext("The role was deleted."))
        return redirect(url_for("ui.provider_roles.show"), 303)

    return blueprint


def _form(**options: object) -> ProviderRoleForm:
    form = ProviderRoleForm(role=int(Role.DEVELOPER), **options)
    form.offer()
    return form


def _group(form: ProviderRoleForm) -> Group | None:
    """Return the group with the submitted path; adds an error to the form if there is none."""
    if not text(form.group):
        return None
    try:
        return namespaces.by_path(text(form.group), Group)
    except NotFound:
        form.refuse("group", gettext("There is no group with this path."))
        return None


def _page(form: ProviderRoleForm) -> Page:
    page = render_template(
        "ui/admin/provider_roles.html",
        form=form,
        entries=provider_roles.provider_roles(),
        claim=current_app.config["OIDC_GROUPS_CLAIM"],
        admin_group=current_app.config["OIDC_ADMIN_GROUP"],
    )
    return page, form.status
