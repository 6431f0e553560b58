"""Pages of the user's own account: profile, password, language, and color scheme."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, url_for
from flask_babel import gettext, lazy_gettext, refresh
from werkzeug.wrappers import Response
from wtforms import BooleanField, EmailField, PasswordField, RadioField, SelectField, StringField, TextAreaField
from wtforms.validators import EqualTo, InputRequired, ValidationError

from registry.blueprints.auth import sessions
from registry.blueprints.auth.permits import Gate
from registry.blueprints.ui.forms import CurrentPasswordForm, Form, refusing_field
from registry.blueprints.ui.language import LANGUAGES
from registry.blueprints.ui.viewer import principal, signed_in
from registry.blueprints.ui.wording import sentence
from registry.database import utcnow
from registry.domain.access import Permission
from registry.domain.accounts import passwords, sign_in, users
from registry.domain.accounts.users import UserChanges
from registry.errors import Code, Fault
from registry.models import ColorScheme

_ = lazy_gettext


class ProfileForm(Form):
    """The own profile; another e-mail address requires the password."""

    name = StringField(_("Full name"))
    username = StringField(_("Username"))
    email = EmailField(_("Email"))
    bio = TextAreaField(_("Bio"))
    private_profile = BooleanField(_("Private profile"))
    current_password = PasswordField(_("Current password"))

    def validate_current_password(self, field: PasswordField) -> None:
        with refusing_field():
            email, password = self.email.data or "", field.data or ""
            sign_in.require_password_for_email(signed_in(), email, password, by=principal(), now=utcnow())

    def changes(self) -> UserChanges:
        return UserChanges(
            name=self.name.data or "",
            username=self.username.data or "",
            email=self.email.data or "",
            bio=self.bio.data or "",
            private_profile=self.private_profile.data,
        )


class PasswordForm(CurrentPasswordForm):
    password = PasswordField(_("New password"), [InputRequired(_("Enter a new password."))])
    repeated = PasswordField(_("Repeat new password"), [EqualTo("password", _("The passwords don't match."))])

    def validate_password(self, field: PasswordField) -> None:
        if field.data == self.current_password.data:
            raise ValidationError(sentence(Fault(Code.SAME_PASSWORD)))


class PreferencesForm(Form):
    language = SelectField(_("Language"))
    color_scheme = RadioField(_("Color scheme"))

    def offer(self) -> None:
        self.language.choices = [("", gettext("Same as browser")), *LANGUAGES.items()]
        self.color_scheme.choices = [
            (ColorScheme.AUTO.value, gettext("Same as system")),
            (ColorScheme.LIGHT.value, gettext("Light")),
            (ColorScheme.DARK.value, gettext("Dark")),
        ]


Page = Response | tuple[str, int]


def routes(gate: Gate) -> Blueprint:
    blueprint = Blueprint("account", __name__, url_prefix="/-/user_settings")

    @blueprint.route("/profile", methods=["GET", "POST"])
    @gate(Permission.USE_API)
    def profile() -> Page:
        """Show and change name, user name, bio, and with the password the e-mail address."""
        user = signed_in()
        form = ProfileForm(obj=user)
        if form.can_be_tried():
            with form.refusals():
                users.change_user(user, form.changes(), confirmed=principal().is_admin, by=principal())
                flash(gettext("Profile saved."))
                return redirect(url_for("ui.account.profile"), 303)
        return render_template("ui/account/profile.html", form=form, user=user), form.status

    @blueprint.route("/password/edit", methods=["GET", "POST"])
    @gate(Permission.USE_API)
    def password() -> Page:
        """Change the password, which ends all other sessions of the user."""
        user = signed_in()
        form = PasswordForm()
        if form.can_be_tried():
            with form.refusals():
                with sessions.restarting():
                    passwords.set_password(user, form.password.data or "", by=principal())
                flash(gettext("Password changed. Other sessions have been signed out."))
                return redirect(url_for("ui.explore.home"), 303)
        return render_template("ui/account/password.html", form=form, user=user), form.status

    @blueprint.route("/preferences", methods=["GET", "POST"])
    @gate(Permission.USE_API)
    def preferences() -> Page:
        """Show and change language and color scheme."""
        user = signed_in()
        form = PreferencesForm(language=user.preferred_language, color_scheme=user.color_scheme.value)
        form.offer()
        if form.validate_on_submit():
            users.change_preferences(
                user, language=form.language.data, color_scheme=ColorScheme(form.color_scheme.data)
            )
            refresh()  # the message is in the new language
            flash(gettext("Preferences saved."))
            return redirect(url_for("ui.account.preferences"), 303)
        return render_template("ui/account/preferences.html", form=form), form.status

    return blueprint
