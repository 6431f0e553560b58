"""Error messages, roles, and statuses on pages, in the language of the request."""

from __future__ import annotations

from dataclasses import dataclass

from flask_babel import gettext, ngettext

from registry.errors import Code, Fault, RegistryError
from registry.models import NameStatus, Role, UpstreamMode, Visibility


def _(sentence: str) -> str:
    """Mark a sentence for translation when it is shown."""
    return sentence


@dataclass(frozen=True)
class _Counted:
    """The forms of a sentence with a number, the name of which is in ``of``."""

    one: str
    many: str
    of: str


def _counted(one: str, many: str) -> _Counted:
    """Mark both forms of a sentence, whose first value is the number, for translation when it is shown."""
    return _Counted(one, many, many.partition("%(")[2].partition(")")[0])


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
_UPSTREAM_MODES = {
    UpstreamMode.REDIRECT: _("Redirect to the public index"),
    UpstreamMode.CACHE: _("Fetch from the public index, and keep the files here"),
}
_NAME_STATUSES = {
    NameStatus.ACTIVE: _("Active"),
    NameStatus.DEPRECATED: _("Deprecated"),
    NameStatus.ARCHIVED: _("Archived"),
    NameStatus.QUARANTINED: _("Quarantined"),
}
_SENTENCES: dict[Code, str | _Counted] = {
    Code.BLANK: _("This field is required."),
    Code.TAKEN: _("This is already taken."),
    Code.INVALID: _("This is not valid."),
    Code.TOO_SHORT: _counted("Use at least %(minimum)s character.", "Use at least %(minimum)s characters."),
    Code.TOO_LONG: _counted("Use at most %(maximum)s character.", "Use at most %(maximum)s characters."),
    Code.UNPRINTABLE: _("Only printable characters are allowed."),
    Code.NEGATIVE: _("Enter a whole number."),
    Code.DAYS_OUT_OF_RANGE: _("Enter a number from %(least)s to %(most)s."),
    Code.NUMBER_OUT_OF_RANGE: _("Enter a number from %(least)s to %(most)s."),
    Code.SCORE_OUT_OF_RANGE: _("Enter a number from %(least)s to %(most)s."),
    Code.TOO_MANY_PATTERNS: _counted("Enter at most %(maximum)s pattern.", "Enter at most %(maximum)s patterns."),
    Code.NO_VERSION_PATTERN: _("'%(value)s' is not a pattern. Enter name, name*, or name==version."),
    Code.TOO_MANY_EXCEPTIONS: _counted(
        "There is already %(maximum)s exception. Remove it first.",
        "There are already %(maximum)s exceptions. Remove one first.",
    ),
    Code.PAST_MOMENT: _("Choose a date in the future."),
    Code.NO_NAME_PATTERN: _("'%(value)s' is not a pattern. Enter name or name*."),
    Code.NO_RESERVATION_PATTERN: _(
        "'%(value)s' is not a pattern. Enter name or name*, optionally followed by @ and the path of a group."
    ),
    Code.TOO_MANY_ISSUERS: _counted("Enter at most %(maximum)s issuer.", "Enter at most %(maximum)s issuers."),
    Code.TRUSTED_ISSUER_MISSPELLED: _("Identity tokens name '%(value)s' differently. Enter %(expected)s"),
    Code.NO_TRUSTED_ISSUER: _(
        "'%(value)s' is not an issuer. Enter its https:// URL, without a query or /.well-known/openid-configuration at "
        "its end."
    ),
    Code.NO_PROJECTS_THERE: _("You cannot create projects there."),
    Code.INVALID_PATH: _("Use letters, digits, '_', '-', and '.'. Start and end with a letter, digit, or '_'."),
    Code.PATH_KEPT: _(
        "Packages were published under this path, so it is reserved until %(day)s. "
        "An administrator can free it earlier."
    ),
    Code.RESERVED_PATH: _("%(path)s is a reserved name."),
    Code.TOO_DEEP: _counted(
        "Groups can be nested up to %(maximum)s level deep.", "Groups can be nested up to %(maximum)s levels deep."
    ),
    Code.ALREADY_THERE: _("The group is already there. Choose another parent group."),
    Code.BELOW_ITSELF: _("A group cannot be moved into itself or one of its subgroups."),
    Code.PROJECTS_LIMIT: _counted(
        "You have reached your limit of %(limit)s project.", "You have reached your limit of %(limit)s projects."
    ),
    Code.VISIBILITY_ABOVE_GROUP: _("The visibility cannot be higher than that of the parent group."),
    Code.VISIBILITY_ABOVE_PARENT: _("The visibility cannot be higher than that of the parent group."),
    Code.VISIBILITY_BELOW_PROJECTS: _("This group contains projects that are more visible."),
    Code.VISIBILITY_BELOW_SUBGROUPS: _("This group contains subgroups that are more visible."),
    Code.VISIBILITY_RESTRICTED: _("An administrator has restricted this visibility level."),
    Code.LOCKED_ABOVE: _("A parent group or the instance enforces this setting."),
    Code.ALREADY_MEMBER: _("This user is already a member."),
    Code.NO_MEMBER_ROLE: _("Choose one of the roles in the list."),
    Code.ROLE_BELOW_INHERITED: _(
        "This user already has the %(role)s role through the group %(group)s. Choose that role or a higher one."
    ),
    Code.PAST_DATE: _("Choose a date in the future."),
    Code.OWN_ROLE_EXPIRES: _("Your own role expires on %(day)s, and you cannot extend it yourself."),
    Code.OWN_ROLE_PROVIDED: _(
        "Your own role comes from a group of the identity provider, and you cannot extend it yourself."
    ),
    Code.USERNAME_TAKEN: _("This username is already taken."),
    Code.EMAIL_TAKEN: _("This email address is already taken."),
    Code.UNKNOWN_PROXY_USER: _(
        "You are signed in as %(name)s, but have no account in this registry. Contact an administrator."
    ),
    Code.WRONG_PASSWORD: _("This is not your current password."),
    Code.WRONG_CODE: _("This code is wrong. Enter the code that the app shows now."),
    Code.TOO_MANY_PASSKEYS: _counted(
        "There is already %(maximum)s passkey. Remove it first.",
        "There are already %(maximum)s passkeys. Remove one first.",
    ),
    Code.NO_SECOND_FACTOR: _("Two-factor authentication is not enabled."),
    Code.SAME_PASSWORD: _("Choose a password that differs from the current one."),
    Code.LAST_ADMINISTRATOR: _("The last active administrator cannot be blocked, demoted, or deleted."),
    Code.SOLE_OWNER: _("This user is the only owner of a group. Add another owner to the group first."),
    Code.WRONG_USER_STATE: _("This is not possible in the current state of the user."),
    Code.TOO_MANY_ATTEMPTS: _counted("Try again in %(seconds)s second.", "Try again in %(seconds)s seconds."),
    Code.UNKNOWN_SCOPE: _("Choose from the available scopes."),
    Code.NO_SCOPE: _("Select at least one scope."),
    Code.EXPIRES_TOO_LATE: _("Choose a date before %(day)s."),
    Code.INVALID_TOKEN_USERNAME: _("Use only letters, digits, '_', '-', '+', and '.'."),
    Code.JOB_ENDED: _("This job has already ended."),
    Code.NO_ISSUER: _(
        "Enter the https:// URL of the issuer, without a query or /.well-known/openid-configuration at its end."
    ),
    Code.ISSUER_NOT_PUBLIC: _("This address is not public. An administrator must allow the issuer first."),
    Code.ISSUER_MISSPELLED: _("Identity tokens name this issuer differently. Enter %(expected)s"),
    Code.ISSUER_NOT_LISTED: _("An administrator allows only these issuers: %(issuers)s"),
    Code.TOO_MANY_IDENTITIES: _counted(
        "There is already %(maximum)s entry. Delete it first.",
        "There are already %(maximum)s entries. Delete one first.",
    ),
    Code.TOO_MANY_CLAIMS: _counted("Enter at most %(maximum)s claim.", "Enter at most %(maximum)s claims."),
    Code.NO_CLAIM_NAME: _("'%(name)s' is not the name of a claim about the job."),
    Code.REPEATED_CLAIM: _("Enter '%(name)s' only once."),
    Code.NO_CLAIM_VALUE: _("Enter a value of 1 to 255 printable characters for %(name)s."),
    Code.NO_CLAIMS: _("Enter a claim that names the job or its owner, with a value that does not begin with *."),
    Code.CLAIMS_OF_ANYONE: _(
        "Anyone can get tokens from this issuer. Name an owner with one of these claims: %(claims)s"
    ),
    Code.CLAIM_MATCHES_NOTHING: _("No token has '%(value)s' for %(name)s. Enter it like %(example)s"),
    Code.ALREADY_IN_ALLOWLIST: _("This is already on the allowlist."),
    Code.ALLOWLIST_FULL: _counted(
        "The allowlist is full. It can have up to %(maximum)s group or project.",
        "The allowlist is full. It can have up to %(maximum)s groups and projects.",
    ),
    Code.PASSWORDS_OFF: _("Sign-in with a password is turned off."),
    Code.SIGN_IN_UNKNOWN: _(
        "This sign-in was already completed, took longer than ten minutes, or was started in another browser. "
        "Start again."
    ),
    Code.SIGN_IN_INVALID: _(
        "The response from the identity provider is not valid. Administrators can find the reason in the log."
    ),
    Code.SIGN_IN_DENIED: _("The identity provider did not sign you in (%(reason)s)."),
    Code.NO_USER_OF_IDENTITY: _(
        "No user is linked to this account. Sign in with your password, and link the account on your account page, or "
        "contact an administrator."
    ),
    Code.GROUPS_NOT_LISTED: _(
        "You are in too many groups for the identity provider to list. An administrator must limit the groups that it "
        "sends to the registry."
    ),
    Code.MEMBERSHIP_PROVIDED: _(
        "This membership comes from a group of the identity provider and can only be changed there."
    ),
    Code.IDENTITY_TAKEN: _("This account is already linked to another user."),
    Code.PROVIDER_AWAY: _(
        "The identity provider does not respond, or is not set up correctly. Try again in a moment. Administrators can "
        "find the reason in the log."
    ),
    Code.PROTECTED: _("A protection rule prevents this action."),
    Code.ONLY_TRUSTED_PUBLISHERS: _("Only trusted publishers can publish to this project."),
    Code.NAME_NOT_TRUSTED: _("The trusted publisher can publish only %(names)s to this project."),
    Code.PATTERN_TAKEN: _("A rule for this name pattern already exists."),
    Code.INVALID_PATTERN: _("The name pattern must be a package name, optionally with * to match any text."),
    Code.RULE_WITHOUT_ROLE: _("Choose a minimum role for publishing or for deleting."),
    Code.NAME_RESERVED: _(
        "The name %(name)s is reserved by the entry %(pattern)s of the instance. An administrator can publish it in "
        "%(top)s."
    ),
    Code.NAME_IN_USE: _("%(name)s is in use. Delete its packages and end its quarantine first."),
    Code.NOTHING_TO_YANK: _("%(release)s has no files to yank."),
    Code.INVALID_HOST: _(
        "The Host or X-Forwarded-Host header is not a valid host name or address with an optional port"
    ),
    Code.INVALID_PREFIX: _("The X-Forwarded-Prefix header of the proxy is not a path"),
    Code.INVALID_SCHEME: _("The X-Forwarded-Proto header of the proxy is neither http nor https"),
    Code.DATABASE_AWAY: _("The database is not responding."),
    Code.DATABASE_FULL: _("The database's disk is full."),
    Code.STORE_AWAY: _("The package store is not responding."),
    Code.STORE_WITHOUT_BUCKET: _("The package store has no such bucket."),
    Code.STORE_REFUSES: _("The package store refuses the registry's requests."),
    Code.STORE_NOT_WRITABLE: _("The package store cannot be written: %(cause)s."),
    Code.STORE_FULL: _("The package store is full."),
    Code.DISK_FULL: _("The disk is full."),
    Code.EXAMINING_TOO_MUCH: _("Too many large files are being examined."),
    Code.TOO_MUCH_OF_ONE: _counted(
        "Your uploads in progress may take %(maximum)s byte in total.",
        "Your uploads in progress may take %(maximum)s bytes in total.",
    ),
    Code.TOO_MUCH_AT_ONCE: _counted(
        "Uploads in progress may take %(maximum)s byte in total.",
        "Uploads in progress may take %(maximum)s bytes in total.",
    ),
}


