"""Admissions: which callers may read or publish what, kept until something changes that decides on access.

To find a namespace by its path, the caller by its credentials, and the caller's role takes longer than to read the
files of a page. The results hold as long as the access number of the content generation (``registry.database``), which
every change increments that can take or alter access; and until time alone can change them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, cast

from registry import credential_names
from registry.database import Model, detach
from registry.domain import access
from registry.domain.access import Permission, Principal, PrincipalKind
from registry.domain.packages import usage
from registry.domain.packages.usage import Allowance
from registry.environ_keys import ACCESS_NUMBER
from registry.models import Group, Namespace, Project

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

LONGEST = timedelta(seconds=60)
LIMIT = 4096  # about 10 MB
_CREDENTIALS = tuple(map(credential_names.environ_key, credential_names.HEADERS))


@dataclass(frozen=True)
class Admission:
    """A caller with a permission in a namespace; the records belong to no session."""

    principal: Principal
    namespace: Namespace
    valid_until: datetime

    @property
    def depends_on_cookie(self) -> bool:
        """Whether the session cookie, or its absence, determines the caller, so that responses vary with it."""
        return self.principal.kind in (PrincipalKind.SESSION, PrincipalKind.ANONYMOUS)

    @cached_property
    def allowance(self) -> Allowance:
        """The limits on uploads to the project, of which every change changes the access number, too."""
        return usage.allowance(cast(Project, self.namespace))


class Admissions:
    """The admissions of one access number, up to ``LIMIT``.

    :param key: key of the digests under which they are kept, so that no credentials are kept in memory.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        # Replaced together, so that no admission is attributed to another number.
        self._kept: tuple[int, dict[bytes, Admission]] = (-1, {})

    def find(self, environ: WSGIEnvironment, permission: Permission, reference: str, now: datetime) -> Admission | None:
        """Return the admission of an earlier request with the same credentials, or ``None``.

        :param reference: the namespace as in the URL, with its kind.
        """
        number, admissions = self._kept
        if environ.get(ACCESS_NUMBER) != number:
            return None
        found = admissions.get(self._digest(environ, permission, reference))
        return found if found is not None and now < found.valid_until else None

    def keep(
        self, environ: WSGIEnvironment, permission: Permission, reference: str, principal: Principal,
        namespace: Namespace, now: datetime,
    ) -> None:  # fmt: skip
        """Keep an admission, whose records are detached from the session of the request.

        Nothing is kept if a transaction of this request has changed them, nor for publishing tokens, which send few
        requests.
        """
        if principal.publishing_token is not None:  # revoked without an effect on the access number
            return
        number = environ[ACCESS_NUMBER]
        if isinstance(namespace, Group):
            principal = access.load_reader(principal)
        if not detach(*_records(principal, namespace)):
            return
        kept_number, admissions = self._kept
        if number < kept_number:
            return
        if number != kept_number or len(admissions) >= LIMIT:
            admissions = {}
            self._kept = (number, admissions)
        admission = Admission(principal, namespace, valid_until(principal, now))
        admissions[self._digest(environ, permission, reference)] = admission

    def _digest(self, environ: WSGIEnvironment, permission: Permission, reference: str) -> bytes:
        parts = (permission, reference, environ.get("QUERY_STRING", ""), *(environ.get(n, "") for n in _CREDENTIALS))
        # ``\n`` separates: no header can contain it, and neither can the other parts.
        return hashlib.blake2b(
            "\n".join(parts).encode("utf-8", "surrogatepass"), key=self._key, digest_size=32
        ).digest()


def valid_until(principal: Principal, now: datetime) -> datetime:
    """Return when time alone can change what a principal may do: tokens and memberships expire, jobs time out."""
    midnight = (now.astimezone(UTC) + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    ends = [now + LONGEST, midnight]
    if principal.job is not None:
        ends.append(principal.job.expires_at)
    if principal.deploy_token is not None and principal.deploy_token.expires_at is not None:
        ends.append(principal.deploy_token.expires_at)
    if principal.reading_token is not None:
        ends.append(principal.reading_token.expires_at)
    return min(ends)


def _records(principal: Principal, namespace: Namespace) -> list[Model]:
    job = principal.job
    held = (
        namespace, principal.user, principal.access_token, principal.deploy_token, principal.reading_token,
        job, job and job.project,
    )  # fmt: skip
    return list({id(record): record for record in held if record is not None}.values())
