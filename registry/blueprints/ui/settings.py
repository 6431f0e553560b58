"""Settings › Packages and registries: forwarding of groups; access, duplicates, remarks, and protection rules."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_babel import gettext, lazy_gettext
from werkzeug.wrappers import Response
from wtforms import BooleanField, SelectField, StringField
from wtforms.validators import InputRequired, ValidationError

from registry.blueprints.auth.permits import Gate
from registry.blueprints.ui import pagination
from registry.blueprints.ui.exception_forms import ExceptionForm
from registry.blueprints.ui.forms import Form, RegistryAccessForm, search_text, text
from registry.blueprints.ui.setting_forms import field_of, form_of, sent_value, shown_value
from registry.blueprints.ui.viewer import principal, visible_group
from registry.blueprints.ui.wording import role_name, sentence
from registry.database import utcnow
from registry.domain import access, cascade, namespaces
from registry.domain.access import Permission
from registry.domain.cascade import FORWARDING, JOB_ALLOWLISTS, PUBLIC_INDEX, CascadingSetting, Standing
from registry.domain.instance import HINTS_OF_GROUPS, SETTINGS_BY_NAME
from registry.domain.namespaces import ProjectChanges, ProjectSettings
from registry.domain.packages import names, protection, reserved
from registry.domain.packages.protection import RuleChanges
from registry.domain.settings import Section
from registry.domain.upstream import exceptions, trying
from registry.domain.upstream.trying import Trial
from registry.errors import Code, Fault, NotFound
from registry.models import Group, Project, ProtectionRule, Role

_ = lazy_gettext

GROUP_SETTINGS = "/groups/<page_group:group>/-/settings/packages_and_registries"
RESERVED_NAMES = "/groups/<page_group:group>/-/settings/reserved_names"
PROJECT_SETTINGS = "/<page_project:project>/-/settings/packages_and_registries"

Page = Response | tuple[str, int]


class CascadingForm(Form):
    """A setting of a group, and whether it is locked for subgroups; its fields have the names of the setting."""

    setting: ClassVar[CascadingSetting[Any]]

    @classmethod
    def of(cls, standing: Standing[Any], **options: object) -> CascadingForm:
        shown = shown_value(cls.setting.any_kind, cls.shown_of(standing))
        return cls(**{cls.setting.name: shown, cls.setting.lock_name: standing.lock}, **options)

    @classmethod
    def shown_of(cls, standing: Standing[Any]) -> Any:
        """Return the effective value, or of a list that adds up the group's own entries."""
        return standing.value if cls.setting.adds_up else standing.effective

    @property
    def value(self) -> Any:
        return self[self.setting.name]

    @property
    def lock(self) -> Any:
        return self[self.setting.lock_name]


class ForwardingForm(CascadingForm):
    setting = FORWARDING
    pypi_package_requests_forwarding = BooleanField(_("Forward PyPI package requests"))
    lock_pypi_package_requests_forwarding = BooleanField(_("Enforce PyPI setting for all subgroups"))


class JobAllowlistsForm(CascadingForm):
    setting = JOB_ALLOWLISTS
    enforce_job_token_allowlists_on_group_endpoints = BooleanField(_("Enforce job token allowlists on group endpoints"))
    lock_enforce_job_token_allowlists_on_group_endpoints = BooleanField(_("Enforce this setting for all subgroups"))


def _rule_form_of(setting: CascadingSetting[Any]) -> type[CascadingForm]:
    """Create a form class for a rule about the public index."""
    of_instance = SETTINGS_BY_NAME[setting.name]
    fields = {
        setting.name: field_of(replace(of_instance, hint=HINTS_OF_GROUPS.get(setting.name, of_instance.hint))),
        setting.lock_name: BooleanField(
            _("Enforce this setting for all subgroups"), description=_("Subgroups cannot change it.")
        ),
    }
    made: type[CascadingForm] = type("RuleForm", (CascadingForm,), {"setting": setting, **fields})
    return made


RULE_FORMS = {setting.name: _rule_form_of(setting) for setting in PUBLIC_INDEX}
DuplicatesForm = form_of(ProjectSettings, Section.DUPLICATES)
RemarksForm = form_of(ProjectSettings, Section.REMARKS)


