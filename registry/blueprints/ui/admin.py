"""The admin area: overview, users, groups, projects, instance settings, and audit events."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from typing import cast

from flask import Blueprint, current_app, flash, redirect, render_template, request, url_for
from flask_babel import gettext, lazy_gettext, ngettext
from markupsafe import Markup
from werkzeug.wrappers import Response
from wtforms import (
    BooleanField,
    EmailField,
    IntegerField,
    PasswordField,
    StringField,
    TextAreaField,
)
from wtforms.validators import InputRequired, Optional

from registry.addresses import root_url
from registry.blueprints.auth.permits import Gate
from registry.blueprints.ui import pagination
from registry.blueprints.ui.exception_forms import ExceptionForm
from registry.blueprints.ui.explore import described
from registry.blueprints.ui.forms import Form, Within, search_text, text
from registry.blueprints.ui.frame import sentence_gap
from registry.blueprints.ui.setting_forms import SettingsForm, form_of
from registry.blueprints.ui.viewer import principal, signed_in
from registry.blueprints.ui.wording import refusal, sentence
from registry.database import db, is_sqlite, utcnow
from registry.domain import cascade, instance, namespaces, paging
from registry.domain.access import Permission
from registry.domain.accounts import access_tokens, passwords, second_factors
from registry.domain.accounts import users as accounts
from registry.domain.accounts.users import StateChange, UserChanges, UserDetails, UserFilter
from registry.domain.instance import InstanceChanges
from registry.domain.namespaces import NamespaceFilter
from registry.domain.packages import storage_use, usage
from registry.domain.settings import Section
from registry.domain.single_sign_on import identities
from registry.domain.upstream import exceptions, trying
from registry.domain.upstream.trying import Trial
from registry.errors import BadRequest, Code, Conflict, Fault, Forbidden
from registry.models import InstanceSettings, Namespace, User, UserState

_ = lazy_gettext

NEWEST = 5
MOST_GROUPS = 5  # of those that a lock changes
LARGEST_NUMBER = 2**31 - 1
PROJECTS_LIMIT = 100_000
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

Page = Response | tuple[str, int]


class UserForm(Form):
    name = StringField(_("Full name"), [InputRequired(_("This field is required."))])
    username = StringField(_("Username"), [InputRequired(_("This field is required."))])
    email = EmailField(_("Email"), [InputRequired(_("This field is required."))])
    is_admin = BooleanField(_("Administrator"))
    is_external = BooleanField(_("External"))
    can_create_group = BooleanField(_("Can create top-level groups"))
    projects_limit = IntegerField(_("Projects limit"), [Within(0, LARGEST_NUMBER, _("Enter a whole number."))])
    note = TextAreaField(_("Admin note"))

    def changes(self) -> UserChanges:
        return UserChanges(
            name=text(self.name),
            username=text(self.username),
            email=text(self.email),
            **vars(self.details()),
        )

    def details(self) -> UserDetails:
        return UserDetails(
            is_admin=self.is_admin.data,
            is_external=self.is_external.data,
            can_create_group=self.can_create_group.data,
            projects_limit=cast(int, self.projects_limit.data),  # a missing value is already an error
            note=self.note.data or "",
        )


class NewUserForm(UserForm):
    password = PasswordField(_("Password"), [Optional()])


GeneralForm = form_of(InstanceChanges, Section.VISIBILITY, Section.ACCOUNTS)
PackageRegistryForm = form_of(InstanceChanges, Section.PACKAGE_REGISTRY)
PublicIndexForm = form_of(InstanceChanges, Section.PUBLIC_INDEX)
TrustedPublishingForm = form_of(InstanceChanges, Section.TRUSTED_PUBLISHING)
SizeLimitForm = form_of(InstanceChanges, Section.SIZE_LIMITS)


def routes(gate: Gate) -> Blueprint:
    blueprint = Blueprint("admin", __name__, url_prefix="/admin")
    _add_lists(blueprint, gate)
    _add_users(blueprint, gate)
    _add_settings(blueprint, gate)
    return blueprint


def _add_lists(blueprint: Blueprint, gate: Gate) -> None:
    @blueprint.get("")
    @gate(Permission.READ_INSTANCE)
    def dashboard() -> str:
        """Show totals of the instance, and the latest additions."""
        newest = NamespaceFilter(order_by="id", descending=True)
        return render_template(
            "ui/admin/dashboard.html",
            totals=storage_use.totals(),
            users=paging.page(accounts.users(UserFilter(), by_email=True), 1, NEWEST),
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
            found=pagination.page(accounts.users(wanted, by_email=True)),
            counts=accounts.counts(),
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
        gettext("Registry"): version("private-pypi-registry"),
        "Python": platform.python_version(),
        "Flask": version("flask"),
        gettext("Database"): "SQLite" if is_sqlite(db.engine) else "PostgreSQL",
        gettext("Public index"): current_app.config["UPSTREAM_URL"],
        gettext("Address"): root_url(request.environ).rstrip("/"),
    }


def _add_users(blueprint: Blueprint, gate: Gate) -> None:
    @blueprint.route("/users/new", methods=["GET", "POST"])
    @gate(Permission.ADMIN_INSTANCE)
    def new_user() -> Page:
        """Create a user whose password must be changed at the first sign-in."""
        form = NewUserForm(can_create_group=InstanceSettings.current().can_create_group, projects_limit=PROJECTS_LIMIT)
        if form.can_be_tried():
            chosen = form.password.data
            password = chosen or passwords.generated()
            with form.refusals():
                user = accounts.create_user(
                    username=text(form.username),
                    email=text(form.email),
                    name=text(form.name),
                    password=password,
                    must_change_password=True,
                    details=form.details(),
                    by=principal(),
                )
                flash(gettext("User %(name)s was created.", name=user.name))
                if chosen:
                    return _to_user(user)
                return _user_page(user, password=password)
        return render_template("ui/admin/user_form.html", form=form, user=None), form.status

    @blueprint.get("/users/<username>")
    @gate(Permission.READ_INSTANCE)
    def user(username: str) -> Page:
        return _user_page(accounts.find_username(username))

    @blueprint.route("/users/<username>/edit", methods=["GET", "POST"])
    @gate(Permission.ADMIN_INSTANCE)
    def edit_user(username: str) -> Page:
        user = accounts.find_username(username)
        form = UserForm(obj=user)
        if form.can_be_tried():
            if not form.is_admin.data and accounts.is_last_administrator(user):
                form.refuse("is_admin", sentence(Fault(Code.LAST_ADMINISTRATOR)))
            with form.refusals():
                accounts.change_user(user, form.changes(), by=principal())
                flash(gettext("User %(name)s was saved.", name=user.name))
                return _to_user(user)
        return render_template("ui/admin/user_form.html", form=form, user=user), form.status

    @blueprint.post(f"/users/<username>/<any({','.join(StateChange)}):verb>")
    @gate(Permission.ADMIN_INSTANCE)
    def change_state(username: str, verb: str) -> Response:
        """Block, unblock, deactivate, or activate a user."""
        user, change = accounts.find_username(username), StateChange(verb)
        with _refusals_flashed():
            accounts.change_state(user, change, by=principal())
            flash(_done(change, user))
        return _to_user(user)

    @blueprint.post("/users/<username>/confirm_email")
    @gate(Permission.ADMIN_INSTANCE)
    def confirm_email(username: str) -> Response:
        """Confirm the e-mail address, by which others then find the user."""
        user = accounts.find_username(username)
        accounts.confirm_email(user, by=principal())
        flash(gettext("The email of %(name)s was confirmed.", name=user.name))
        return _to_user(user)

    @blueprint.post("/users/<username>/reset_password")
    @gate(Permission.ADMIN_INSTANCE)
    def reset_password(username: str) -> Page:
        """Generate a password, which is shown once and must be changed at the next sign-in."""
        user = accounts.find_username(username)
        password = passwords.generated()
        passwords.set_password(user, password, must_change=True, by=principal())
        return _user_page(user, password=password)

    @blueprint.post("/users/<username>/disable_two_factor")
    @gate(Permission.ADMIN_INSTANCE)
    def disable_two_factor(username: str) -> Response:
        """Remove the second factors of a user who has lost them."""
        user = accounts.find_username(username)
        with _refusals_flashed():
            second_factors.disable(user, by=principal())
            flash(gettext("Two-factor authentication of %(name)s was disabled.", name=user.name))
        return _to_user(user)

    @blueprint.post("/users/<username>/delete")
    @gate(Permission.ADMIN_INSTANCE)
    def delete_user(username: str) -> Response:
        user = accounts.find_username(username)
        name = user.name
        with _refusals_flashed():
            accounts.delete_user(user, by=principal())
            flash(gettext("User %(name)s was deleted.", name=name))
            return redirect(url_for("ui.admin.users"), 303)
        return _to_user(user)


def _user_page(user: User, *, password: str | None = None) -> Page:
    """Render the page of a user.

    :param password: the password just generated, which is shown only once.
    """
    space = accounts.personal_namespace(user)
    active_tokens = access_tokens.access_tokens(
        access_tokens.AccessTokenFilter(user_id=user.id, is_active=True), by=principal(), now=utcnow()
    )
    page = render_template(
        "ui/admin/user.html",
        user=user,
        password=password,
        is_self=user == signed_in(),
        memberships=pagination.page(namespaces.memberships_of(user)),
        own=namespaces.counts_below(space),
        own_bytes=usage.size_of(space.id),
        active_tokens=paging.page(active_tokens, 1, 1).total,
        identities=identities.identities_of(user),
    )
    return page, 200


def _to_user(user: User) -> Response:
    return redirect(url_for("ui.admin.user", username=user.username), 303)


def _done(change: StateChange, user: User) -> str:
    sentences = {
        StateChange.BLOCK: gettext("User %(name)s was blocked.", name=user.name),
        StateChange.UNBLOCK: gettext("User %(name)s was unblocked.", name=user.name),
        StateChange.DEACTIVATE: gettext("User %(name)s was deactivated.", name=user.name),
        StateChange.ACTIVATE: gettext("User %(name)s was activated.", name=user.name),
    }
    return str(sentences[change])


@contextmanager
def _refusals_flashed() -> Iterator[None]:
    """Flash the message of an error of the domain in the block, and continue after it."""
    try:
        yield
    except (BadRequest, Conflict, Forbidden) as error:
        flash(refusal(error), "error")


def _add_settings(blueprint: Blueprint, gate: Gate) -> None:
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
        form = PackageRegistryForm.of(InstanceSettings.current())
        if form.can_be_tried():
            with form.refusals():
                instance.change_instance(form.changes(InstanceChanges), by=principal())
                return _saved("ui.admin.ci_cd")
        return _ci_cd_page(form)

    @blueprint.post("/application_settings/public_index")
    @gate(Permission.ADMIN_INSTANCE)
    def public_index() -> Page:
        """Change the rules about the public index."""
        form = PublicIndexForm.of(InstanceSettings.current())
        if form.can_be_tried():
            with form.refusals():
                instance.change_instance(form.changes(InstanceChanges), by=principal())
                return _saved("ui.admin.ci_cd")
        return _ci_cd_page(form)

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
        form = TrustedPublishingForm.of(InstanceSettings.current())
        if form.can_be_tried():
            with form.refusals():
                instance.change_instance(form.changes(InstanceChanges), by=principal())
                return _saved("ui.admin.ci_cd")
        return _ci_cd_page(form)

    @blueprint.post("/plan_limits")
    @gate(Permission.ADMIN_INSTANCE)
    def size_limits() -> Page:
        """Change the maximum file size, up to the configured one, and storage limits."""
        form = _size_form()
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
