"""The loop that does all input and output of a process, until it is told to stop and what is under way is done."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from waitress import wasyncore

DRAIN_SECONDS = 60

logger = logging.getLogger(__name__)


def run(server: Any, announce: Callable[[int], None]) -> None:
    stopping = False

    def stop(_signal: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True
        server.pull_trigger()  # Python goes on waiting for input after a signal

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    announce(int(server.effective_port))
    while not stopping:
        wasyncore.loop(timeout=1, map=server._map, count=1, use_poll=True)
    _drain(server)


def _drain(server: Any) -> None:
    """Take no new connections, answer what is under way, then stop the threads."""
    logger.info("Stopping: requests under way are finished first.")
    server.del_channel(server._map)
    server.socket.close()
    deadline = time.monotonic() + DRAIN_SECONDS
    while time.monotonic() < deadline and any(map(_is_busy, list(server.active_channels.values()))):
        wasyncore.loop(timeout=0.2, map=server._map, count=1, use_poll=True)
    server.task_dispatcher.shutdown()


def _is_busy(channel: Any) -> bool:
    return bool(channel.requests or channel.request or channel.total_outbufs_len)
