"""The keys of issuers, kept in memory."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from threading import BoundedSemaphore, Lock
from typing import Any

from registry.domain.issuers import GITHUB, GITLAB
from registry.errors import IdentityTokenRefused, IssuerNotUsable, SourceError, Unavailable

KEYS_SECONDS = 3600  # after which keys are asked for again, and withdrawn ones are no longer accepted
KEPT_SECONDS = 86400  # for which keys are accepted while their issuer cannot be asked
PAUSE_SECONDS = 30  # between requests to an issuer, however many tokens have unknown keys
KEPT_ISSUERS = 100
CONCURRENT_REQUESTS = 4  # one of each issuer; further tokens that need one are refused for a moment
WAITING, WAIT_SECONDS = 3, 2  # for the request of another thread to the same issuer

Key = dict[str, Any]  # a JSON Web Key (RFC 7517)


class Issuers:
    """The keys of issuers, kept in memory; thread-safe. No issuer holds up the tokens of another one.

    :param clock: returns seconds that only increase.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._asked: dict[str, _Asked] = {}  # in the latest seconds; also issuers whose keys had to make room
        self._requests = BoundedSemaphore(CONCURRENT_REQUESTS)
        self._waiting = BoundedSemaphore(WAITING)

    def key(self, issuer: str, key_id: str, listed: Collection[str]) -> Key:
        """Return a key of an issuer, which is asked for its keys if this one is not known, or was received long ago.

        :param listed: the issuers that administrators have listed.
        :raises IdentityTokenRefused: the issuer has no such key.
        :raises IssuerNotUsable: the issuer does not deliver its keys.
        :raises Unavailable: the issuer, or too many others, are being asked.
        """
        kept = self._of(issuer, listed)
        found = kept.find(key_id, self._clock(), KEYS_SECONDS)
        if found is not None:
            return found
        is_answered = self._refresh(kept, issuer, key_id, is_listed=issuer in listed)
        found = kept.find(key_id, self._clock(), KEPT_SECONDS)
        if found is not None:
            return found
        asked = self._asked.get(issuer)
        if asked is not None and asked.failure:
            raise IssuerNotUsable(f"The keys of the issuer {issuer} are not usable: {asked.failure}.")
        if not is_answered:
            raise Unavailable
        raise IdentityTokenRefused(
            "invalid-token",
            f"The issuer {issuer} has no key with the ID in the token (kid).",
        )

    def _of(self, issuer: str, listed: Collection[str]) -> _Kept:
        with self._lock:
            kept = self._kept.setdefault(issuer, _Kept())
            if kept.is_listed and issuer not in listed:  # its address may be one that only listed issuers can have
                kept = self._kept[issuer] = _Kept()
            kept.is_listed = issuer in listed
            self._kept.move_to_end(issuer)
            if len(self._kept) > KEPT_ISSUERS:
                self._make_room(issuer)
            return kept

    def _make_room(self, issuer: str) -> None:
        """Forget the keys of the issuer that was needed longest ago, of those that users name if there are any."""
        idle = [name for name, kept in self._kept.items() if name != issuer and not kept.lock.locked()]
        if idle:
            del self._kept[min(idle, key=lambda name: self._kept[name].is_listed or name in (GITHUB, GITLAB))]

    def _refresh(self, kept: _Kept, issuer: str, key_id: str, *, is_listed: bool) -> bool:
        """Ask an issuer for its keys unless it was asked a moment ago; return whether its latest answer is known."""
        if not self._acquired(kept, key_id):
            return False
        try:
            now = self._clock()
            if kept.find(key_id, now, KEYS_SECONDS) is not None:
                return True
            asked = self._asked.get(issuer)
            if asked is not None and now < asked.at + PAUSE_SECONDS:
                return kept.received_at >= asked.began_at
            if not self._requests.acquire(blocking=False):
                return False
            try:
                self._ask(kept, issuer, is_listed=is_listed)
            finally:
                self._requests.release()
            return True
        finally:
            kept.lock.release()

    def _acquired(self, kept: _Kept, key_id: str) -> bool:
        """Lock an issuer, for whose request in another thread only tokens without a usable key wait."""
        if kept.lock.acquire(blocking=False):
            return True
        if kept.find(key_id, self._clock(), KEPT_SECONDS) is not None or not self._waiting.acquire(blocking=False):
            return False
        try:
            return kept.lock.acquire(timeout=WAIT_SECONDS)
        finally:
            self._waiting.release()

    def _ask(self, kept: _Kept, issuer: str, *, is_listed: bool) -> None:
        from registry.domain.oidc.discovery import published_keys  # the HTTP client takes long to import

        began_at, failure = self._clock(), ""
        try:
            kept.keys = published_keys(issuer, is_listed=is_listed)
        except SourceError as error:
            failure = error.sentence
        else:
            kept.received_at = began_at
        now = self._clock()
        with self._lock:
            recent = {name: asked for name, asked in self._asked.items() if now < asked.at + PAUSE_SECONDS}
            self._asked = recent | {issuer: _Asked(began_at, now, failure)}


@dataclass
class _Kept:
    """The keys of an issuer by ID.

    :ivar is_listed: whether administrators have listed the issuer.
    """

    keys: dict[str, Key] = field(default_factory=dict)
    received_at: float = float("-inf")
    is_listed: bool = False
    lock: Lock = field(default_factory=Lock)

    def find(self, key_id: str, now: float, seconds: float) -> Key | None:
        """Return a key if it was received in the latest ``seconds``; without an ID, the only one."""
        if now >= self.received_at + seconds:
            return None
        return next(iter(self.keys.values())) if not key_id and len(self.keys) == 1 else self.keys.get(key_id)


@dataclass(frozen=True)
class _Asked:
    """The latest request to an issuer.

    :ivar failure: the reason why it delivered no keys; empty if it delivered them.
    """

    began_at: float
    at: float
    failure: str