class ProtectionRuleForm(Form):
    pattern = StringField(_("Name pattern"), [InputRequired(_("This field is required."))])
    package_type = SelectField(_("Package type"))
    push = SelectField(_("Minimum role for publishing"))
    delete = SelectField(_("Minimum role for deleting"))

    def offer(self) -> None:
        self.package_type.choices = [("pypi", "PyPI")]
        self.push.choices = [
            ("", gettext("Developer (default)")),
            *((str(int(role)), role_name(role)) for role in (Role.MAINTAINER, Role.OWNER, Role.ADMIN)),
        ]
        self.delete.choices = [
            ("", gettext("Maintainer (default)")),
            *((str(int(role)), role_name(role)) for role in (Role.OWNER, Role.ADMIN)),
        ]

    def validate_push(self, field: SelectField) -> None:
        """Refuse a rule that changes nothing."""
        if not field.data and not self.delete.data:
            raise ValidationError(sentence(Fault(Code.RULE_WITHOUT_ROLE)))

    def roles(self) -> tuple[Role | None, Role | None]:
        """Return the minimum roles to publish and to delete; ``None`` for the default."""
        push, delete = (Role(int(field.data)) if field.data else None for field in (self.push, self.delete))
        return push, delete


def routes(gate: Gate) -> Blueprint:
    blueprint = Blueprint("settings", __name__)

    @blueprint.get(GROUP_SETTINGS)
    @gate(Permission.CHANGE_PACKAGE_SETTINGS)
    def group_packages_and_registries(group: Group) -> Page:
        """Show request forwarding of a group, and whether job token allowlists count in it."""
        return _group_page(group)

    @blueprint.post(GROUP_SETTINGS)
    @gate(Permission.CHANGE_PACKAGE_SETTINGS)
    def change_forwarding(group: Group) -> Page:
        return _change_cascading(group, ForwardingForm)

    @blueprint.post(f"{GROUP_SETTINGS}/inherit")
    @gate(Permission.CHANGE_PACKAGE_SETTINGS)
    def group_inherit(group: Group) -> Response:
        """Reset request forwarding to the inherited value."""
        FORWARDING.change(group, value=None, lock=False, by=principal())
        return _saved(group)

    @blueprint.post(f"{GROUP_SETTINGS}/job_token_allowlists")
    @gate(Permission.CHANGE_PACKAGE_SETTINGS)
    def change_job_allowlists(group: Group) -> Page:
        """Change whether job token allowlists count on group endpoints."""
        return _change_cascading(group, JobAllowlistsForm)

    @blueprint.post(f"{GROUP_SETTINGS}/job_token_allowlists/inherit")
    @gate(Permission.CHANGE_PACKAGE_SETTINGS)
    def inherit_job_allowlists(group: Group) -> Response:
        JOB_ALLOWLISTS.change(group, value=None, lock=False, by=principal())
        return _saved(group)

    @blueprint.post(f"{GROUP_SETTINGS}/public_index/<name>")
    @gate(Permission.CHANGE_PACKAGE_SETTINGS)
    def change_rule(group: Group, name: str) -> Page:
        """Change a rule about the public index."""
        return _change_cascading(group, _form_for(name))

    @blueprint.post(f"{GROUP_SETTINGS}/public_index/<name>/try")
    @gate(Permission.CHANGE_PACKAGE_SETTINGS)
    def try_rule(group: Group, name: str) -> Page:
        """Show what a changed rule about the public index would withhold."""
        return _try_rule(group, _form_for(name))

    @blueprint.post(f"{GROUP_SETTINGS}/public_index/<name>/inherit")
    @gate(Permission.CHANGE_PACKAGE_SETTINGS)
    def inherit_rule(group: Group, name: str) -> Response:
        _form_for(name).setting.change(group, value=None, lock=False, by=principal())
        return _saved(group)

    @blueprint.get(RESERVED_NAMES)
    @gate(Permission.OWN_NAMESPACE)
    def reserved_names(group: Group) -> Page:
        """Show the names that are reserved in a top-level group."""
        return _reserved_names_page(group)

    @blueprint.post(f"{RESERVED_NAMES}/release")
    @gate(Permission.OWN_NAMESPACE)
    def release_name(group: Group) -> Response:
        """Release a name of which nothing is left."""
        name = request.form.get("name", "")
        reserved.release(group, name, by=principal())
        flash(gettext("The name %(name)s is released.", name=names.normalized(name)))
        return redirect(url_for("ui.settings.reserved_names", group=group), 303)

    @blueprint.post(f"{GROUP_SETTINGS}/upstream_exceptions")
    @gate(Permission.CHANGE_PACKAGE_SETTINGS)
    def add_exception(group: Group) -> Page:
        """Add an exception to the minimum age of upstream files."""
        form = ExceptionForm()
        if form.can_be_tried():
            with form.refusals():
                form.add_to(group)
                return _saved(group)
        return _group_page(group, form)

    @blueprint.post(f"{GROUP_SETTINGS}/upstream_exceptions/<id:exception_id>/delete")
    @gate(Permission.CHANGE_PACKAGE_SETTINGS)
    def remove_exception(group: Group, exception_id: int) -> Response:
        exceptions.remove_exception(exceptions.exception_of(group, exception_id), group, by=principal())
        return _saved(group)

    @blueprint.get(PROJECT_SETTINGS)
    @gate(Permission.READ_PACKAGE_SETTINGS)
    def project_packages_and_registries(project: Project) -> Page:
        """Show access to the registry, and protection rules."""
        return _project_page(project)

    @blueprint.post(f"{PROJECT_SETTINGS}/access")
    @gate(Permission.OWN_NAMESPACE)
    def change_access(project: Project) -> Page:
        form = _access_form(project)
        if form.can_be_tried():
            with form.refusals():
                namespaces.change(project, ProjectChanges(registry_access=form.chosen()), by=principal())
                return _saved(project)
        return _project_page(project, access_form=form)

    @blueprint.post(f"{PROJECT_SETTINGS}/duplicates")
    @gate(Permission.ADMIN_NAMESPACE)
    def change_duplicates(project: Project) -> Response:
        """Change whether identical uploads of existing files are accepted."""
        namespaces.change(project, DuplicatesForm().changes(ProjectChanges), by=principal())
        return _saved(project)

    @blueprint.post(f"{PROJECT_SETTINGS}/remarks")
    @gate(Permission.ADMIN_NAMESPACE)
    def change_remarks(project: Project) -> Response:
        """Change whether files with remarks are refused."""
        namespaces.change(project, RemarksForm().changes(ProjectChanges), by=principal())
        return _saved(project)

    @blueprint.post(f"{PROJECT_SETTINGS}/protection_rules")
    @gate(Permission.ADMIN_PACKAGE)
    def add_protection_rule(project: Project) -> Page:
        form = _rule_form()
        if form.can_be_tried():
            with form.refusals():
                push, delete = form.roles()
                protection.add_protection_rule(
                    project, pattern=text(form.pattern), push=push, delete=delete, by=principal()
                )
                flash(gettext("Package protection rule created."))
                return _to_rules(project)
        return _project_page(project, rule_form=form)

    @blueprint.route(f"{PROJECT_SETTINGS}/protection_rules/<id:rule_id>", methods=["GET", "POST"])
    @gate(Permission.ADMIN_PACKAGE)
    def edit_protection_rule(project: Project, rule_id: int) -> Page:
        rule = protection.protection_rule(project, rule_id)
        form = _rule_form(rule)
        if form.can_be_tried():
            with form.refusals():
                push, delete = form.roles()
                changes = RuleChanges(pattern=text(form.pattern), minimum_push_role=push, minimum_delete_role=delete)
                protection.change_protection_rule(rule, changes, project, by=principal())
                flash(gettext("Package protection rule updated."))
                return _to_rules(project)
        page = render_template("ui/settings/protection_rule.html", namespace=project, rule_id=rule_id, form=form)
        return page, form.status

    @blueprint.post(f"{PROJECT_SETTINGS}/protection_rules/<id:rule_id>/delete")
    @gate(Permission.ADMIN_PACKAGE)
    def delete_protection_rule(project: Project, rule_id: int) -> Response:
        protection.delete_protection_rule(protection.protection_rule(project, rule_id), project, by=principal())
        flash(gettext("Package protection rule deleted."))
        return _to_rules(project)

    return blueprint


