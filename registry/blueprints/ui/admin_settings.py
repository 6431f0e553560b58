"""The admin area: the settings of the instance."""

from __future__ import annotations

from flask import Blueprint, current_app, flash, redirect, render_template, url_for
from flask_babel import gettext, lazy_gettext, ngettext
from markupsafe import Markup
from werkzeug.wrappers import Response

from registry.blueprints.auth.permits import Gate
from registry.blueprints.ui.exception_forms import ExceptionForm
from registry.blueprints.ui.forms import Form
from registry.blueprints.ui.frame import sentence_gap
from registry.blueprints.ui.setting_forms import SettingsForm, form_of
from registry.blueprints.ui.viewer import principal
from registry.database import utcnow
from registry.domain import cascade, instance
from registry.domain.access import Permission
from registry.domain.instance import InstanceChanges
from registry.domain.settings import Section
from registry.domain.upstream import exceptions, trying
from registry.domain.upstream.trying import Trial
from registry.models import InstanceSettings

_ = lazy_gettext

MOST_GROUPS = 5  # of those that a lock changes

Page = Response | tuple[str, int]


GeneralForm = form_of(InstanceChanges, Section.VISIBILITY, Section.ACCOUNTS)
PackageRegistryForm = form_of(InstanceChanges, Section.PACKAGE_REGISTRY)
PublicIndexForm = form_of(InstanceChanges, Section.PUBLIC_INDEX)
TrustedPublishingForm = form_of(InstanceChanges, Section.TRUSTED_PUBLISHING)
SizeLimitForm = form_of(InstanceChanges, Section.SIZE_LIMITS)


def add_to(blueprint: Blueprint, gate: Gate) -> None:
    """Add the pages to the blueprint of the admin area."""

    @blueprint.get("/application_settings")
    @gate(Permission.READ_INSTANCE)
    def application_settings() -> Response:
        return redirect(url_for("ui.admin.general"), 302)

    @blueprint.route("/application_settings/general", methods=["GET", "POST"])
    @gate(Permission.ADMIN_INSTANCE)
    def general() -> Page:
        """Show and change settings of visibility, accounts, and tokens."""
        form = GeneralForm.of(InstanceSettings.current())
        if form.can_be_tried():
            with form.refusals():
                instance.change_instance(form.changes(InstanceChanges), by=principal())
                return _saved("ui.admin.general")
        return render_template("ui/admin/general.html", form=form), form.status

    @blueprint.route("/application_settings/ci_cd", methods=["GET", "POST"])
    @gate(Permission.ADMIN_INSTANCE)
    def ci_cd() -> Page:
        """Show and change settings of the package registry."""
        return _change(PackageRegistryForm.of(InstanceSettings.current()))

    @blueprint.post("/application_settings/public_index")
    @gate(Permission.ADMIN_INSTANCE)
    def public_index() -> Page:
        """Change the rules about the public index."""
        return _change(PublicIndexForm.of(InstanceSettings.current()))

    @blueprint.post("/application_settings/public_index/try")
    @gate(Permission.ADMIN_INSTANCE)
    def try_public_index() -> Page:
        """Show what changed rules about the public index would withhold."""
        form = PublicIndexForm.of(InstanceSettings.current())
        if form.validate_on_submit():
            with form.refusals():
                changed = form.changes(InstanceChanges).given()
                return _ci_cd_page(form, trying.try_change(None, changed, utcnow()))
        return _ci_cd_page(form)

    @blueprint.post("/application_settings/upstream_exceptions")
    @gate(Permission.ADMIN_INSTANCE)
    def add_exception() -> Page:
        """Add an exception to the minimum age of upstream files, for the whole instance."""
        form = ExceptionForm()
        if form.can_be_tried():
            with form.refusals():
                form.add_to(None)
                return _saved("ui.admin.ci_cd")
        return _ci_cd_page(form)

    @blueprint.post("/application_settings/upstream_exceptions/<id:exception_id>/delete")
    @gate(Permission.ADMIN_INSTANCE)
    def remove_exception(exception_id: int) -> Response:
        exceptions.remove_exception(exceptions.exception_of(None, exception_id), None, by=principal())
        return _saved("ui.admin.ci_cd")

    @blueprint.post("/application_settings/trusted_publishing")
    @gate(Permission.ADMIN_INSTANCE)
    def trusted_publishing() -> Page:
        """Change the issuers that Maintainers can trust."""
        return _change(TrustedPublishingForm.of(InstanceSettings.current()))

    @blueprint.post("/plan_limits")
    @gate(Permission.ADMIN_INSTANCE)
    def size_limits() -> Page:
        """Change the maximum file size, up to the configured one, and storage limits."""
        return _change(_size_form())


