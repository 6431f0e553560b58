"""The admin area: the pages of a user, and what administrators do with users."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from flask import Blueprint, flash, redirect, render_template, url_for
from flask_babel import gettext, lazy_gettext
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

from registry.blueprints.auth.permits import Gate
from registry.blueprints.ui import pagination
from registry.blueprints.ui.forms import Form, Within, text
from registry.blueprints.ui.viewer import principal, signed_in
from registry.blueprints.ui.wording import refusal, sentence
from registry.database import utcnow
from registry.domain import namespaces, paging
from registry.domain.access import Permission
from registry.domain.accounts import access_tokens, passwords, second_factors
from registry.domain.accounts import users as accounts
from registry.domain.accounts.users import StateChange, UserChanges, UserDetails
from registry.domain.packages import usage
from registry.domain.single_sign_on import identities
from registry.errors import BadRequest, Code, Conflict, Fault, Forbidden
from registry.models import InstanceSettings, User

_ = lazy_gettext

LARGEST_NUMBER = 2**31 - 1
PROJECTS_LIMIT = 100_000

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


def add_to(blueprint: Blueprint, gate: Gate) -> None:
    """Add the pages to the blueprint of the admin area."""

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
