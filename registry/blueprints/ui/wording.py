"""Sentences of the domain as pages show them: refusals are English in the API, and translated here."""

from __future__ import annotations

import re

from flask_babel import gettext

from registry.models import NameStatus, Role, Visibility


def _(sentence: str) -> str:
    """Mark a sentence for the catalogues; it is translated when it is shown."""
    return sentence


_ROLES = {
    Role.NO_ACCESS: _("No access"),
    Role.MINIMAL_ACCESS: _("Minimal access"),
    Role.GUEST: _("Guest"),
    Role.PLANNER: _("Planner"),
    Role.REPORTER: _("Reporter"),
    Role.DEVELOPER: _("Developer"),
    Role.MAINTAINER: _("Maintainer"),
    Role.OWNER: _("Owner"),
    Role.ADMIN: _("Administrator"),
}
_VISIBILITIES = {
    Visibility.PRIVATE: _("Private"),
    Visibility.INTERNAL: _("Internal"),
    Visibility.PUBLIC: _("Public"),
}
_NAME_STATUSES = {
    NameStatus.ACTIVE: _("Active"),
    NameStatus.DEPRECATED: _("Deprecated"),
    NameStatus.ARCHIVED: _("Archived"),
    NameStatus.QUARANTINED: _("Quarantined"),
}
_SENTENCES = {
    "can't be blank": _("This field is required."),
    "has already been taken": _("This is already taken."),
    "is invalid": _("This is not valid."),
    "is not valid": _("You cannot create projects there."),
    "can contain only printable characters": _("Only printable characters are allowed."),
    "Username has already been taken": _("This username is already taken."),
    "Email has already been taken": _("This email address is already taken."),
    "is not the current password": _("This is not your current password."),
    "must differ from the current password": _("Choose a password that differs from the current one."),
    "Member already exists": _("This user is a member already."),
    "cannot be a date in the past": _("Choose a date in the future."),
    "must not be the group itself or below it": _("A group cannot be moved into itself or below itself."),
    "cannot be changed because it is locked by an ancestor": _("This is enforced by a group above or by the instance."),
    "The last active administrator cannot be blocked, demoted or deleted.": _(
        "The last active administrator cannot be blocked, demoted or deleted."
    ),
    "can only contain available scopes": _("Choose among the scopes that are offered."),
    "can contain only letters, digits, '_', '-', '+', and '.'": _("Use letters, digits, '_', '-', '+' and '.' only."),
    "Package protected.": _("A protection rule does not allow you to do this."),
    "Package name pattern has already been taken": _("There is a rule for this name pattern already."),
    "Package name pattern should be a valid PyPI package name with optional wildcard characters.": _(
        "The name pattern must be a package name, in which * may stand for any text."
    ),
    "A rule must have at least a minimum access role for push or delete.": _(
        "Choose a minimum access level for push or for delete."
    ),
    "is already in the job token scope": _("This is in the allowlist already."),
    "must be greater than or equal to 0": _("Enter a whole number."),
    "User cannot be removed while is the sole-owner of a group": _(
        "This user is the only owner of a group; give the group another owner first."
    ),
    "can contain only letters, digits, '_', '-' and '.'. Cannot start with '-' or '.', "
    "nor end in '-', '.', '.git' or '.atom'.": _(
        "Use letters, digits, '_', '-' and '.'; start with a letter, digit or '_', and end with one."
    ),
}
_PATTERNS = (
    (r"is too short \(minimum is (?P<number>\d+) characters\)", _("Use at least %(number)s characters.")),
    (r"is too long \(maximum is (?P<number>\d+) characters\)", _("Use at most %(number)s characters.")),
    (r"is too deep \(maximum is (?P<number>\d+) levels\)", _("Groups can be nested %(number)s levels deep at most.")),
    (r"must be between (?P<least>\d+) and (?P<most>\d+) days", _("Enter a number from %(least)s to %(most)s.")),
    (r"must be before (?P<day>[\d-]+)", _("Choose a day before %(day)s.")),
    (
        r"exceeds the allowable number of project links \((?P<number>\d+)\)",
        _("The allowlist is full: it holds %(number)s groups and projects."),
    ),
    (r"The user is (?P<state>\w+) and cannot be made \w+\.", _("This does not fit the present state of the user.")),
    (r"(?P<path>.+) is a reserved name", _("%(path)s is a reserved name.")),
    (
        r"\w+ is not allowed in a \w+ group\.|\w+ is not allowed since the parent group has a \w+ visibility\.",
        _("This cannot be more visible than the group it is in."),
    ),
    (r"\w+ has been restricted by your administrator\.", _("An administrator has restricted this visibility level.")),
    (
        r"\w+ is not allowed since this group contains projects with higher visibility\.",
        _("This group contains projects that are more visible."),
    ),
    (
        r"\w+ is not allowed since there are sub-groups with higher visibility\.",
        _("This group contains subgroups that are more visible."),
    ),
    (
        r"should be greater than or equal to (?P<role>\w+) inherited membership from group (?P<group>.+)",
        _("This user already has the role %(role)s from the group %(group)s; choose that role or a higher one."),
    ),
    (r"Your project limit is (?P<number>\d+) projects!", _("You have reached your limit of %(number)s projects.")),
    (r"(?P<release>.+) has no files that could be yanked", _("%(release)s has no assets that could be yanked.")),
    (r"Retry in (?P<number>\d+) seconds", _("Try again in %(number)s seconds.")),
)


def translated(sentence: str) -> str:
    """The sentence in the language of this request; one that is not known here stays as it is."""
    if sentence in _SENTENCES:
        return str(gettext(_SENTENCES[sentence]))
    for pattern, shown in _PATTERNS:
        found = re.fullmatch(pattern, sentence)
        if found:
            words = found.groupdict()
            if "role" in words:
                words["role"] = role_name(Role[words["role"].upper()])
            return str(gettext(shown, **words))
    return sentence


def visibility_name(level: Visibility) -> str:
    return str(gettext(_VISIBILITIES[level]))


def role_name(role: Role) -> str:
    return str(gettext(_ROLES[role]))


def name_status_name(status: NameStatus) -> str:
    return str(gettext(_NAME_STATUSES[status]))
