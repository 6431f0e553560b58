"""The listening socket, its connections, and which events of each the loop waits for."""

from __future__ import annotations

import errno
import logging
import math
import select
import socket
import time
from collections import deque
from contextlib import suppress
from typing import Any

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.server import TcpWSGIServer

from registry.server.calls import READ, WRITE
from registry.server.channel import Channel
from registry.server.limits import Limits
from registry.server.loads import Load
from registry.server.repeats import Cache, Repeats
from registry.server.threads import Threads
from registry.server.waits import Addresses, Waits

EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
PAUSE_SECONDS = 1
LEFT_SECONDS = 0.002  # a new connection is left to other workers for
IDLE_SECONDS = 1  # a connection that waits for longer is no load
WARNING_SECONDS = 60

logger = logging.getLogger(__name__)


class Server(TcpWSGIServer):  # type: ignore[misc]
    """Waitress's server, for a loop that wakes once for each event.

    Waitress lists everything it waits for again in each turn, and wakes its loop after every request to do so. Here the
    operating system keeps the list. The loop corrects it after the events of a connection, and when a thread wakes it
    because something has changed.

    When there are too many connections, those without a request in progress are closed, the oldest that waits for a
    head first, and then those whose clients make no progress. If there are none, new connections wait.

    :param cache: the kept answers of the application, if it has any.
    :param load: of this worker, if there can be others.
    :ivar is_stopping: connections are closed with their next response.
    :ivar waits: the connections that wait for their clients.
    :ivar addresses: the connections by address.
    :ivar repeats: requests that are answered without a thread.
    """

    channel_class = Channel
    watched = 0
    is_stopping = False
    _paused_until = 0.0
    _warned_at = -math.inf

    def __init__(
        self,
        application: Any,
        listener: socket.socket,
        threads: Threads,
        adjustments: Adjustments,
        limits: Limits,
        cache: Cache | None = None,
        load: Load | None = None,
        *,
        trusts_proxies: bool = False,
    ) -> None:
        self._poll: Any = select.epoll() if hasattr(select, "epoll") else select.poll()
        self._poll_units = 1 if hasattr(select, "epoll") else 1000  # of its timeout, in a second
        self._watched: dict[int, Any] = {}
        self._changed: deque[Channel] = deque()
        self._returned: deque[Channel] = deque()
        self._limits, self._load = limits, load
        self._counted = 0
        self.waits, self.addresses = Waits(limits), Addresses()
        self._is_woken = False
        address = (listener.family, listener.type, listener.proto, listener.getsockname())
        super().__init__(
            application, _sock=listener, dispatcher=threads, adj=adjustments, sockinfo=address, bind_socket=False
        )
        self.trigger.watched = 0
        self.watch(self.trigger)
        self.repeats = None if cache is None else Repeats(self, cache, trusts_proxies)

    def readable(self) -> bool:
        return self.accepting and time.monotonic() >= self._paused_until and self._has_room()

    def _has_room(self) -> bool:
        return len(self.active_channels) < self._limits.connections or self.waits.oldest() is not None

    def handle_accept(self) -> None:
        self._share_load()
        if self._load is not None and self._load.leaves_next():
            self._paused_until = time.monotonic() + LEFT_SECONDS
        else:
            super().handle_accept()
            self._share_load()
        self.watch(self)

    def _share_load(self) -> None:
        """Let other workers see how many connections this one has, without those that are idle."""
        if self._load is not None:
            self._counted = len(self.active_channels)
            self._load.share(self._counted - self.waits.idle_for(IDLE_SECONDS))

    def accept(self) -> Any:
        """Accept a connection, if there is room for it.

        After a failure for lack of descriptors or memory, accept none for ``PAUSE_SECONDS``: the connection stays in
        the backlog, so that the operating system would report it again at once.
        """
        try:
            accepted = super().accept()
        except OSError as error:
            if error.errno in EXHAUSTED:
                self._paused_until = time.monotonic() + PAUSE_SECONDS
            raise
        if accepted is not None and not self._make_room(accepted[1][0]):
            accepted[0].close()
            return None
        return accepted

    def _make_room(self, address: str) -> bool:
        """Close a connection if there would be too many, and return whether another one of this address can be kept."""
        self.await_returned()
        if self.repeats is not None:
            self.repeats.answer()  # before one of their connections is closed
        if self._has_too_many(address):
            closed = self.waits.oldest_of(self.addresses.of(address))
        elif len(self.active_channels) >= self._limits.connections:
            self._warn_of_limit()
            closed = self.waits.oldest()
        else:
            return True
        if closed is not None:
            closed.drop()
        return closed is not None

    def _has_too_many(self, address: str) -> bool:
        limit = self._limits.per_address
        return 0 < limit <= len(self.addresses.of(address)) and address not in self._limits.proxies

    def _warn_of_limit(self) -> None:
        now = time.monotonic()
        if now >= self._warned_at + WARNING_SECONDS:
            self._warned_at = now
            logger.warning(
                "There are %d connections (REGISTRY_MAX_CONNECTIONS); idle ones are closed for new ones.",
                self._limits.connections,
            )

    def wake(self, channel: Channel | None = None) -> None:
        """Wake the loop, from any thread. Further calls before it has woken cost nothing.

        :param channel: a connection that the loop has to settle and watch anew.
        """
        if channel is not None:
            self._changed.append(channel)
        if not self._is_woken:
            self._is_woken = True
            self.trigger.pull_trigger()

    def add_task(self, _channel: Channel) -> None:
        """Do nothing: a channel queues itself, once everything that has arrived is parsed."""

    def pull_trigger(self) -> None:
        """Do nothing: a channel wakes the loop itself, and not after every request."""

    def catch_up(self) -> float:
        """Take over what threads have changed since the last turn, and listen only while there is room.

        :return: after how many seconds this has to be called again, as new connections are not listened for until then.
        """
        self._is_woken = False  # first: channels added from now on wake the loop again
        self.await_returned()
        while self._changed:
            channel = self._changed.popleft()
            channel.settle()
            self.watch(channel)
        if len(self.active_channels) != self._counted:
            self._share_load()
        paused_seconds = self._paused_until - time.monotonic()  # before ``watch`` can find that the pause is over
        if not self.watched or len(self.active_channels) >= self._limits.connections:
            self.watch(self)
        return paused_seconds if paused_seconds > 0 and not self.watched else math.inf

    def give_back(self, channel: Channel) -> None:
        """Return a connection to the loop, from any thread; wakes the loop only if it makes room for a new one."""
        self._returned.append(channel)
        if not self.watched:
            self.wake()

    def await_returned(self) -> None:
        """Have the connections that threads gave back since the last call wait for their clients."""
        while self._returned:
            self._returned.popleft().await_client()

    def watch(self, dispatcher: Any) -> None:
        """Wait for the events that this dispatcher is ready for; for none if it is closed."""
        # Repeated after a change: a thread that compares the state of its connection with ``watched`` could have read
        # the old value, and would not wake the loop.
        while dispatcher.socket is not None and (wanted := _wanted(dispatcher)) != dispatcher.watched:
            if not wanted:
                self.forget(dispatcher)
            elif dispatcher.watched:
                self._poll.modify(dispatcher._fileno, wanted)
            else:
                self._poll.register(dispatcher._fileno, wanted)
                self._watched[dispatcher._fileno] = dispatcher
            dispatcher.watched = wanted

    def forget(self, dispatcher: Any) -> None:
        """Wait for no more events of this dispatcher, which is about to be closed."""
        if dispatcher.watched:
            with suppress(OSError):  # libpq has closed the descriptor of a connection that was lost
                self._poll.unregister(dispatcher._fileno)
            del self._watched[dispatcher._fileno]
            dispatcher.watched = 0

    def events(self, timeout_seconds: float) -> list[tuple[Any, int]]:
        """Wait for events, and return those of each dispatcher, among them hang-ups and errors."""
        watched = self._watched
        return [
            (watched[descriptor], events) for descriptor, events in self._poll.poll(timeout_seconds * self._poll_units)
        ]

    def stop_listening(self) -> None:
        """Accept no new connections; close the others with their next response."""
        self.is_stopping = True
        self.forget(self)
        if self._load is not None:
            self._load.leave()
            self._load = None
        wasyncore.dispatcher.close(self)

    def close(self) -> None:
        self.forget(self)
        self.forget(self.trigger)
        if self.repeats is not None:
            self.repeats.close()
        super().close()
        if hasattr(self._poll, "close"):
            self._poll.close()


def _wanted(dispatcher: Any) -> int:
    return READ * bool(dispatcher.readable()) | WRITE * bool(dispatcher.writable())