def _change_cascading(group: Group, kind: type[CascadingForm]) -> Page:
    standing = kind.setting.of_group(group)
    form = kind.of(standing)
    if form.can_be_tried():
        with form.refusals():
            kind.setting.change(group, value=_chosen(form, standing), lock=form.lock.data, by=principal())
            return _saved(group)
    return _group_page(group, form)


def _try_rule(group: Group, kind: type[CascadingForm]) -> Page:
    standing = kind.setting.of_group(group)
    form = kind.of(standing)
    if form.validate_on_submit():
        with form.refusals():
            value = _chosen(form, standing)
            changed = {kind.setting.lock_name: form.lock.data} | ({} if value is ... else {kind.setting.name: value})
            return _group_page(group, form, trying.try_change(group, changed, utcnow()))
    return _group_page(group, form)


def _chosen(form: CascadingForm, standing: Standing[Any]) -> Any:
    """Return the group's new value; a group that inherits keeps inheriting if the field is unchanged."""
    kind = form.setting.any_kind
    value = sent_value(kind, form.value)
    return ... if shown_value(kind, value) == shown_value(kind, form.shown_of(standing)) else value


def _form_for(name: str) -> type[CascadingForm]:
    if name not in RULE_FORMS:
        raise NotFound
    return RULE_FORMS[name]


