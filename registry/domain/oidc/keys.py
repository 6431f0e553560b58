"""The keys of issuers, kept in memory."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from threading import BoundedSemaphore, Lock
from typing import Any

from registry.errors import IdentityTokenRefused, SourceError, Unavailable

KEYS_SECONDS = 3600  # after which withdrawn keys are no longer accepted
PAUSE_SECONDS = 30  # between requests to an issuer, however many tokens have unknown keys
KEPT_ISSUERS = 100
CONCURRENT_REQUESTS = 4  # of all issuers; further tokens that need one are refused for a moment

Key = dict[str, Any]  # a JSON Web Key (RFC 7517)


class Issuers:
    """The keys of issuers, kept in memory; thread-safe.

    :param clock: returns seconds that only increase.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._requests = BoundedSemaphore(CONCURRENT_REQUESTS)

    def key(self, issuer: str, key_id: str, listed: Collection[str]) -> Key:
        """Return a key of an issuer, which is asked for its keys if this one is not known.

        :param listed: the issuers that administrators have listed.
        :raises IdentityTokenRefused: the issuer has no such key, or does not deliver its keys.
        :raises Unavailable: too many issuers are being asked.
        """
        kept = self._of(issuer)
        found = kept.find(key_id, self._clock())
        if found is not None:
            return found
        if not self._requests.acquire(blocking=False):
            raise Unavailable
        try:
            with kept.lock:
                self._refresh(kept, issuer, key_id, is_listed=issuer in listed)
        finally:
            self._requests.release()
        found = kept.find(key_id, self._clock())
        if found is not None:
            return found
        if kept.failure:
            raise _refused(f"The keys of the issuer {issuer} are not usable: {kept.failure}.")
        raise _refused(f"The issuer {issuer} has no key with the ID in the token (kid).")

    def _of(self, issuer: str) -> _Kept:
        with self._lock:
            kept = self._kept.setdefault(issuer, _Kept())
            self._kept.move_to_end(issuer)
            while len(self._kept) > KEPT_ISSUERS:
                self._kept.popitem(last=False)
            return kept

    def _refresh(self, kept: _Kept, issuer: str, key_id: str, *, is_listed: bool) -> None:
        now = self._clock()
        if kept.find(key_id, now) is not None or now < kept.asked_at + PAUSE_SECONDS:
            return
        from registry.domain.oidc.discovery import published_keys  # the HTTP client takes long to import

        try:
            kept.keys, kept.failure = published_keys(issuer, is_listed=is_listed), ""
        except SourceError as error:
            kept.failure = error.sentence
        else:
            kept.received_at = now
        kept.asked_at = self._clock()


@dataclass
class _Kept:
    """The keys of an issuer by ID.

    :ivar asked_at: when the last request ended.
    :ivar failure: the reason why it delivered no keys.
    """

    keys: dict[str, Key] = field(default_factory=dict)
    received_at: float = float("-inf")
    asked_at: float = float("-inf")
    failure: str = ""
    lock: Lock = field(default_factory=Lock)

    def find(self, key_id: str, now: float) -> Key | None:
        return self.keys.get(key_id) if now < self.received_at + KEYS_SECONDS else None


def _refused(description: str) -> IdentityTokenRefused:
    return IdentityTokenRefused("invalid-token", description)
