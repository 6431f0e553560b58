"""Flask-WTF forms, which only parse and redisplay input; the rules are in the domain."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any, ClassVar, TypedDict

from flask import request
from flask_babel import gettext, lazy_gettext
from flask_wtf import FlaskForm
from wtforms import (
    BooleanField,
    DateField,
    DateTimeLocalField,
    IntegerField,
    PasswordField,
    RadioField,
    SelectField,
    SelectMultipleField,
    StringField,
    TextAreaField,
)
from wtforms.fields.choices import SelectFieldBase
from wtforms.validators import InputRequired, NumberRange, Optional, ValidationError
from wtforms.widgets import TextInput

from registry.blueprints.ui.viewer import principal, signed_in
from registry.blueprints.ui.wording import refusal, role_name, sentence, visibility_name
from registry.database import rehearsal, utcnow
from registry.domain import namespaces
from registry.domain.accounts import sign_in
from registry.domain.namespaces import GroupChanges, ProjectChanges
from registry.errors import AlreadyTaken, BadRequest, Code, Conflict, Fault, InvalidRecord, PlainRefusal
from registry.models import MEMBER_ROLES, CreationLevel, Group, Namespace, Project, RegistryAccess, Role, Visibility

_ = lazy_gettext

# Names of fields in the domain that differ from those in forms.
_FIELDS = {
    "access_level": "role",
    "expires_at": "expires_on",
    "limit_reached": "namespace_id",
    "namespace": "namespace_id",
    "package_registry_access_level": "registry_access",
    "parent": "parent_id",
    "project_namespace.name": "path",
    "source_project": "path",
    "target_project": "path",
    "visibility_level": "visibility",
}


# Fields that refusals of the domain without a field are about.
_FIELD_OF = {
    Code.ALREADY_MEMBER: "username",
    Code.INVALID_PATTERN: "pattern",
    Code.NO_SCOPE: "scopes",
    Code.PATTERN_TAKEN: "pattern",
}

# What to enter where a field of a type could not be read.
_CHOICE_EXPECTED = _("Choose one of the available options.")
_EXPECTED = {
    DateField: _("Enter a date, such as 2030-12-31."),
    DateTimeLocalField: _("Enter a date and time, such as 2030-12-31T12:00."),
}


class Form(FlaskForm):  # type: ignore[misc]
    """Base of all forms. They do not check the CSRF token, which is checked for all pages in one place.

    :cvar shown_last: fields that pages show after those of subclasses.
    """

    shown_last: ClassVar[frozenset[str]] = frozenset()

    class Meta(FlaskForm.Meta):  # type: ignore[misc]
        csrf = False

        def bind_field(self, form: Any, unbound_field: Any, options: dict[str, Any]) -> Any:
            field = unbound_field.bind(form=form, filters=[storable], **options)
            field.form = form
            field.invalid_choice_message = _CHOICE_EXPECTED
            is_choice = isinstance(field, SelectFieldBase)
            field.invalid_value_message = _CHOICE_EXPECTED if is_choice else _EXPECTED.get(type(field))
            return field

        def render_field(self, field: Any, render_kw: dict[str, Any]) -> Any:
            """Render a field; after errors, the first wrong one gets the focus, also without scripts."""
            first_wrong = field.form.first_wrong if hasattr(field, "form") else None
            if first_wrong is not None:
                render_kw = {**render_kw, "autofocus": field is first_wrong}
            return super().render_field(field, render_kw)

    @property
    def first_wrong(self) -> Any:
        """The first field with errors; ``None`` if there is none."""
        shown = sorted(self, key=lambda field: field.short_name in self.shown_last)
        return next((field for field in shown if field.errors), None)

    @property
    def status(self) -> int:
        """Return 200 before submission, and 422 after errors."""
        return 422 if self.errors else 200

    def can_be_tried(self) -> bool:
        """Return whether the form was submitted and all values can be read, even if some are not valid.

        ``refusals`` must follow, which adds what the domain finds, so that all faults are shown at once.
        """
        return self.is_submitted() and (self.validate() or all(map(_has_stand_in, self)))

    @contextmanager
    def refusals(self) -> Iterator[None]:
        """Add errors of the domain in the block to the fields, and continue after it.

        If the form has errors already, nothing in the block has an effect. Fields with errors have their values of
        before the submission in it, and get no other errors.
        """
        known = {field.short_name for field in self if field.errors}
        try:
            with self._rehearsal() if self.errors else nullcontext():
                yield
        except (InvalidRecord, AlreadyTaken) as error:
            for name, faults in error.fields.items():
                field = _FIELDS.get(name, name)
                if field not in known:
                    self.refuse(field, *map(sentence, _about(name, faults, error)))
        except (BadRequest, Conflict, PlainRefusal) as error:
            field = _FIELD_OF.get(error.faults[0].code, "") if error.faults else ""
            if field not in known:
                self.refuse(field if field in self._fields else "", refusal(error))

    @contextmanager
    def _rehearsal(self) -> Iterator[None]:
        wrong = [(field, field.data) for field in self if field.errors]
        try:
            for field, _ in wrong:
                field.data = field.object_data
            with rehearsal():
                yield
        finally:
            for field, entered in wrong:
                field.data = entered

    def refuse(self, name: str, *sentences: str) -> None:
        """Add error messages to a field, or to the form if it has no field of this name."""
        field: Any = self._fields.get(name)
        known = self.form_errors if field is None else field.errors
        added = [sentence for sentence in sentences if sentence not in known]
        if field is None:
            self.form_errors += added
        else:
            field.errors = [*known, *added]


def _about(name: str, faults: Iterable[Fault], error: InvalidRecord | AlreadyTaken) -> list[Fault]:
    """Return the faults of a field; without a path that is taken, which GitLab's API repeats at a project's name."""
    repeats = name == "name" and "path" in error.fields
    return [fault for fault in faults if not (repeats and fault.code is Code.TAKEN)]


def _has_stand_in(field: Any) -> bool:
    """Return whether a field has no errors, or can be tried with its value of before the submission.

    A choice must be one: others than those offered have no meaning, and neither has none.
    """
    is_choice = isinstance(field, SelectFieldBase) and not isinstance(field, SelectMultipleField)
    return not field.errors or not is_choice or field.object_data is not None


@contextmanager
def refusing_field() -> Iterator[None]:
    """Make errors of the domain about one value in the block those of the field that is validated."""
    try:
        yield
    except InvalidRecord as error:
        raise ValidationError(refusal(error)) from error


class Within(NumberRange):
    """Validate that a field has a number in a range; the message is the only one, also if it has no number."""

    def __call__(self, form: Any, field: Any) -> None:
        field.errors.clear()
        super().__call__(form, field)


def in_the_future(_form: Form, field: DateField) -> None:
    """Validate that a date has not come yet."""
    if field.data is not None and field.data <= utcnow().date():
        raise ValidationError(sentence(Fault(Code.PAST_DATE)))


class CurrentPasswordForm(Form):
    """A form that is valid only with the password of the signed-in user.

    It is checked together with the other fields, so that each guess is counted, whatever else is wrong.
    """

    current_password = PasswordField(_("Current password"), [InputRequired(_("Enter your current password."))])

    def validate_current_password(self, field: PasswordField) -> None:
        """Require the password.

        :raises TooManyRequests: the wait after failed attempts is not over.
        """
        with refusing_field():
            sign_in.require_password(signed_in(), field.data or "", by=principal(), now=utcnow())


def storable(value: Any) -> Any:
    """Return the value without NUL, which columns cannot store."""
    return value.replace("\x00", "\ufffd") if isinstance(value, str) else value


def query_parameters() -> dict[str, str]:
    """Return the first value of each query parameter, without surrounding whitespace and without NUL."""
    return {name: value.replace("\x00", "").strip() for name, value in request.args.items()}


def search_text(name: str = "search") -> str:
    """Return the same of one parameter; empty if it is missing."""
    return query_parameters().get(name, "")


def text(field: StringField) -> str:
    """Return the value of a text field without surrounding whitespace."""
    return (field.data or "").strip()


class NewNamespace(TypedDict):
    """Arguments shared by ``create_group`` and ``create_project``."""

    name: str
    path: str
    description: str
    visibility: Visibility


class NamespaceForm(Form):
    """Fields shared by groups and projects."""

    shown_last = frozenset({"description", "visibility"})
    name = StringField(_("Name"), [InputRequired(_("This field is required."))])
    path = StringField(_("Path"))
    description = TextAreaField(_("Description"))
    visibility = RadioField(_("Visibility level"), coerce=int)

    def validate_path(self, field: StringField) -> None:
        """Refuse a name without a path that can be derived from it, such as one in Japanese letters only."""
        if not text(field) and text(self.name) and not namespaces.path_from(text(self.name)):
            raise ValidationError(gettext("No path can be derived from this name. Enter one, such as data-platform."))

    def refuse(self, name: str, *sentences: str) -> None:
        """Add error messages to a field, but none to an empty path: it is derived from the name, which is wrong."""
        if name != "path" or text(self.path) or not self.name.errors:
            super().refuse(name, *sentences)

    def offer_visibilities(self) -> None:
        self.visibility.choices = [(int(level), visibility_name(level)) for level in Visibility]

    def values(self) -> NewNamespace:
        """Return the fields as arguments for the domain; an empty path is derived from the name."""
        return {
            "name": text(self.name),
            "path": text(self.path) or namespaces.path_from(text(self.name)),
            "description": text(self.description),
            "visibility": Visibility(self.visibility.data),
        }


class NewGroupForm(NamespaceForm):
    name = StringField(_("Group name"), [InputRequired(_("This field is required."))])
    path = StringField(_("Group path"))


class NewProjectForm(NamespaceForm):
    name = StringField(_("Project name"), [InputRequired(_("This field is required."))])
    namespace_id = SelectField(
        _("Group or user"), coerce=int, validators=[InputRequired(_("Choose a group or user for the project."))]
    )
    path = StringField(_("Project path"))


class GroupForm(Form):
    name = StringField(_("Group name"), [InputRequired(_("This field is required."))])
    description = TextAreaField(_("Description"))
    visibility = RadioField(_("Visibility level"), coerce=int)
    project_creation_level = SelectField(_("Roles allowed to create projects"))
    subgroup_creation_level = SelectField(_("Roles allowed to create subgroups"))

    def offer(self) -> None:
        self.visibility.choices = [(int(level), visibility_name(level)) for level in Visibility]
        self.project_creation_level.choices = creation_levels()
        self.subgroup_creation_level.choices = [
            (CreationLevel.OWNER.value, gettext("Owners")),
            (CreationLevel.MAINTAINER.value, gettext("Maintainers")),
        ]

    def changes(self) -> GroupChanges:
        return GroupChanges(
            name=text(self.name),
            description=text(self.description),
            visibility=Visibility(self.visibility.data),
            project_creation_level=CreationLevel(self.project_creation_level.data),
            subgroup_creation_level=CreationLevel(self.subgroup_creation_level.data),
        )


def creation_levels() -> list[tuple[str, str]]:
    """Choices of the minimum role to create projects."""
    return [
        (CreationLevel.NOBODY.value, gettext("No one")),
        (CreationLevel.OWNER.value, gettext("Owners")),
        (CreationLevel.MAINTAINER.value, gettext("Maintainers")),
        (CreationLevel.DEVELOPER.value, gettext("Developers and Maintainers")),
    ]


class RegistryAccessForm(Form):
    """Access to the package registry of a project; ``standing`` is the current access."""

    registry_access = RadioField(_("Package registry"))
    anyone_may_pull = BooleanField(_("Allow anyone to pull from package registry"))

    @staticmethod
    def standing(project: Project) -> dict[str, object]:
        is_public = project.registry_access is RegistryAccess.PUBLIC
        return {
            "registry_access": RegistryAccess.ENABLED if is_public else project.registry_access,
            "anyone_may_pull": is_public,
        }

    def offer(self) -> None:
        self.registry_access.choices = [
            (RegistryAccess.ENABLED.value, gettext("Everyone with access")),
            (RegistryAccess.PRIVATE.value, gettext("Only project members")),
            (RegistryAccess.DISABLED.value, gettext("Disabled")),
        ]

    def chosen(self) -> RegistryAccess:
        registry_access = RegistryAccess(self.registry_access.data)
        if registry_access is RegistryAccess.ENABLED and self.anyone_may_pull.data:
            return RegistryAccess.PUBLIC
        return registry_access


class ProjectForm(RegistryAccessForm):
    """General settings of a project; without visibility and access to the registry for users who are not Owners."""

    name = StringField(_("Project name"), [InputRequired(_("This field is required."))])
    description = TextAreaField(_("Description"))
    visibility = RadioField(_("Project visibility"), coerce=int)

    def leave_out_owned(self) -> None:
        """Remove the fields of which only Owners can change the values."""
        for name in ("visibility", "registry_access", "anyone_may_pull"):
            del self[name]

    def offer(self) -> None:
        if self.visibility is not None:
            super().offer()
            self.visibility.choices = [(int(level), visibility_name(level)) for level in Visibility]

    def changes(self) -> ProjectChanges:
        named = ProjectChanges(name=text(self.name), description=text(self.description))
        if self.visibility is None:
            return named
        return replace(named, visibility=Visibility(self.visibility.data), registry_access=self.chosen())


class PathForm(Form):
    path = StringField(_("Path"), [InputRequired(_("This field is required."))])


class TransferForm(Form):
    parent_id = SelectField(_("New parent group"), coerce=int)

    def offer(self, groups: Iterable[Group]) -> None:
        self.parent_id.choices = [
            (0, gettext("No parent group")),
            *((group.id, group.full_path) for group in groups),
        ]


class DeletionForm(Form):
    """Confirmation of a deletion by typing the path."""

    confirmation = StringField()

    def __init__(self, namespace: Group | Project) -> None:
        super().__init__()
        self._namespace = namespace

    def validate_confirmation(self, field: StringField) -> None:
        if text(field) != self._namespace.full_path:
            raise ValidationError(gettext("Type %(path)s to confirm.", path=self._namespace.full_path))


SIZE_HINT = _("A number of bytes, or with a unit, such as 10 GiB.")
SIZE_EXPECTED = _("Enter a number of bytes, or a size such as 10 GiB.")


class SizeField(IntegerField):
    """A size in bytes, entered as a number of bytes or with a unit, such as ``10 GiB``; ``None`` if it is neither."""

    widget = TextInput()

    def _value(self) -> str:
        return self.raw_data[0] if self.raw_data else "" if self.data is None else with_unit(self.data)

    def process_formdata(self, valuelist: list[str]) -> None:
        if valuelist:
            self.data = bytes_of(valuelist[0])


UNITS = {
    "": 1, "b": 1,
    "kb": 1000, "mb": 1000**2, "gb": 1000**3, "tb": 1000**4,
    "kib": 1024, "mib": 1024**2, "gib": 1024**3, "tib": 1024**4,
}  # fmt: skip
_SIZE = re.compile(r"(-?[0-9]{1,20}(?:\.[0-9]{1,6})?)\s*([a-z]*)", re.ASCII | re.IGNORECASE)


def bytes_of(size: str) -> int | None:
    """Return the bytes of a size such as ``10 GiB`` or ``10000``; ``None`` if it is not one."""
    found = _SIZE.fullmatch(size.strip())
    unit = None if found is None else UNITS.get(found[2].lower())
    if found is None or unit is None:
        return None
    exact = Decimal(found[1]) * unit
    return int(exact) if exact == int(exact) or unit > 1 else None


def with_unit(size_bytes: int) -> str:
    """Return the same size in the largest binary unit of which it is a multiple."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        number, rest = divmod(size_bytes, UNITS[unit.lower()])
        if number and not rest:
            return f"{number} {unit}"
    return str(size_bytes)


class MemberForm(Form):
    shown_last = frozenset({"role", "expires_on"})
    role = SelectField(_("Role"), coerce=int)
    expires_on = DateField(_("Access expiration date"), [Optional(), in_the_future])

    def offer(self, highest: Role) -> None:
        """Offer the roles up to the user's own."""
        self.role.choices = [(int(role), role_name(role)) for role in MEMBER_ROLES if role <= highest]

    @staticmethod
    def first_day() -> str:
        return (utcnow().date() + timedelta(days=1)).isoformat()


class NewMemberForm(MemberForm):
    """A new member: ``chosen`` is the username of a suggestion, and otherwise ``username`` that or an address."""

    username = StringField(_("Name, username, or email"), [InputRequired(_("Enter a name."))])
    chosen = StringField()


def where_to_create(groups: Iterable[Group], space: Namespace | None) -> list[tuple[int, str]]:
    """Return the choices for the namespace of a project, the personal namespace first."""
    own = [] if space is None else [(space.id, space.full_path)]
    return [*own, *((group.id, group.full_path) for group in groups)]
