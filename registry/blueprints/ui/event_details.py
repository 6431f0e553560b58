"""Authors and details of audit events in the language of the request: labels and words instead of names and codes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from flask_babel import gettext

from registry.blueprints.ui.forms import creation_levels
from registry.blueprints.ui.frame import size
from registry.blueprints.ui.wording import name_status_name, role_name, upstream_mode_name, visibility_name
from registry.domain.instance import SETTINGS as INSTANCE_SETTINGS
from registry.domain.namespaces import PROJECT_SETTINGS
from registry.models import (
    AuditEvent,
    JobStatus,
    NameStatus,
    RegistryAccess,
    Role,
    SignInMethod,
    UpstreamMode,
    Visibility,
)


def _(label: str) -> str:
    """Mark a label for translation when it is shown."""
    return label


LOCK = "lock_"  # prefix of the setting that enforces another one
LABELS = {
    **{setting.name: setting.label for setting in (*INSTANCE_SETTINGS, *PROJECT_SETTINGS)},
    "accepted_in": _("Accepted in"),
    "added": _("Added"),
    "after": _("After"),
    "before": _("Before"),
    "bio": _("Bio"),
    "can_create_group": _("Can create top-level groups"),
    "changed": _("Changed"),
    "claims": _("Claims"),
    "current": _("Current path"),
    "description": _("Description"),
    "email": _("Email"),
    "expires_at": _("Expires"),
    "expires_on": _("Access expiration date"),
    "fields": _("Changed fields"),
    "factor": _("Second factor"),
    "filename": _("File"),
    "files": _("Files"),
    "had_packages": _("Packages were published there"),
    "is_admin": _("Administrator"),
    "is_external": _("External"),
    "is_same": _("No change since the last update"),
    "issuer": _("Issuer"),
    "job_allowlist_enforced": _("Enforce the job token allowlist"),
    "job_id": _("Job ID"),
    "left": _("Remaining"),
    "malformed": _("Malformed records"),
    "malicious": _("Malicious"),
    "method": _("Authenticated by"),
    "minimum_delete_role": _("Minimum role for deleting"),
    "minimum_push_role": _("Minimum role for publishing"),
    "name": _("Name"),
    "note": _("Note"),
    "originally_published_by": _("Originally published by"),
    "other": _("Records about other ecosystems"),
    "package": _("Package"),
    "package_names": _("Package names"),
    "package_type": _("Package type"),
    "path": _("Path"),
    "pattern": _("Name pattern"),
    "private_profile": _("Private profile"),
    "project_creation_level": _("Roles allowed to create projects"),
    "projects_limit": _("Projects limit"),
    "publisher_id": _("Trusted publisher"),
    "reader_id": _("Trusted reader"),
    "reason": _("Reason"),
    "ref": _("Ref"),
    "registry_access": _("Package registry"),
    "removed": _("Removed"),
    "repeated": _("Repeated records"),
    "reserved_in": _("Reserved in"),
    "role": _("Role"),
    "run": _("Run"),
    "scopes": _("Scopes"),
    "sha256": "SHA-256",
    "size_bytes": _("Size"),
    "status": _("Status"),
    "subject": _("Subject"),
    "storage_size_limit": _("Storage limit"),
    "subgroup_creation_level": _("Roles allowed to create subgroups"),
    "token_id": _("Token ID"),
    "total": _("Total"),
    "username": _("Username"),
    "visibility": _("Visibility level"),
    "withdrawn": _("Withdrawn"),
}
JOB_STATUSES = {
    JobStatus.RUNNING: _("Running"),
    JobStatus.SUCCESS: _("Passed"),
    JobStatus.FAILED: _("Failed"),
    JobStatus.CANCELED: _("Canceled"),
}
ACCESS_LEVELS = {
    RegistryAccess.DISABLED: _("Disabled"),
    RegistryAccess.PRIVATE: _("Only project members"),
    RegistryAccess.ENABLED: _("Everyone with access"),
    RegistryAccess.PUBLIC: _("Anyone"),
}
SIGN_IN_METHODS = {
    SignInMethod.PASSWORD: _("Password"),
    SignInMethod.PROXY: _("Reverse proxy"),
    SignInMethod.OPENID_CONNECT: "OpenID Connect",
}
SECOND_FACTORS = {"app": _("Authenticator app"), "passkey": _("Passkey")}
# Authors that are not users, as ``access.Principal`` records them; the group is a number or the subject of a token.
_AUTHORS = {
    "deploy token ": _("Deploy token %(name)s"),
    "trusted publisher ": _("Trusted publisher %(name)s"),
    "trusted reader ": _("Trusted reader %(name)s"),
}
_KINDS = {
    "trusted publisher": _("Trusted publisher"),
    "trusted reader": _("Trusted reader"),
    "anonymous": _("Anonymous"),
    "shell": _("Command line"),
}
_SUDO = re.compile(r"(.+) \(sudo by (.+)\)")
SIZES = frozenset(
    {"size_bytes", "storage_size_limit", "pypi_max_file_size", "project_storage_size_limit", "group_storage_size_limit"}
)


def author_name(event: AuditEvent, deploy_tokens: Mapping[int, str] = MappingProxyType({})) -> str:
    """Return the author of an event; names of users as they are.

    :param deploy_tokens: names by ID of those that exist.
    """
    sudo = _SUDO.fullmatch(event.author)
    if event.author_id is not None:
        return str(gettext("%(user)s (sudo by %(admin)s)", user=sudo[1], admin=sudo[2])) if sudo else event.author
    if event.author in _KINDS:
        return str(gettext(_KINDS[event.author]))
    for prefix, words in _AUTHORS.items():
        if event.author.startswith(prefix):
            name = event.author.removeprefix(prefix)
            known = deploy_tokens.get(deploy_token_id(event) or 0)
            shown = name if known is None else f"{name} ({known})"
            return str(gettext(words, name=shown))
    return event.author


def deploy_token_id(event: AuditEvent) -> int | None:
    """Return the ID of the deploy token that is the author of an event."""
    found = re.fullmatch(r"deploy token ([0-9]{1,18})", event.author)
    return int(found[1]) if found and event.author_id is None else None


def authors_called(text: str) -> tuple[str, ...]:
    """Return parts of recorded authors whose words in the language of the request contain a text."""
    shown = {code: gettext(words) for code, words in _KINDS.items()}
    shown |= {code: gettext(words, name="") for code, words in _AUTHORS.items()}
    return tuple(code for code, words in shown.items() if text and text.casefold() in words.casefold())


def target_name(event: AuditEvent) -> str:
    """Return what an event is about: names and paths as they are, and the instance in words."""
    return str(gettext("Instance")) if event.action == "instance_settings_changed" else event.target


class Detail(NamedTuple):
    """A detail of an event: its recorded name, and label and value as they are shown."""

    name: str
    label: str
    value: str


def event_details(event: AuditEvent) -> list[Detail]:
    """Return an event's details without empty ones; changes are shown as ``before → after``.

    Names and codes of other versions of the registry are shown as they are recorded.
    """
    return [
        Detail(name, _label(name), _value(event.action, name, value))
        for name, value in event.details.items()
        if value not in (None, "", {}, [])
    ]


def event_status(event: AuditEvent) -> str:
    """Return the status that an event has set; empty if it sets none."""
    return _value(event.action, "status", event.details["status"]) if event.details.get("status") else ""


def _label(name: str) -> str:
    enforced = name.removeprefix(LOCK)
    if enforced != name and enforced in LABELS:
        return str(gettext("%(setting)s (enforced)", setting=gettext(LABELS[enforced])))
    return str(gettext(LABELS[name])) if name in LABELS else name.replace("_", " ")


def _value(action: str, name: str, value: Any) -> str:
    if isinstance(value, Mapping) and not value.keys() <= {"before", "after"}:
        return ", ".join(f"{key} = {one}" for key, one in value.items())
    if isinstance(value, Mapping):
        return f"{_value(action, name, value.get('before'))} → {_value(action, name, value.get('after'))}"
    if isinstance(value, list):
        return ", ".join(_value(action, name, one) for one in value) or "–"
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return str(gettext("Yes") if value else gettext("No"))
    if name in SIZES and isinstance(value, int):
        return size(value)
    if name == "fields":
        return _label(str(value))
    return _words(action, name).get(value, str(value))


def _words(action: str, name: str) -> Mapping[Any, str]:
    """Return the words for the codes that a detail of an action can have."""
    if "visibility" in name or action.endswith("visibility_changed"):
        return {level.label: visibility_name(level) for level in Visibility}
    if "role" in name or action == "member_changed":
        return {role.title: role_name(role) for role in Role}
    if name.endswith(("_creation_level", "_creation")):
        return dict(creation_levels())
    if name == "registry_access":
        return {level.value: str(gettext(words)) for level, words in ACCESS_LEVELS.items()}
    if name == "pypi_upstream_mode":
        return {mode.value: upstream_mode_name(mode) for mode in UpstreamMode}
    if action == "package_name_status_changed":
        return {status.value: name_status_name(status) for status in NameStatus} if name != "reason" else {}
    if action == "user_signed_in":
        return {method.value: str(gettext(words)) for method, words in SIGN_IN_METHODS.items()}
    if name == "factor":
        return {factor: str(gettext(words)) for factor, words in SECOND_FACTORS.items()}
    if action == "job_finished":
        return {status.value: str(gettext(words)) for status, words in JOB_STATUSES.items()}
    return {}
