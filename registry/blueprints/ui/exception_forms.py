"""The form for exceptions to the minimum age of upstream files, of groups and of the instance."""

from __future__ import annotations

from datetime import UTC, datetime, time

from flask_babel import lazy_gettext
from wtforms import DateField, StringField
from wtforms.validators import InputRequired, Optional

from registry.blueprints.ui.forms import Form, text
from registry.blueprints.ui.viewer import principal
from registry.domain.upstream import exceptions
from registry.models import Group

_ = lazy_gettext


class ExceptionForm(Form):
    pattern = StringField(
        _("Packages"),
        [InputRequired(_("This field is required."))],
        description=_("A name, name*, or name==version."),
        render_kw={"maxlength": 255, "spellcheck": "false", "autocapitalize": "none"},
    )
    reason = StringField(_("Reason"), [InputRequired(_("This field is required."))], render_kw={"maxlength": 1000})
    expires_on = DateField(_("Ends"), [Optional()], description=_("At 00:00 UTC on this date."))

    def add_to(self, group: Group | None) -> None:
        """Add the exception to a group, or to the instance.

        :raises InvalidRecord: it is not valid.
        """
        day = self.expires_on.data
        exceptions.add_exception(
            group,
            pattern=text(self.pattern),
            reason=text(self.reason),
            expires_at=None if day is None else datetime.combine(day, time(), UTC),
            by=principal(),
        )
