"""The errors of the registry: one class per reason, with its HTTP status and message.

Messages are identical to those of GitLab, where they exist, because scripts and users search for them ("PyPI API",
"REST API": error bodies). Each blueprint renders errors in its own format. An ``OperatorError``, which occurs only at
startup and in the shell, has no HTTP status.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from enum import Enum, unique
from typing import Self

LONGEST_VALUE = 1000  # characters of an uploaded value in a response
NEW_ACCESS_TOKEN = "Create a new one under Edit profile > Access tokens."


def quoted(value: str) -> str:
    """Return an uploaded value for use in a message: on one line, in ASCII, shortened to about a hundred characters."""
    text = ascii(value[:101])
    return text if len(text) <= 102 else f"{text[:100]}...{text[0]}"


class OperatorError(Exception):
    """Base of the errors that abort the startup or a shell command, with one sentence for the operator."""

    @property
    def sentence(self) -> str:
        return str(self)


class ConfigurationError(OperatorError):
    """The configuration is invalid; the sentence names the setting, its value, and the accepted values."""


class BackupRefused(OperatorError):
    """A backup cannot be created, or cannot be restored here; some messages have several sentences."""


class CarryingRefused(OperatorError):
    """The cache of the upstream cannot be exported to a file, or imported from one."""


class BackupUnderWay(OperatorError):
    """A running backup prevents removal of objects from the store."""

    def __init__(self) -> None:
        super().__init__("A backup is being made, which may need what would be removed; run this again after it.")


class SourceError(OperatorError):
    """A source of packages lacks a page or file, or does not deliver it; the sentence contains no secrets."""


@unique
class Code(Enum):
    """The reason of an error. The value is the message of the API; pages have their own messages."""

    # Fields of any record
    BLANK = "can't be blank"
    TAKEN = "has already been taken"
    INVALID = "is invalid"
    TOO_SHORT = "is too short (minimum is {minimum} characters)"
    TOO_LONG = "is too long (maximum is {maximum} characters)"
    UNPRINTABLE = "can contain only printable characters"
    NEGATIVE = "must be greater than or equal to 0"
    DAYS_OUT_OF_RANGE = "must be between {least} and {most} days"
    NUMBER_OUT_OF_RANGE = "is {value}, expected is a whole number from {least} to {most}"
    SCORE_OUT_OF_RANGE = "is {value}, expected is a number from {least} to {most}"
    TOO_MANY_PATTERNS = "has too many entries: {count} (maximum is {maximum})"
    NO_VERSION_PATTERN = "contains '{value}', expected is name, name*, or name==version (PEP 440)"
    TOO_MANY_EXCEPTIONS = "is one too many: there are {maximum} exceptions already, which is the maximum"
    PAST_MOMENT = "is {value}, expected is a time in the future"
    TOO_MANY_ISSUERS = "has too many issuers: {count} (maximum is {maximum})"
    TRUSTED_ISSUER_MISSPELLED = "contains '{value}', which is not spelled as in identity tokens; expected is {expected}"
    NO_TRUSTED_ISSUER = (
        "contains '{value}', expected is an https URL, or an http URL on the loopback address, without query or "
        "/.well-known/openid-configuration"
    )
    NO_NAME_PATTERN = "contains '{value}', expected is name or name*"
    NO_RESERVATION_PATTERN = "contains '{value}', expected is name, name*, or one of them followed by @group"

    # Groups and projects
    NO_PROJECTS_THERE = "is not valid"
    INVALID_PATH = (
        "can contain only letters, digits, '_', '-' and '.'. Cannot start with '-' or '.', "
        "nor end in '-', '.', '.git' or '.atom'."
    )
    RESERVED_PATH = "{path} is a reserved name"
    PATH_KEPT = "was given up, but clients can still use it; it is kept until {day} unless an administrator frees it"
    TOO_DEEP = "is too deep (maximum is {maximum} levels)"
    ALREADY_THERE = "is the parent group already"
    BELOW_ITSELF = "must not be the group itself or below it"
    PROJECTS_LIMIT = "Your project limit is {limit} projects!"
    VISIBILITY_ABOVE_GROUP = "{level} is not allowed in a {parent} group."
    VISIBILITY_ABOVE_PARENT = "{level} is not allowed since the parent group has a {parent} visibility."
    VISIBILITY_BELOW_PROJECTS = "{level} is not allowed since this group contains projects with higher visibility."
    VISIBILITY_BELOW_SUBGROUPS = "{level} is not allowed since there are sub-groups with higher visibility."
    VISIBILITY_RESTRICTED = "{level} has been restricted by your administrator."
    LOCKED_ABOVE = "cannot be changed because it is locked by an ancestor"

    # Members
    ALREADY_MEMBER = "Member already exists"
    NO_MEMBER_ROLE = "is not included in the list"
    ROLE_BELOW_INHERITED = "should be greater than or equal to {role.title} inherited membership from group {group}"
    PAST_DATE = "cannot be a date in the past"
    OWN_ROLE_EXPIRES = "cannot be after {day}, when your own role expires"
    OWN_ROLE_PROVIDED = "cannot outlast your own role, which comes from a group of the identity provider"

    MEMBERSHIP_PROVIDED = "The membership comes from a group of the identity provider and can only be changed there"

    # Users
    USERNAME_TAKEN = "Username has already been taken"
    EMAIL_TAKEN = "Email has already been taken"
    UNKNOWN_PROXY_USER = "There is no user {name}, whom the proxy has authenticated"
    WRONG_PASSWORD = "is not the current password"
    WRONG_CODE = "is not a valid code"
    SECOND_FACTOR_OF_ADMINISTRATOR = (
        "Two-factor authentication of administrators cannot be disabled via the API; use the page of the user, or the "
        "shell"
    )
    TOO_MANY_PASSKEYS = "is one too many: there are {maximum} passkeys already, which is the maximum"
    NO_SECOND_FACTOR = "Two-factor authentication is not enabled"
    SAME_PASSWORD = "must differ from the current password"
    LAST_ADMINISTRATOR = "The last active administrator cannot be blocked, demoted, or deleted."
    SOLE_OWNER = "User cannot be removed while is the sole-owner of a group"
    WRONG_USER_STATE = "The user is {state} and cannot be made {wanted}."
    TOO_MANY_ATTEMPTS = "Retry in {seconds} seconds"

    # Identity providers
    PASSWORDS_OFF = "Sign-in with a password is turned off"
    SIGN_IN_UNKNOWN = "The sign-in is not known, was completed before, or took too long"
    SIGN_IN_INVALID = "The answer of the identity provider is not valid; the log of the registry has the reason"
    SIGN_IN_DENIED = "The identity provider did not sign you in: {reason}"
    NO_USER_OF_IDENTITY = "No user is linked to this account of the identity provider"
    GROUPS_NOT_LISTED = "The identity provider does not list your groups, as there are too many"
    IDENTITY_TAKEN = "The account of the identity provider is linked to another user"
    PROVIDER_AWAY = "The identity provider does not respond"

    # Tokens and jobs
    UNKNOWN_SCOPE = "can only contain available scopes"
    NO_SCOPE = "Scopes can't be blank"
    EXPIRES_TOO_LATE = "must be before {day}"
    INVALID_TOKEN_USERNAME = "can contain only letters, digits, '_', '-', '+', and '.'"
    INVALID_JOB_TEXT = "must have 1 to 255 characters"
    JOB_LIFETIME_OUT_OF_RANGE = "expires_in must be between 1 and {longest} seconds"
    NO_END_OF_A_JOB = "status must be success, failed or canceled"
    JOB_ENDED = "the job has ended already, as {status}"
    NO_ISSUER = "is not an issuer; expected is its https URL, without query or /.well-known/openid-configuration"
    ISSUER_NOT_PUBLIC = "has an address that is not public; an administrator has to list it (oidc_trusted_issuers)"
    ISSUER_MISSPELLED = "is not spelled as in identity tokens; expected is {expected}"
    ISSUER_NOT_LISTED = "is not one of the issuers that this registry trusts: {issuers}"
    TOO_MANY_IDENTITIES = "is one too many: there are {maximum} already, which is the maximum"
    TOO_MANY_CLAIMS = "are too many (maximum is {maximum})"
    NO_CLAIM_NAME = "contain '{name}', which is not the name of a claim about the job"
    REPEATED_CLAIM = "contain '{name}' more than once"
    NO_CLAIM_VALUE = "have no value of 1 to 255 printable characters for {name}"
    NO_CLAIMS = "can't be blank, or match any token; one has to name the job or its owner, not only a branch"
    CLAIMS_OF_ANYONE = "must name an owner, because anyone can get tokens from this issuer: one of {claims}"
    CLAIM_MATCHES_NOTHING = "have '{value}' for {name}, which no token has; an example is {example}"
    ALREADY_IN_ALLOWLIST = "is already in the job token scope"
    ALLOWLIST_FULL = "exceeds the allowable number of project links ({maximum})"

    # Packages
    PROTECTED = "Package protected."
    ONLY_TRUSTED_PUBLISHERS = "Only trusted publishers can publish to this project."
    NAME_NOT_TRUSTED = "The trusted publisher can publish only {names} to this project."
    PATTERN_TAKEN = "Package name pattern has already been taken"
    INVALID_PATTERN = "Package name pattern should be a valid PyPI package name with optional wildcard characters."
    RULE_WITHOUT_ROLE = "A rule must have at least a minimum access role for push or delete."
    NAME_RESERVED = (
        "The name {name} is reserved by the entry {pattern} of the instance, for other groups than {top}; an "
        "administrator can publish the first package of it there"
    )
    NAME_IN_USE = "{name} cannot be released while a project has packages or a quarantine of it"
    NOTHING_TO_YANK = "{release} has no files that could be yanked"

    # Uploads
    INVALID_UPLOAD = "Validation failed: {reasons}"
    MALFORMED_FORM = "The body is not a well-formed multipart/form-data form"
    FORM_TOO_LARGE = "The form's text fields, or the heads of its parts, are larger than {maximum} bytes together"
    PART_HEAD_TOO_LARGE = (
        "The form has a part with a head of more than {maximum} bytes, or of more than {pieces} lines and parameters"
    )
    FILE_TOO_LARGE = "File is too large"
    NO_FILENAME = "{filename} is not a file name; expected is that of a wheel or an sdist"
    WRONG_DIGEST = "{name} does not match the file: the bytes received have {computed}"
    STORAGE_LIMIT = (
        "Storage limit reached: {holder} may hold {limit_bytes} bytes and holds {held_bytes}, "
        "so that {size_bytes} more do not fit"
    )
    STORAGE_LIMIT_ABOVE = (
        "Storage limit reached: {holder} may hold {limit_bytes} bytes, and has no room for {size_bytes} more"
    )
    STORAGE_LIMIT_WITH_UPLOADS = (
        "Storage limit reached: {holder} may hold {limit_bytes} bytes, holds {held_bytes}, and is receiving "
        "{received_bytes}, so that {size_bytes} more do not fit"
    )
    NAME_CLOSED = "Package {name} is {status} and takes no more files."
    NAME_CLOSED_BECAUSE = "Package {name} is {status} and takes no more files: {reason}"

    # Requests and credentials
    INVALID_PARAMETER = "{complaint}"
    INVALID_HOST = "The Host or X-Forwarded-Host header is not a valid host name or address with an optional port"
    INVALID_PREFIX = "The X-Forwarded-Prefix header of the proxy is not a path"
    INVALID_SCHEME = "The X-Forwarded-Proto header of the proxy is neither http nor https"
    TOKEN_EXPIRED = "Token is expired. You can either do re-authorization or token refresh."
    TOKEN_REVOKED = "Token was revoked. You have to re-authorize from the user."
    USER_BLOCKED = "Your account has been blocked."
    USER_DEACTIVATED = "Your account has been deactivated by your administrator."
    SCOPE_TOO_NARROW = "The request requires higher privileges than provided by the access token."
    SUDO_WITHOUT_ADMIN = "Must be admin to use sudo"
    USERS_NOT_LISTED = "Not authorized to access /api/v4/users"
    USER_NOT_SHOWN = "Not authorized!"

    # Unavailable or full services
    DATABASE_AWAY = "The database is not responding."
    DATABASE_FULL = "The database's disk is full."
    STORE_AWAY = "The package store is not responding."
    STORE_WITHOUT_BUCKET = "The package store has no such bucket."
    STORE_REFUSES = "The package store refuses the registry's requests."
    STORE_NOT_WRITABLE = "The package store cannot be written: {cause}."
    STORE_FULL = "The package store is full."
    DISK_FULL = "The disk is full."
    EXAMINING_TOO_MUCH = "Too many large files are being examined."
    TOO_MUCH_OF_ONE = "Your uploads in progress may take {maximum} bytes in total."
    TOO_MUCH_AT_ONCE = "Uploads in progress may take {maximum} bytes in total."


class Fault:
    """One reason of an error: its code, and the values in its message."""

    def __init__(self, code: Code, **values: object) -> None:
        self.code = code
        self.values = values
        self._sentence = code.value.format(**values)

    def __str__(self) -> str:
        """The message of the API."""
        return self._sentence


class RegistryError(Exception):
    """Base of all errors of requests; ``status`` is the HTTP status, and ``body()`` the JSON response."""

    status = 500
    phrase = "Internal Server Error"
    # The reason in the metrics of authentication failures, if it is one.
    auth_failure: str | None = None
    # The time after which the request can succeed, if retrying helps.
    retry_after_seconds: int | None = None
    # The kind of problem, and what helps against all problems of this kind (RFC 9457, section 3.1.3).
    title = ""
    advice = ""
    _detail = ""

    def __init__(self, code: Code | None = None, **values: object) -> None:
        super().__init__()
        self.faults = [] if code is None else [Fault(code, **values)]

    def explained(self, title: str, detail: str) -> Self:
        """Return the error itself, with an explanation that only the place that raises it can give."""
        self.title, self._detail = title, " ".join(detail.split())
        return self

    def __str__(self) -> str:
        return self.reason or self.phrase

    @property
    def is_explained(self) -> bool:
        """Whether the place that raised the error has explained it."""
        return bool(self._detail)

    @property
    def reason(self) -> str:
        """The message of the API, without the status; empty if the status suffices."""
        return "".join(map(str, self.faults))

    @property
    def message(self) -> str:
        """The message for the client, which starts with the status as in GitLab."""
        heading = f"{self.status} {self.phrase}"
        return f"{heading} - {self.reason}" if self.reason else heading

    @property
    def sentence(self) -> str:
        """The message without the status, for the log and the shell."""
        return self.reason or self.message

    @property
    def headline(self) -> str:
        """The message, or a summary of it that fits in a status line."""
        return self.message

    @property
    def detail(self) -> str:
        """What was refused and why, and what the caller can do (RFC 9457, section 3.1.4); in sentences."""
        return self._detail or " ".join(filter(None, (_sentence(self.reason), self.advice)))

    def body(self) -> dict[str, object]:
        return {"message": self.message}

    def headers(self) -> dict[str, str]:
        """Return the headers of responses in any format (RFC 9110, section 10.2.3)."""
        return {} if self.retry_after_seconds is None else {"Retry-After": str(self.retry_after_seconds)}


class BadRequest(RegistryError):
    status = 400
    phrase = "Bad request"
    title = "Bad request"


class InvalidParameter(RegistryError):
    """A request parameter is missing or malformed: ``{"error": "name is missing"}``."""

    status = 400
    phrase = "Bad request"
    title = "Invalid parameter"

    def __init__(self, complaint: str) -> None:
        super().__init__(Code.INVALID_PARAMETER, complaint=complaint)

    @property
    def message(self) -> str:
        return self.reason

    def body(self) -> dict[str, object]:
        return {"error": self.reason}


Faults = Mapping[str, Iterable[Fault]]  # by field


class InvalidRecord(RegistryError):
    """A record is invalid: ``{"message": {"path": ["has already been taken"]}}``.

    :param fields: the errors of each field.
    """

    status = 400
    phrase = "Bad request"

    def __init__(self, fields: Faults) -> None:
        super().__init__()
        self.fields = {field: list(faults) for field, faults in fields.items()}
        self.faults = [fault for faults in self.fields.values() for fault in faults]

    @property
    def errors(self) -> dict[str, list[str]]:
        """The messages of the API by field."""
        return {field: [str(fault) for fault in faults] for field, faults in self.fields.items()}

    @property
    def reason(self) -> str:
        return "; ".join(f"{field} {text}" for field, texts in self.errors.items() for text in texts)

    @property
    def message(self) -> str:
        return self.reason

    def body(self) -> dict[str, object]:
        return {"message": self.errors}


class InvalidGroup(InvalidRecord):
    """A group is invalid; GitLab returns its errors as one line: ``Failed to save group {:path=>[…]}``."""

    @property
    def message(self) -> str:
        listed = ", ".join(
            f":{field}=>[{', '.join(_quoted(text) for text in texts)}]" for field, texts in self.errors.items()
        )
        return f"Failed to save group {{{listed}}}"

    def body(self) -> dict[str, object]:
        return {"message": self.message}


class PlainRefusal(RegistryError):
    """An error with a message that does not start with the status."""

    status = 400

    @property
    def message(self) -> str:
        return self.reason


class ValidationFailed(BadRequest):
    """An upload is invalid: ``400 Bad request - Validation failed: Version is invalid``."""

    def __init__(self, *reasons: str) -> None:
        super().__init__(Code.INVALID_UPLOAD, reasons=", ".join(reasons))


class DuplicateFile(ValidationFailed):
    """The file name exists. Do not change the message: clients match it to skip existing files."""

    def __init__(self, filename: str) -> None:
        super().__init__(f"File name has already been taken ({filename} already exists)")


@dataclass(frozen=True)
class Problem:
    """One problem of an upload.

    :ivar field: a form field in lowercase, a metadata field as spelled in the standard, a part of the file such as
        ``RECORD``, or ``content`` for the archive itself.
    :ivar value: the actual value; empty if it is missing.
    :ivar expected: a description of valid values.
    :ivar sentence: the message, if it is not composed of the other attributes.
    """

    field: str
    value: str
    expected: str
    sentence: str = ""

    def __str__(self) -> str:
        found = quoted(self.value) if self.value else "missing"
        return self.sentence or f"{self.field} is {found}, expected is {self.expected}"

    def as_json(self) -> dict[str, object]:
        return {"field": self.field, "value": self.value[:LONGEST_VALUE], "expected": self.expected}


class InvalidDistribution(ValidationFailed):
    """The uploaded file is not a distribution, is unsafe to read, or does not match the form.

    :param problems: all problems; a string describes a problem of the archive.
    """

    def __init__(self, *problems: Problem | str) -> None:
        self.problems = tuple(
            Problem("content", problem, "an archive that all installers read alike and unpack without harm", problem)
            if isinstance(problem, str)
            else problem
            for problem in problems
        )
        worded = ", ".join(problem.sentence for problem in self.problems if problem.sentence)  # as GitLab does
        described = [str(problem) for problem in self.problems if not problem.sentence]
        super().__init__("; ".join(filter(None, [worded, *described])))

    @property
    def headline(self) -> str:
        if len(self.problems) < 2:
            return self.message
        return f"{self.status} {self.phrase} - {len(self.problems)} problems, the first: {self.problems[0]}"

    def body(self) -> dict[str, object]:
        return {"message": self.message, "errors": [problem.as_json() for problem in self.problems]}


class TooLarge(BadRequest):
    def __init__(self) -> None:
        super().__init__(Code.FILE_TOO_LARGE)


class StorageLimitReached(BadRequest):
    """The file would exceed a storage limit.

    :param holder: the project or group with the limit, such as ``group acme``.
    :param held_bytes: ``None`` if the caller is not allowed to know it.
    :param received_bytes: of other uploads that are being received.
    """

    def __init__(
        self, holder: str, limit_bytes: int, held_bytes: int | None, size_bytes: int, received_bytes: int = 0
    ) -> None:
        known = Code.STORAGE_LIMIT_WITH_UPLOADS if received_bytes else Code.STORAGE_LIMIT
        super().__init__(
            Code.STORAGE_LIMIT_ABOVE if held_bytes is None else known,
            holder=holder, limit_bytes=limit_bytes, held_bytes=held_bytes, size_bytes=size_bytes,
            received_bytes=received_bytes,
        )  # fmt: skip


class SettingLocked(InvalidRecord):
    def __init__(self, setting: str) -> None:
        super().__init__({setting: [Fault(Code.LOCKED_ABOVE)]})


class Unauthenticated(RegistryError):
    """The caller is anonymous or has invalid credentials, and signing in can help.

    :param hidden: set if the namespace is hidden from anonymous callers; the REST API then returns 404, while the PyPI
        API must challenge (GitLab, packages API and PyPI API).
    """

    status = 401
    phrase = "Unauthorized"
    auth_failure = "unauthenticated"
    title = "Authentication required"
    advice = (
        "Reading this requires a token. Send a personal access token with the scope read_api or api, a deploy token "
        "with read_package_registry, or the token of a running CI job, as the password of Basic authentication. "
        "The user name is gitlab-ci-token for a job token, and any name for the others."
    )

    def __init__(self, *, hidden: NotFound | None = None) -> None:
        super().__init__()
        self.hidden = hidden


class InvalidToken(RegistryError):
    """The access token has expired or was revoked (RFC 6750, section 3.1)."""

    status = 401
    phrase = "Unauthorized"

    def body(self) -> dict[str, object]:
        return {"error": "invalid_token", "error_description": self.reason}


class ExpiredToken(InvalidToken):
    """The access token has expired.

    :param expired_on: the day, at 00:00 UTC.
    """

    auth_failure = "expired_token"

    def __init__(self, expired_on: date) -> None:
        super().__init__(Code.TOKEN_EXPIRED)
        self.explained("Token expired", f"The personal access token expired on {expired_on}. {NEW_ACCESS_TOKEN}")


class RevokedToken(InvalidToken):
    auth_failure = "revoked_token"

    def __init__(self) -> None:
        super().__init__(Code.TOKEN_REVOKED)
        self.explained("Token revoked", f"The personal access token was revoked. {NEW_ACCESS_TOKEN}")


class Forbidden(RegistryError):
    status = 403
    phrase = "Forbidden"
    auth_failure: str | None = "forbidden"
    title = "Permission denied"


class InactiveUser(Forbidden):
    auth_failure = "inactive_user"
    title = "User inactive"
    advice = "Ask an administrator of the registry."


class ProtectedPackage(Forbidden):
    def __init__(self) -> None:
        super().__init__(Code.PROTECTED)


class ClosedPackageName(Forbidden):
    """The package name accepts no uploads, as it is archived or quarantined (PEP 792)."""

    auth_failure = None  # independent of the caller

    def __init__(self, name: str, status: str, reason: str) -> None:
        if reason:
            super().__init__(Code.NAME_CLOSED_BECAUSE, name=name, status=status, reason=reason)
        else:
            super().__init__(Code.NAME_CLOSED, name=name, status=status)


class ReservedPackageName(Forbidden):
    """The package name is reserved by the instance, for other groups."""

    auth_failure = None  # depends on the project

    def __init__(self, name: str, pattern: str, top: str) -> None:
        super().__init__(Code.NAME_RESERVED, name=name, pattern=pattern, top=top)


class QuarantinedPackage(Forbidden):
    """The file is withheld, as its package name is quarantined (PEP 792)."""

    auth_failure = None  # independent of the caller


class InsufficientScope(RegistryError):
    """The access token has none of the accepted scopes (RFC 6750, section 3.1)."""

    status = 403
    phrase = "Forbidden"
    auth_failure = "insufficient_scope"

    def __init__(self, accepted: Iterable[str]) -> None:
        super().__init__(Code.SCOPE_TOO_NARROW)
        self.accepted = tuple(accepted)
        scopes = " or ".join(self.accepted)
        self.explained("Scope missing", f"The personal access token lacks the scope {scopes}. {NEW_ACCESS_TOKEN}")

    def body(self) -> dict[str, object]:
        return {
            "error": "insufficient_scope",
            "error_description": self.reason,
            "scope": " ".join(self.accepted),
        }


class NotFound(RegistryError):
    """A resource does not exist, or is hidden from the caller.

    :param what: the kind of resource, such as ``"Project"`` or ``"Package"``; optional.
    """

    status = 404
    phrase = "Not Found"
    title = "Not found"
    advice = "There is nothing at this address."

    def __init__(self, what: str = "") -> None:
        super().__init__()
        self.what = what

    @property
    def detail(self) -> str:
        """The same for an absent namespace and for one that is hidden from the caller."""
        if self._detail or self.what not in ("Project", "Group"):
            return super().detail
        kind = self.what.lower()
        return (
            f"There is no such {kind}, or this token cannot read it. Check its number, or its path with %2F in place "
            "of each slash, and that the user of the token is a member. A deploy token reaches only its own project or "
            "group. For the job token of another project, check the job token allowlist."
        )

    @property
    def message(self) -> str:
        return f"404 {self.what} Not Found" if self.what else "404 Not Found"


class UpstreamAway(NotFound):
    """The package is not here, and the upstream index that requests are forwarded to does not answer.

    :param host: of the upstream.
    """

    title = "Public index unreachable"
    retry_after_seconds = 10

    def __init__(self, name: str, host: str) -> None:
        super().__init__("Package")
        self.explained(
            self.title,
            f"The package {name} is not here, and {host}, to which requests for other packages are forwarded, does not "
            "answer. Try again later. In a network without it, an Owner of the group can switch off the setting "
            '"Forward PyPI package requests".',
        )


class UpstreamFailed(RegistryError):
    """The upstream index does not deliver a page or file that is not kept here.

    :param upstream_status: of its response; ``None`` if there was none, or it was not usable.
    """

    status = 502
    phrase = "Bad Gateway"
    title = "Public index unreachable"
    retry_after_seconds = 10

    def __init__(self, upstream_status: int | None = None) -> None:
        super().__init__()
        self.upstream_status = upstream_status


class WithheldByRule(Forbidden):
    """A file that a rule of the registry keeps from clients.

    :param rule: as in ``simple.Withheld``.
    """

    auth_failure = None  # independent of the caller

    def __init__(self, rule: str) -> None:
        super().__init__()
        self.rule = rule


class RecordNotFound(NotFound):
    """A record does not exist; GitLab's generic message for it has a lowercase f."""

    @property
    def message(self) -> str:
        return "404 Not found"


