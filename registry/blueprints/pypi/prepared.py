"""Answers kept ready: a page that was made for a caller is given again while nothing has changed.

Every transaction that changes what any reader may be answered raises the content generation in the database
(``database.transaction``), in whichever process it runs. A kept answer belongs to one generation: one look at that
number says whether it still holds, after any upload, deletion, revocation or change of membership, at once. What
changes by the clock alone (tokens and memberships end, jobs time out) bounds an answer's age.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import wraps
from threading import Lock
from typing import Any, TypeVar, cast

from flask import Response, current_app, g, request

from registry import database
from registry.blueprints.auth.credentials import current_principal, token_key
from registry.database import utcnow

View = TypeVar("View", bound=Callable[..., Response])

LONGEST = timedelta(seconds=60)
LIMIT_BYTES = 64 << 20
_OVERHEAD_BYTES = 1024  # an entry's headers and bookkeeping, roughly
# Everything an answer depends on besides the database.
_KEY_PARTS = (
    "wsgi.url_scheme",
    "HTTP_HOST",
    "SCRIPT_NAME",
    "PATH_INFO",
    "REQUEST_URI",
    "RAW_URI",
    "QUERY_STRING",
    "HTTP_ACCEPT",
    "HTTP_AUTHORIZATION",
    "HTTP_PRIVATE_TOKEN",
    "HTTP_DEPLOY_TOKEN",
    "HTTP_COOKIE",
)


@dataclass(frozen=True)
class Answer:
    body: bytes
    status: int
    headers: list[tuple[str, str]]
    principal: str
    valid_until: datetime


class PreparedAnswers:
    """The answers of one generation, up to a number of bytes; all are dropped when it changes or they grow too many."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._generation = -1
        self._answers: dict[bytes, Answer] = {}
        self._size_bytes = 0

    def find(self, generation: int, key: bytes, now: datetime) -> Answer | None:
        if generation != self._generation:
            return None
        answer = self._answers.get(key)
        return answer if answer is not None and now < answer.valid_until else None

    def keep(self, generation: int, key: bytes, answer: Answer) -> None:
        """:param generation: as read before anything that went into the answer."""
        size_bytes = len(answer.body) + _OVERHEAD_BYTES
        with self._lock:
            if generation < self._generation:
                return
            if generation != self._generation or self._size_bytes + size_bytes > LIMIT_BYTES:
                self._generation, self._answers, self._size_bytes = generation, {}, 0
            if size_bytes <= LIMIT_BYTES:
                self._answers[key] = answer
                self._size_bytes += size_bytes


def prepared(view: View) -> View:
    """For views whose answer depends on the database, the address and ``Accept`` alone; 200 and 302 are kept."""

    @wraps(view)
    def answered(**arguments: Any) -> Response:
        answers: PreparedAnswers = current_app.extensions["prepared"]
        generation, now = database.generation(), utcnow()
        key = _key()
        answer = answers.find(generation, key, now)
        if answer is None:
            response = view(**arguments)
            if response.status_code in (200, 302):
                answers.keep(generation, key, _answer(response, now))
        else:
            g.principal_label = answer.principal
            response = Response(answer.body, answer.status, answer.headers)
        response.make_conditional(request)
        return response

    return cast(View, answered)


def _key() -> bytes:
    """Keyed, so that no credential lies in memory longer than its request."""
    environ = request.environ
    parts = "\n".join([environ.get(part, "") for part in _KEY_PARTS])
    return hashlib.blake2b(parts.encode("utf-8", "surrogatepass"), key=token_key(), digest_size=32).digest()


def _answer(response: Response, now: datetime) -> Answer:
    principal = current_principal()
    ends = [now + LONGEST, (now.astimezone(UTC) + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)]
    if principal.job is not None:
        ends.append(principal.job.expires_at)
    if principal.deploy_token is not None and principal.deploy_token.expires_at is not None:
        ends.append(principal.deploy_token.expires_at)
    return Answer(response.get_data(), response.status_code, list(response.headers), g.principal_label, min(ends))