def refusal(error: RegistryError) -> str:
    """Return the message of an error in the language of the request; empty if the status suffices."""
    return " ".join(map(sentence, error.faults))


def sentence(fault: Fault) -> str:
    """Return one reason in the language of the request. Codes without a sentence here do not occur on pages."""
    if fault.code not in _SENTENCES:
        return str(fault)
    known = _SENTENCES[fault.code]
    values = {name: _shown(value) for name, value in fault.values.items()}
    if isinstance(known, _Counted):
        return str(ngettext(known.one, known.many, values[known.of], **values))
    return str(gettext(known, **values))


def _shown(value: object) -> object:
    return role_name(value) if isinstance(value, Role) else value


def visibility_name(level: Visibility) -> str:
    return str(gettext(_VISIBILITIES[level]))


def upstream_mode_name(mode: UpstreamMode) -> str:
    return str(gettext(_UPSTREAM_MODES[mode]))


def role_name(role: Role) -> str:
    return str(gettext(_ROLES[role]))


def name_status_name(status: NameStatus) -> str:
    return str(gettext(_NAME_STATUSES[status]))


# The actions of audit events in groups and projects.
NAMESPACE_EVENTS = {
    "package_published": _("Published a package"),
    "package_deleted": _("Deleted a version"),
    "package_file_deleted": _("Deleted a file"),
    "package_yanked": _("Yanked a version"),
    "package_unyanked": _("Unyanked a version"),
    "package_file_yanked": _("Yanked a file"),
    "package_file_unyanked": _("Unyanked a file"),
    "package_name_status_changed": _("Changed the status of a package name"),
    "package_name_released": _("Released a reserved name"),
    "packages_imported": _("Imported packages"),
    "malicious_download_refused": _("Refused the download of a malicious package"),
    "member_added": _("Added a member"),
    "member_changed": _("Changed a member"),
    "member_removed": _("Removed a member"),
    "group_created": _("Created a group"),
    "group_changed": _("Changed a group"),
    "group_visibility_changed": _("Changed the visibility of a group"),
    "group_destroyed": _("Deleted a group"),
    "group_transferred": _("Moved a group"),
    "group_package_settings_changed": _("Changed package settings of a group"),
    "project_created": _("Created a project"),
    "project_changed": _("Changed a project"),
    "project_visibility_changed": _("Changed the visibility of a project"),
    "project_destroyed": _("Deleted a project"),
    "project_archived": _("Archived a project"),
    "project_unarchived": _("Unarchived a project"),
    "path_given_up": _("Released a path"),
    "old_path_freed": _("Freed an old path"),
    "protection_rule_created": _("Created a protection rule"),
    "protection_rule_changed": _("Changed a protection rule"),
    "protection_rule_deleted": _("Deleted a protection rule"),
    "upstream_exception_created": _("Added an exception to the minimum age"),
    "upstream_exception_deleted": _("Removed an exception to the minimum age"),
    "deploy_token_created": _("Created a deploy token"),
    "deploy_token_revoked": _("Revoked a deploy token"),
    "deploy_token_destroyed": _("Deleted a deploy token"),
    "trusted_publisher_added": _("Added a trusted publisher"),
    "trusted_publisher_deleted": _("Deleted a trusted publisher"),
    "trusted_reader_added": _("Added a trusted reader"),
    "trusted_reader_deleted": _("Deleted a trusted reader"),
    "reading_token_created": _("Created a token for a trusted reader"),
    "reading_token_revoked": _("Revoked a token of a trusted reader"),
    "publishing_token_created": _("Created a token for a trusted publisher"),
    "publishing_token_revoked": _("Revoked a token of a trusted publisher"),
    "job_started": _("Registered a CI job"),
    "job_finished": _("Finished a CI job"),
    "job_source_allowed": _("Added to the job token allowlist"),
    "job_source_disallowed": _("Removed from the job token allowlist"),
}
EVENTS = {
    **NAMESPACE_EVENTS,
    "access_token_issued": _("Created an access token"),
    "access_token_revoked": _("Revoked an access token"),
    "access_token_family_revoked": _("Revoked all successors of an access token"),
    "feed_token_reset": _("Replaced a feed token"),
    "advisories_updated": _("Updated security advisories"),
    "instance_settings_changed": _("Changed instance settings"),
    "user_created": _("Created a user"),
    "user_changed": _("Changed a user"),
    "user_deleted": _("Deleted a user"),
    "user_email_confirmed": _("Confirmed an email address"),
    "user_password_changed": _("Changed a password"),
    "second_factor_added": _("Added a second factor"),
    "second_factor_removed": _("Removed a second factor"),
    "second_factor_disabled": _("Disabled two-factor authentication"),
    "recovery_codes_replaced": _("Replaced recovery codes"),
    "recovery_code_used": _("Used a recovery code"),
    "provider_role_added": _("Added a role for a group of the identity provider"),
    "provider_role_deleted": _("Deleted a role for a group of the identity provider"),
    "user_password_accepted": _("Allowed a sign-in with a password for an hour"),
    "user_identity_linked": _("Linked an account of the identity provider"),
    "user_identity_unlinked": _("Unlinked an account of the identity provider"),
    "user_signed_in": _("Signed in to the registry"),
    "user_signed_out": _("Signed out of the registry"),
    "user_active": _("Activated a user"),
    "user_blocked": _("Blocked a user"),
    "user_deactivated": _("Deactivated a user"),
}


def events_called(text: str) -> frozenset[str]:
    """Return the actions whose words in the language of the request contain a text."""
    return frozenset(action for action in EVENTS if text and text.casefold() in event_name(action).casefold())


def event_name(action: str) -> str:
    """Return what was done, in the language of the request; actions of other versions as they are recorded."""
    return str(gettext(EVENTS[action])) if action in EVENTS else action