class MethodNotAllowed(RegistryError):
    """The URL exists, but does not support the kind of credential used."""

    status = 405
    phrase = "Method Not Allowed"


class Conflict(PlainRefusal):
    status = 409
    phrase = "Conflict"


class AlreadyTaken(Conflict):
    """Values that others have; the API names the first, as in GitLab, and pages all.

    :param taken: the code of each field.
    """

    def __init__(self, taken: Mapping[str, Code]) -> None:
        super().__init__(next(iter(taken.values())))
        self.fields = {field: [Fault(code)] for field, code in taken.items()}


class DescribedError(RegistryError):
    """Base of errors that a protocol identifies by a code, and describes in a sentence."""

    def __init__(self, code: str, description: str) -> None:
        super().__init__()
        self.code = code
        self.description = description

    @property
    def reason(self) -> str:
        return self.description

    @property
    def message(self) -> str:
        return self.description


class IdentityTokenRefused(DescribedError):
    """An identity token cannot be exchanged (the protocol of PyPI's trusted publishing).

    :param code: ``invalid-payload``, ``invalid-token``, or ``invalid-publisher``, as on PyPI.
    :param description: a sentence.
    """

    status = 422
    phrase = "Unprocessable Entity"
    auth_failure = "identity_token_refused"

    def body(self) -> dict[str, object]:
        """The errors as clients of trusted publishing show them."""
        return {"message": self.description, "errors": [{"code": self.code, "description": self.description}]}