def _group_page(group: Group, sent: Form | None = None, trial: Trial | None = None) -> Page:
    """Render the forms of all settings: the submitted one with its errors, and the others with current values.

    :param trial: what the submitted rule would withhold.
    """
    standings = {setting.name: standing for setting, standing in cascade.standings(group)}

    def shown(kind: type[CascadingForm]) -> dict[str, object]:
        standing = standings[kind.setting.name]
        return {
            "standing": standing,
            "form": sent if isinstance(sent, kind) else kind.of(standing, formdata=None),
            "source": visible_group(standing.inherited_from),
            "locker": visible_group(standing.locked_by),
        }

    page = render_template(
        "ui/settings/group.html",
        namespace=group,
        forwarding=shown(ForwardingForm),
        rules={name: shown(kind) for name, kind in RULE_FORMS.items()},
        exceptions=exceptions.exceptions_of(group),
        exception_form=sent if isinstance(sent, ExceptionForm) else ExceptionForm(formdata=None),
        job_allowlists=shown(JobAllowlistsForm),
        trial=trial,
        tried=sent.setting.name if isinstance(sent, CascadingForm) else None,
    )
    return page, 200 if sent is None else sent.status


def _reserved_names_page(group: Group) -> Page:
    search = search_text()
    found = pagination.page(reserved.names_in(group, search))
    used = reserved.names_in_use(group, [row.normalized_name for row in found.items])
    return render_template("ui/settings/reserved_names.html", namespace=group, found=found, text=search, used=used), 200


def _project_page(
    project: Project, *, access_form: RegistryAccessForm | None = None, rule_form: ProtectionRuleForm | None = None
) -> Page:
    sent = access_form or rule_form
    forwards, decided_by = FORWARDING.decision_in(project)
    page = render_template(
        "ui/settings/project.html",
        namespace=project,
        access_form=access_form or _access_form(project, formdata=None),
        rule_form=rule_form or _rule_form(formdata=None),
        duplicates_form=DuplicatesForm.of(project, formdata=None),
        remarks_form=RemarksForm.of(project, formdata=None),
        rules=protection.protection_rules(project),
        anyone_may_pull_is_offered=access.anyone_may_pull() and namespaces.can_open_registry(project, principal()),
        forwards=forwards,
        decided_by=decided_by,
        decider=visible_group(decided_by),
    )
    return page, 200 if sent is None else sent.status


def _access_form(project: Project, **options: object) -> RegistryAccessForm:
    form = RegistryAccessForm(**RegistryAccessForm.standing(project), **options)
    form.offer()
    return form


def _rule_form(rule: ProtectionRule | None = None, **options: object) -> ProtectionRuleForm:
    form = ProtectionRuleForm(
        pattern="" if rule is None else rule.pattern,
        package_type="pypi",
        push=_level(None if rule is None else rule.minimum_push_role),
        delete=_level(None if rule is None else rule.minimum_delete_role),
        **options,
    )
    form.offer()
    return form


def _level(role: Role | None) -> str:
    return "" if role is None else str(int(role))


def _saved(namespace: Project | Group) -> Response:
    flash(gettext("Settings saved successfully."))
    if isinstance(namespace, Group):
        return redirect(url_for("ui.settings.group_packages_and_registries", group=namespace), 303)
    return redirect(url_for("ui.settings.project_packages_and_registries", project=namespace), 303)


def _to_rules(project: Project) -> Response:
    address = url_for("ui.settings.project_packages_and_registries", project=project, _anchor="protected-packages")
    return redirect(address, 303)
