"""Which connections wait for their clients, and which of them are closed: after how long, or for lack of room."""

from __future__ import annotations

import logging
import math
import time
from collections import OrderedDict
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING

from registry.server.limits import Limits
from registry.server.peers import site

if TYPE_CHECKING:
    from registry.server.channel import Channel

PROGRESS_BYTES = 64 << 10  # a body that grows by so much has its time anew
STALLED_SECONDS = 5  # without progress, a request can be closed for a new connection
NEW_SECONDS = 1  # during which a new connection is closed after requests that have stalled
CLOSED_AT_ONCE = 64  # in a turn of the loop
COUNTED = 64  # at most, of connections that became idle lately

logger = logging.getLogger(__name__)


class Wait:
    """The connections that wait for the same thing, and equally long; the oldest is first.

    :ivar since: the beginning of each wait, on the monotonic clock.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.since: OrderedDict[Channel, float] = OrderedDict()

    @property
    def due_at(self) -> float:
        return next(iter(self.since.values())) + self.seconds if self.since else math.inf


class Waits:
    """All connections by what they wait for, in the order in which their time is over.

    Only the loop uses it. A connection that is lent waits for nothing, but keeps its place if its request is answered
    within a turn of the loop.
    """

    def __init__(self, limits: Limits) -> None:
        self.head = Wait(limits.head_seconds)
        self.idle = Wait(limits.idle_seconds)
        self.body = Wait(limits.body_seconds)
        self.response = Wait(limits.response_seconds)
        self.linger = Wait(limits.linger_seconds)
        self._all = (self.head, self.idle, self.body, self.response, self.linger)
        self._in_progress = (self.body, self.response)
        self._closable = (self.head, self.idle, self.linger, *self._in_progress)
        self._due_at = math.inf  # no time is over before; the exact time is only looked for then

    def begin(self, channel: Channel, wait: Wait) -> None:
        """Have the connection wait from now on, also if it waits for the same thing already."""
        now = time.monotonic()
        if channel.wait is wait:
            wait.since[channel] = now
            wait.since.move_to_end(channel)
            return
        self.end(channel)
        channel.wait = wait
        wait.since[channel] = now
        if now + wait.seconds < self._due_at:
            self._due_at = now + wait.seconds

    def end(self, channel: Channel) -> None:
        if channel.wait is not None:
            del channel.wait.since[channel]
            channel.wait = None

    def relieve(self) -> float:
        """End the waits whose time is over.

        :return: after how many seconds this has to be called again.
        """
        now = time.monotonic()
        if now >= self._due_at:
            for _ in range(CLOSED_AT_ONCE):
                wait = min(self._all, key=lambda wait: wait.due_at)
                if wait.due_at > now:
                    break
                channel = next(iter(wait.since))
                self.end(channel)
                _run_out(channel, wait)
            self._due_at = min(wait.due_at for wait in self._all)
        return max(0, self._due_at - now)

    def idle_for(self, seconds: float) -> int:
        """Return how many connections have waited longer for a request; if others are many, also some of these."""
        since = time.monotonic() - seconds
        newest = islice(reversed(self.idle.since.values()), COUNTED)
        return len(self.idle.since) - sum(began > since for began in newest)

    def oldest(self) -> Channel | None:
        """Return the connection that is closed first if there are too many.

        One that has no request in progress, or else one whose request has stalled: for its body, or for a client that
        accepts nothing of its response. An upload that was authorized has all of its time.
        """
        oldest = [
            channel
            for wait in self._closable
            if (channel := next(filter(self._is_closable, islice(wait.since, CLOSED_AT_ONCE)), None))
        ]
        first = next(iter(oldest), None)
        if first is None or not self._is_new(first):
            return first
        stalled = (channel for channel in oldest if channel.wait in self._in_progress)
        return next(stalled, first)

    def oldest_of(self, channels: Iterable[Channel]) -> Channel | None:
        """Return that connection of these few."""
        channels = list(channels)
        for wait in self._closable:
            found = [channel for channel in channels if channel.wait is wait and self._is_closable(channel)]
            if found:
                return min(found, key=wait.since.__getitem__)
        return None

    def _is_closable(self, channel: Channel) -> bool:
        wait = channel.wait
        if wait is None or wait not in self._in_progress:
            return wait is not None
        is_stalled = wait.since[channel] <= time.monotonic() - STALLED_SECONDS
        return is_stalled and not (wait is self.body and channel.receives_upload)

    def _is_new(self, channel: Channel) -> bool:
        return channel.wait is self.head and self.head.since[channel] > time.monotonic() - NEW_SECONDS


def _run_out(channel: Channel, wait: Wait) -> None:
    try:
        channel.run_out(wait)
    except Exception:
        logger.exception("A connection could not be closed in time.")
        channel.give_up()


class Addresses:
    """The connections of each address."""

    def __init__(self) -> None:
        self._channels: dict[str, set[Channel]] = {}

    def add(self, channel: Channel) -> None:
        self._channels.setdefault(site(channel.addr[0]), set()).add(channel)

    def remove(self, channel: Channel) -> None:
        peer = site(channel.addr[0])
        channels = self._channels.get(peer, set())
        channels.discard(channel)
        if not channels:
            self._channels.pop(peer, None)

    def of(self, address: str) -> set[Channel]:
        return self._channels.get(site(address), set())
