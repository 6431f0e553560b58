"""Everything the registry refuses: one class per reason, with its HTTP status and its message.

Where GitLab has a wording it is used to the letter, because scripts and people search for it
("PyPI API", "REST API": error bodies). Each blueprint renders these in its own form. What only the start and the shell
can meet, an ``OperatorError``, has no HTTP status.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

LONGEST_VALUE = 1000  # characters of an uploader's value in an answer


def quoted(value: str) -> str:
    """A value of the uploader as it may stand in a message: one line, ASCII, cut to about a hundred characters."""
    text = ascii(value[:101])
    return text if len(text) <= 102 else f"{text[:100]}...{text[0]}"


class OperatorError(Exception):
    """Base of what stops the start of the registry or a command of the shell: one sentence for the operator."""

    @property
    def sentence(self) -> str:
        return str(self)


class ConfigurationError(OperatorError):
    """The installation cannot start or run as configured; the sentence names setting, value and what is accepted."""


class BackupRefused(OperatorError):
    """A backup cannot be made, or cannot be restored here; some causes take several sentences."""


class BackupUnderWay(OperatorError):
    """Nothing may be removed from the store while a backup is made."""

    def __init__(self) -> None:
        super().__init__("A backup is being made, which may need what would be removed; run this again after it.")


class RegistryError(Exception):
    """Base of all refusals of requests; ``status`` is the HTTP status, ``body()`` the JSON answer."""

    status = 500
    phrase = "Internal Server Error"
    # What it is counted as, if it is about who asked and what they may.
    auth_failure: str | None = None
    # When the same request can succeed, if waiting helps.
    retry_after_seconds: int | None = None

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason or self.phrase)
        self.reason = reason

    @property
    def message(self) -> str:
        """The sentence shown to whoever asked, led by the status as in GitLab."""
        heading = f"{self.status} {self.phrase}"
        return f"{heading} - {self.reason}" if self.reason else heading

    @property
    def sentence(self) -> str:
        """The reason alone, for the log and the shell, where a status means nothing."""
        return self.reason or self.message

    @property
    def headline(self) -> str:
        """The message, or as much of it as fits into a status line."""
        return self.message

    def body(self) -> dict[str, object]:
        return {"message": self.message}

    def headers(self) -> dict[str, str]:
        """The headers that the answer has in every form (RFC 9110, section 10.2.3)."""
        return {} if self.retry_after_seconds is None else {"Retry-After": str(self.retry_after_seconds)}


# 400 ------------------------------------------------------------------------------------------------------------


class BadRequest(RegistryError):
    status = 400
    phrase = "Bad request"


class InvalidParameter(RegistryError):
    """A declared request parameter is missing or malformed: ``{"error": "name is missing"}``."""

    status = 400
    phrase = "Bad request"

    @property
    def message(self) -> str:
        return self.reason

    def body(self) -> dict[str, object]:
        return {"error": self.reason}


class InvalidRecord(RegistryError):
    """A record would break its rules: ``{"message": {"path": ["has already been taken"]}}``."""

    status = 400
    phrase = "Bad request"

    def __init__(self, errors: Mapping[str, Iterable[str]]) -> None:
        self.errors = {field: list(messages) for field, messages in errors.items()}
        super().__init__("; ".join(f"{field} {text}" for field, texts in self.errors.items() for text in texts))

    @property
    def message(self) -> str:
        return self.reason

    def body(self) -> dict[str, object]:
        return {"message": self.errors}


class InvalidGroup(InvalidRecord):
    """GitLab words the errors of a group as one line: ``Failed to save group {:path=>[…]}``."""

    @property
    def message(self) -> str:
        listed = ", ".join(
            f":{field}=>[{', '.join(_quoted(text) for text in texts)}]" for field, texts in self.errors.items()
        )
        return f"Failed to save group {{{listed}}}"

    def body(self) -> dict[str, object]:
        return {"message": self.message}


class PlainRefusal(RegistryError):
    """A refusal whose sentence stands alone in the body, without the status in front."""

    status = 400

    @property
    def message(self) -> str:
        return self.reason


class ValidationFailed(BadRequest):
    """An upload breaks a rule of the registry: ``400 Bad request - Validation failed: Version is invalid``."""

    def __init__(self, *reasons: str) -> None:
        super().__init__("Validation failed: " + ", ".join(reasons))


class DuplicateFile(ValidationFailed):
    """Wording matched by the clients' options to skip existing files, old and new: do not reword."""

    def __init__(self, filename: str) -> None:
        super().__init__(f"File name has already been taken ({filename} already exists)")


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with an upload.

    :ivar field: a form field in lower case, a field of the file's metadata as the standard spells it, a part of the
        file such as ``RECORD``, or ``content`` for the archive itself.
    :ivar value: what was found there; empty if nothing.
    :ivar expected: what has to be there.
    :ivar sentence: how it is told, if not in the words of the other three.
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
    """The uploaded file is not a distribution, is unsafe to read, or disagrees with what was claimed.

    :param problems: all of them; a plain sentence tells what is wrong with the archive.
    """

    def __init__(self, *problems: Problem | str) -> None:
        self.problems = tuple(
            Problem("content", problem, "an archive that all installers read alike and unpack without harm", problem)
            if isinstance(problem, str)
            else problem
            for problem in problems
        )
        worded = ", ".join(problem.sentence for problem in self.problems if problem.sentence)  # GitLab's way
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
        super().__init__("File is too large")