def _change(form: SettingsForm) -> Page:
    """Change settings by one of the forms of the page ``ci_cd``."""
    if form.can_be_tried():
        with form.refusals():
            instance.change_instance(form.changes(InstanceChanges), by=principal())
            return _saved("ui.admin.ci_cd")
    return _ci_cd_page(form)


def _ci_cd_page(sent: Form, trial: Trial | None = None) -> Page:
    """Render all forms: the submitted one with its errors, and the others with current values.

    :param trial: what the submitted rules would withhold.
    """
    current = InstanceSettings.current()
    form = sent if isinstance(sent, PackageRegistryForm) else PackageRegistryForm.of(current, formdata=None)
    index_form = sent if isinstance(sent, PublicIndexForm) else PublicIndexForm.of(current, formdata=None)
    _describe_locks(form, index_form)
    is_trust = isinstance(sent, TrustedPublishingForm)
    page = render_template(
        "ui/admin/ci_cd.html",
        form=form,
        index_form=index_form,
        trust_form=sent if is_trust else TrustedPublishingForm.of(current, formdata=None),
        size_form=sent if isinstance(sent, SizeLimitForm) else _size_form(formdata=None),
        exceptions=exceptions.exceptions_of(None),
        exception_form=sent if isinstance(sent, ExceptionForm) else ExceptionForm(formdata=None),
        configured_bytes=current_app.config["MAX_FILE_SIZE"],
        upstream_url=current_app.config["UPSTREAM_URL"],
        trial=trial,
    )
    return page, sent.status


def _describe_locks(*forms: Form) -> None:
    """Add to each lock which groups it changes."""
    deviations = cascade.deviations(MOST_GROUPS)
    for setting in cascade.SETTINGS:
        for form in forms:
            if setting.name in deviations and setting.lock_name in form:
                lock = form[setting.lock_name]
                gap = sentence_gap() if lock.description else ""
                lock.description = Markup("{}{}{}").format(lock.description, gap, _changed(deviations[setting.name]))


def _changed(deviation: cascade.Deviation) -> Markup:
    """Return which groups have their own values, with links to these."""
    changed = ngettext(
        "%(num)d group has its own value, which does not apply while this is enforced:",
        "%(num)d groups have their own values, which do not apply while this is enforced:",
        deviation.number,
    )
    links = [
        Markup('<a href="{}">{}</a>').format(
            url_for("ui.settings.group_packages_and_registries", group=group), group.full_path
        )
        for group in deviation.groups
    ]
    left = deviation.number - len(links)
    more = [ngettext("and %(num)s other", "and %(num)s others", left)] if left else []
    return Markup("{} {}").format(changed, Markup(", ").join([*links, *more]))


def _size_form(**options: object) -> SettingsForm:
    """With the largest file that is accepted in the place of the instance's own limit."""
    accepted = instance.max_file_size(current_app.config["MAX_FILE_SIZE"])
    return SizeLimitForm.of(InstanceSettings.current(), pypi_max_file_size=accepted, **options)


def _saved(endpoint: str) -> Response:
    flash(gettext("Application settings saved successfully."))
    return redirect(url_for(endpoint), 303)
