"""Whether the upstream index answers, as far as that can be known from here.

Clients ask the upstream themselves, often over another network than that of the registry. So it counts as away only if
it refuses a connection, accepts one without answering, or cannot be reached any more after it was reached from here.
"""

from __future__ import annotations

import http.client
import ssl
import time
from collections.abc import Callable
from enum import Enum
from threading import Event, Lock, Thread
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

WAIT_SECONDS = 2  # of a request for a probe
ATTEMPT_SECONDS = 1.8  # for a connection, and for an answer; a packet that was lost is sent again after one second
# How long the result of a probe is used. A request that finds an older one starts another probe.
PRESENT_SECONDS, AWAY_SECONDS, UNKNOWN_SECONDS = 60, 10, 600


class State(Enum):
    PRESENT = PRESENT_SECONDS
    AWAY = AWAY_SECONDS
    UNKNOWN = UNKNOWN_SECONDS

    def is_recent(self, age_seconds: float) -> bool:
        return age_seconds < self.value


class Upstream:
    """The upstream index as seen by one process, which probes it only when a request is to be forwarded there.

    :param url: of its simple index.
    :param is_checked: whether it is probed at all.
    :param clock: in seconds.
    """

    def __init__(self, url: str, *, is_checked: bool = True, clock: Callable[[], float] = time.monotonic) -> None:
        parts = urlsplit(url)
        self.host = parts.hostname or ""
        self._scheme, self._port = parts.scheme, parts.port
        self._is_checked = is_checked
        self._has_proxy = self._scheme in getproxies() and not proxy_bypass(self.host)
        self._clock = clock
        self._lock = Lock()
        self._state: State | None = None
        self._probed_at = 0.0
        self._was_reached = False
        self._running: Event | None = None

    def is_away(self) -> bool:
        """Return whether the upstream is known to be away.

        Waits for a probe, for at most ``WAIT_SECONDS``, if nothing is known yet or the upstream was present a while
        ago. While it is away or cannot be reached from here, a probe in the background finds out when that changes.
        """
        if not self._is_checked:
            return False
        with self._lock:
            known, running = self._state, self._running
            is_recent = known is not None and known.is_recent(self._clock() - self._probed_at)
            if not is_recent and running is None:
                running = self._running = Event()
                Thread(target=self._probe, args=(running,), name="upstream", daemon=True).start()
        if not is_recent and known in (None, State.PRESENT) and running is not None:
            running.wait(WAIT_SECONDS)
        return self._state is State.AWAY

    def _probe(self, is_over: Event) -> None:
        state = State.UNKNOWN
        try:
            state = self._found()
        finally:
            with self._lock:
                self._was_reached |= state is State.PRESENT
                if state is State.UNKNOWN and self._was_reached:
                    state = State.AWAY
                self._state, self._probed_at, self._running = state, self._clock(), None
            is_over.set()

    def _found(self) -> State:
        if self._has_proxy:
            return State.UNKNOWN  # only the proxy could be reached
        make = http.client.HTTPSConnection if self._scheme == "https" else http.client.HTTPConnection
        connection = make(self.host, self._port, timeout=ATTEMPT_SECONDS)
        try:
            connection.connect()
        except ConnectionError:
            return State.AWAY
        except ssl.SSLError:
            return State.PRESENT
        except OSError:  # no address, no route, or no reaction
            return State.UNKNOWN
        try:
            connection.request("HEAD", "/")
            connection.getresponse()
        except (OSError, http.client.HTTPException):
            return State.AWAY
        finally:
            connection.close()
        return State.PRESENT