class StorageLimitReached(BadRequest):
    """:param holder: the project or group with the limit, as ``group acme``."""

    def __init__(self, holder: str, limit_bytes: int, held_bytes: int, size_bytes: int) -> None:
        super().__init__(
            f"Storage limit reached: {holder} may hold {limit_bytes} bytes and holds {held_bytes}, "
            f"so that {size_bytes} more do not fit"
        )


class SettingLocked(InvalidRecord):
    def __init__(self, setting: str) -> None:
        super().__init__({setting: ["cannot be changed because it is locked by an ancestor"]})


# 401, 403, 404 --------------------------------------------------------------------------------------------------


class Unauthenticated(RegistryError):
    """Nobody is signed in and the answer may depend on who asks.

    :param hidden: an anonymous caller may not even know that the namespace exists; the REST API then answers 404
        where the PyPI API has to challenge (GitLab, packages API against PyPI API).
    """

    status = 401
    phrase = "Unauthorized"
    auth_failure = "unauthenticated"

    def __init__(self, *, hidden: NotFound | None = None) -> None:
        super().__init__()
        self.hidden = hidden


class InvalidToken(RegistryError):
    """A known access token that is expired or revoked (RFC 6750, section 3.1)."""

    status = 401
    phrase = "Unauthorized"

    def body(self) -> dict[str, object]:
        return {"error": "invalid_token", "error_description": self.reason}


class ExpiredToken(InvalidToken):
    auth_failure = "expired_token"

    def __init__(self) -> None:
        super().__init__("Token is expired. You can either do re-authorization or token refresh.")


class RevokedToken(InvalidToken):
    auth_failure = "revoked_token"

    def __init__(self) -> None:
        super().__init__("Token was revoked. You have to re-authorize from the user.")


class Forbidden(RegistryError):
    status = 403
    phrase = "Forbidden"
    auth_failure: str | None = "forbidden"


class InactiveUser(Forbidden):
    auth_failure = "inactive_user"


class ProtectedPackage(Forbidden):
    def __init__(self) -> None:
        super().__init__("Package protected.")


class ClosedPackageName(Forbidden):
    """The package name takes no uploads in its project: it is archived or quarantined (PEP 792)."""

    auth_failure = None  # whoever asks

    def __init__(self, name: str, status: str, reason: str) -> None:
        super().__init__(f"Package {name} is {status} and takes no more files" + (f": {reason}" if reason else "."))


class InsufficientScope(RegistryError):
    """The access token lacks every scope that would do (RFC 6750, section 3.1)."""

    status = 403
    phrase = "Forbidden"
    auth_failure = "insufficient_scope"

    def __init__(self, accepted: Iterable[str]) -> None:
        super().__init__("The request requires higher privileges than provided by the access token.")
        self.accepted = tuple(accepted)

    def body(self) -> dict[str, object]:
        return {
            "error": "insufficient_scope",
            "error_description": self.reason,
            "scope": " ".join(self.accepted),
        }


class NotFound(RegistryError):
    """:param what: ``"Project"``, ``"Package"``, …: the thing that is not there, or nothing."""

    status = 404
    phrase = "Not Found"

    def __init__(self, what: str = "") -> None:
        super().__init__()
        self.what = what

    @property
    def message(self) -> str:
        return f"404 {self.what} Not Found" if self.what else "404 Not Found"


class RecordNotFound(NotFound):
    """GitLab's generic answer for a missing record, with a lower-case f."""

    @property
    def message(self) -> str:
        return "404 Not found"


# 405, 409, 412, 422, 429, 503 ------------------------------------------------------------------------------------


class MethodNotAllowed(RegistryError):
    """The address exists, but not for the credential that was used."""

    status = 405
    phrase = "Method Not Allowed"


class Conflict(PlainRefusal):
    status = 409
    phrase = "Conflict"


class PreconditionFailed(RegistryError):
    status = 412
    phrase = "Precondition Failed"


class Unprocessable(PlainRefusal):
    status = 422
    phrase = "Unprocessable Entity"


class TooManyRequests(RegistryError):
    """:param retry_after_seconds: when the same request is looked at again."""

    status = 429
    phrase = "Too Many Requests"
    auth_failure = "too_many_attempts"

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__(f"Retry in {retry_after_seconds} seconds")
        self.retry_after_seconds = retry_after_seconds


class Unavailable(RegistryError):
    """A part the registry needs (database, store) does not answer now; the same request may succeed later."""

    status = 503
    phrase = "Service Unavailable"
    retry_after_seconds = 5


class NoRoom(Unavailable):
    """A disk takes no more bytes; nothing was kept of what was being written. Reading goes on."""

    status = 507
    phrase = "Insufficient Storage"


def is_for_lack_of_room(error: OSError) -> bool:
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
