"""The loop that does all input and output of a process, until it has to stop and the last request is answered."""

from __future__ import annotations

import logging
import signal
import socket
import sys
import time
from collections.abc import Callable
from types import FrameType

from waitress import wasyncore

from registry import logs
from registry.server import calls
from registry.server.calls import READ, WRITE
from registry.server.channel import Channel
from registry.server.listening import Server

DRAIN_SECONDS = 60
# A worker that was replaced is in no hurry: a large file can take long, and requests can be on their way over
# connections that were kept open. Those close with their next answer.
RETIREMENT_SECONDS = 3600
KEPT_OPEN_SECONDS = 3
# A thread that computes keeps the loop waiting for as long whenever it has waited for events or looked into the
# database. Less costs more processor time, as several threads then take the interpreter from each other more often. But
# if that thread makes a system call in less time, and takes the interpreter back before the loop is awake, the loop
# starts to wait anew. So the time is short while the loop answers requests itself.
SWITCH_SECONDS, SHORT_SWITCH_SECONDS = 0.001, 0.00005
SLACK_SECONDS = 0.000001  # threads have more (``threads``), and so take the interpreter from the loop less often
SHORT_FOR_SECONDS = 0.02
RETIRE = signal.SIGUSR1

logger = logging.getLogger(__name__)


class Lifeline(wasyncore.dispatcher):  # type: ignore[misc]
    """A connection to the process that watches over this one; it ends with that process."""

    watched = 0

    def __init__(self, connection: socket.socket, server: Server, at_end: Callable[[], None]) -> None:
        super().__init__(connection, server._map)
        self._server = server
        self._at_end = at_end
        server.watch(self)

    def writable(self) -> bool:
        return False

    def handle_read(self) -> None:
        self.recv(1)  # closes itself at the end

    def handle_close(self) -> None:
        self._server.forget(self)
        self.close()
        self._at_end()


class Loop:
    """A waitress server from its first connection to its last answer."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._stop_by: float | None = None
        self._keep_open_until = 0.0
        self._is_short: bool | None = None

    def run(self, announce: Callable[[int], None], lifeline: socket.socket | None = None) -> None:
        """Serve until SIGINT or SIGTERM, or in a worker until ``RETIRE`` or the end of the lifeline (``supervisor``).

        :param announce: called with the port once connections are accepted.
        """
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._handle_stop)
        if lifeline is not None:
            signal.signal(RETIRE, self._handle_retire)
            Lifeline(lifeline, self._server, self._stop)
        announce(int(self._server.effective_port))
        calls.set_timer_slack(SLACK_SECONDS)
        with logs.never_waiting():
            while self._stop_by is None:
                self.turn(1)
            self._drain()

    def _handle_stop(self, _signal: int, _frame: FrameType | None) -> None:
        self._stop()
        self._server.wake()  # Python goes on waiting for input after a signal

    def _handle_retire(self, _signal: int, _frame: FrameType | None) -> None:
        self._stop_within(RETIREMENT_SECONDS, KEPT_OPEN_SECONDS)
        self._server.wake()

    def _stop(self) -> None:
        logs.hurry()  # a thread that waits for the reader of the log is answering a request
        self._stop_within(DRAIN_SECONDS)

    def _stop_within(self, seconds: float, keep_open_seconds: float = 0) -> None:
        now = time.monotonic()
        self._stop_by = min(self._stop_by or now + seconds, now + seconds)
        self._keep_open_until = now + keep_open_seconds

    def turn(self, timeout_seconds: float) -> None:
        """Wait for events, but not longer than this, and handle them. Nothing else waits."""
        server = self._server
        soon = min(timeout_seconds, server.catch_up(), server.task_dispatcher.relieve(), server.waits.relieve())
        if server.repeats is not None:
            soon = min(soon, server.repeats.relieve())
        for dispatcher, events in server.events(soon):
            try:
                if events & ~WRITE and dispatcher.watched & READ:
                    dispatcher.handle_read_event()
                if events & ~READ and dispatcher.watched & WRITE:
                    dispatcher.handle_write_event()
            except Exception:  # noqa: BLE001 - logged there
                dispatcher.handle_error()
                server.watch(dispatcher)
        if server.repeats is not None:
            server.repeats.answer()
            self._switch(is_short=time.monotonic() < server.repeats.answered_at + SHORT_FOR_SECONDS)

    def _switch(self, is_short: bool) -> None:
        """Set how long a thread can compute while another one waits for the interpreter."""
        if is_short is not self._is_short:
            self._is_short = is_short
            sys.setswitchinterval(SHORT_SWITCH_SECONDS if is_short else SWITCH_SECONDS)

    def _drain(self) -> None:
        """Take no new connections, answer the requests in progress, then stop the threads."""
        logger.info("Stopping: requests in progress are finished first.")
        self._server.stop_listening()
        while self._is_needed():
            self.turn(0.2)
        logs.hurry()
        self._server.task_dispatcher.shutdown()

    def _is_needed(self) -> bool:
        now, channels = time.monotonic(), list(self._server.active_channels.values())
        if self._stop_by is None or now > self._stop_by:
            return False
        return any(map(_is_busy, channels)) or (bool(channels) and now < self._keep_open_until)


def _is_busy(channel: Channel) -> bool:
    return bool(channel.is_lent or channel.request or channel.total_outbufs_len)