class IssuerNotUsable(IdentityTokenRefused):
    """The issuer of an identity token does not deliver its keys, so the token cannot be verified.

    :param description: a sentence.
    """

    def __init__(self, description: str) -> None:
        super().__init__("invalid-token", description)


class TokenExchangeRefused(DescribedError):
    """The parameters of a token exchange are not those that the registry supports (RFC 6749, section 5.2).

    :param code: ``invalid_request``, ``unsupported_grant_type``, ``invalid_scope``, or ``invalid_target`` (RFC 8693).
    :param description: a sentence.
    """

    status = 400
    phrase = "Bad Request"


class PreconditionFailed(RegistryError):
    status = 412
    phrase = "Precondition Failed"


class Unprocessable(PlainRefusal):
    status = 422
    phrase = "Unprocessable Entity"


class TooManyRequests(RegistryError):
    """Too many attempts failed.

    :param retry_after_seconds: the time after which the request is processed again.
    """

    status = 429
    phrase = "Too Many Requests"
    auth_failure = "too_many_attempts"

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__(Code.TOO_MANY_ATTEMPTS, seconds=retry_after_seconds)
        self.retry_after_seconds = retry_after_seconds


class Unavailable(RegistryError):
    """The database or store is unavailable at the moment; the request can succeed later."""

    status = 503
    phrase = "Service Unavailable"
    title = "Service unavailable"
    advice = "Try again in a few seconds."
    retry_after_seconds = 5


class SignInCodeRefused(BadRequest):
    """The identity provider does not accept the code with which a browser came back, as if it was invented."""

    def __init__(self) -> None:
        super().__init__(Code.SIGN_IN_INVALID)


class ProviderAway(Unavailable):
    """The identity provider does not respond, so that its users cannot sign in."""

    title = "Identity provider unreachable"

    def __init__(self) -> None:
        super().__init__(Code.PROVIDER_AWAY)


class UpstreamBusy(Unavailable):
    """All threads that may wait for the upstream index do so."""

    title = "Public index slow"
    retry_after_seconds = 2


class DiskFull(Unavailable):
    """A disk is full; nothing of the data being written was stored. Reads still work."""

    status = 507
    phrase = "Insufficient Storage"
    title = "Disk full"
    advice = "An administrator of the registry has to make room."


def is_disk_full(error: OSError) -> bool:
    """Return whether an error means that the disk, a quota, or the file size limit is exhausted."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _sentence(text: str) -> str:
    return text if not text or text.endswith(".") else f"{text}."


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
