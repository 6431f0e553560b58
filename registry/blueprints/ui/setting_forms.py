"""Forms of settings, generated from their descriptions: the form field and value of each kind."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC
from typing import Any, Self, TypeVar, assert_never

from flask_babel import lazy_gettext
from wtforms import (
    BooleanField,
    DateTimeLocalField,
    Field,
    FloatField,
    IntegerField,
    RadioField,
    SelectField,
    SelectMultipleField,
    StringField,
    TextAreaField,
)
from wtforms.validators import Optional, ValidationError

from registry.blueprints.ui.forms import (
    SIZE_EXPECTED,
    SIZE_HINT,
    Form,
    SizeField,
    Within,
    creation_levels,
    text,
)
from registry.blueprints.ui.frame import sentence_gap
from registry.blueprints.ui.wording import sentence, upstream_mode_name, visibility_name
from registry.database import Model
from registry.domain.changes import Changes
from registry.domain.settings import (
    HIGHEST_SCORE,
    LARGEST_SIZE_BYTES,
    LOWEST_SCORE,
    AnyKind,
    Creators,
    Days,
    Issuers,
    Moment,
    OneUpstreamMode,
    OneVisibility,
    Patterns,
    Score,
    Section,
    Setting,
    ShortText,
    SizeLimit,
    Switch,
    Visibilities,
    WholeNumber,
    settings_of,
)
from registry.models import CreationLevel, UpstreamMode, Visibility

_ = lazy_gettext

Changed = TypeVar("Changed", bound=Changes)


class SettingsForm(Form):
    """Base of the forms created by ``form_of``."""

    settings: tuple[Setting, ...] = ()

    @classmethod
    def of(cls, record: Model, **options: object) -> Self:
        """Return a form that shows the settings of a record, or the submitted ones.

        :param options: options of the form, and values that override those of the record.
        """
        shown = {one.name: shown_value(one.kind, getattr(record, one.name)) for one in cls.settings}
        return cls(**(shown | options))

    def section(self, name: str) -> list[Field]:
        """Return the fields of one section, in the order of the page."""
        return [self[one.name] for one in self.settings if one.section == name]

    def changes(self, kind: type[Changed]) -> Changed:
        """Return the submitted changes."""
        return kind(**{one.name: sent_value(one.kind, self[one.name]) for one in self.settings})


def form_of(changes: type[Changes], *sections: Section) -> type[SettingsForm]:
    """Create a form class for all settings in these sections."""
    shown = tuple(one for one in settings_of(changes) if one.section in sections)
    made: type[SettingsForm] = type(
        "SettingsForm", (SettingsForm,), {"settings": shown, **{one.name: field_of(one) for one in shown}}
    )
    return made


def field_of(described: Setting) -> Field:
    """Return the form field of a setting."""
    label = lazy_gettext(described.label)
    hint = lazy_gettext(described.hint) if described.hint else ""
    match described.kind:
        case Switch():
            return BooleanField(label, description=hint)
        case Days(least=least, most=most) | WholeNumber(least=least, most=most):
            message = _("Enter a number from %(least)s to %(most)s.", least=least, most=most)
            return IntegerField(label, [Within(least, most, message)], description=hint)
        case SizeLimit():
            return SizeField(
                label, [Within(0, LARGEST_SIZE_BYTES, SIZE_EXPECTED)], description=hint if described.hint else SIZE_HINT
            )
        case ShortText(longest=longest):
            attributes = {"maxlength": longest, "spellcheck": "false", "autocapitalize": "none"}
            return StringField(label, description=hint, render_kw=attributes)
        case OneVisibility():
            return RadioField(label, coerce=int, choices=_visibilities, description=hint)
        case Visibilities():
            return SelectMultipleField(label, choices=_visibility_labels, description=hint)
        case Creators():
            return SelectField(label, choices=creation_levels, description=hint)
        case OneUpstreamMode():
            return RadioField(label, choices=_upstream_modes, description=hint)
        case Moment():
            return DateTimeLocalField(label, [Optional()], description=hint)
        case Score():
            message = _("Enter a number from %(least)s to %(most)s.", least=LOWEST_SCORE, most=HIGHEST_SCORE)
            validators = [Optional(), Within(LOWEST_SCORE, HIGHEST_SCORE, message)]
            return FloatField(label, validators, description=hint, render_kw={"inputmode": "decimal"})
        case Patterns() | Issuers():
            attributes = {"rows": 4, "spellcheck": "false", "autocapitalize": "none"}
            return TextAreaField(label, [_valid(described.kind)], description=hint, render_kw=attributes)
    assert_never(described.kind)


def _valid(kind: AnyKind) -> Callable[[Form, Field], None]:
    """Return the validator of a field for values of a kind."""

    def validate(_form: Form, field: Field) -> None:
        if faults := kind.faults(sent_value(kind, field)):
            raise ValidationError(sentence_gap().join(map(sentence, faults)))

    return validate


def shown_value(kind: AnyKind, value: Any) -> Any:
    """Return a value as its form field takes it."""
    match kind:
        case SizeLimit():
            return value or 0
        case Moment():
            return None if value is None else value.astimezone(UTC).replace(tzinfo=None, second=0, microsecond=0)
        case Patterns() | Issuers():
            return "\n".join(value or ())
    return value


def sent_value(kind: AnyKind, field: Any) -> Any:
    """Return the value that a form field has."""
    match kind:
        case ShortText():
            return text(field)
        case OneVisibility():
            return Visibility(field.data)
        case Creators():
            return CreationLevel(field.data)
        case OneUpstreamMode():
            return UpstreamMode(field.data)
        case Moment():
            return field.data and field.data.replace(tzinfo=UTC)
        case Patterns() | Issuers():
            return [line.strip() for line in text(field).splitlines() if line.strip()]
    return field.data


def _visibilities() -> list[tuple[int, str]]:
    return [(int(level), visibility_name(level)) for level in Visibility]


def _visibility_labels() -> list[tuple[str, str]]:
    return [(level.label, visibility_name(level)) for level in Visibility]


def _upstream_modes() -> list[tuple[str, str]]:
    return [(str(mode), upstream_mode_name(mode)) for mode in UpstreamMode]
