"""Examination of uploads beside other requests: at once if it is short, and otherwise by a process of its own.

The interpreter runs one thread at a time, so that a long examination in this process would delay all other requests.
An examination begins with a small budget; if that does not suffice, one of ``HELPERS`` other processes begins anew with
the whole budget. They are kept for further files, have no environment, and are limited in time and memory.

At most ``HELPERS`` such files are examined at a time, one of each caller, and ``WAITING`` wait, so that none of their
callers keeps the threads or the helpers from others.
"""

from __future__ import annotations

import atexit
import dataclasses
import enum
import json
import logging
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from registry.domain.distributions import inspection, readmes
from registry.domain.distributions.budget import Budget, Exhausted
from registry.domain.distributions.core_metadata import Description
from registry.domain.distributions.filenames import Kind
from registry.domain.distributions.inspection import Distribution, Examination
from registry.errors import Code, Problem, Unavailable

MIB = 1024 * 1024
HELPERS = 2
WAITING = 2
DESCRIPTIONS_WAITING = 3
PATIENCE_SECONDS = 30  # for one of the helpers
AT_ONCE_SECONDS = 0.03
# Processor time of a helper: more than enough for the budget, and for unpacking a hundred times the size of a file.
PROCESSOR_SECONDS = 10
MIB_PER_SECOND = 5
OVERTIME = 5  # how many times as long a helper can take on a busy machine

# A checkout need not be installed, and -I leaves out the folder of the shell.
_PROGRAM = (
    f"import sys; sys.path.insert(0, {str(Path(__file__).parents[3])!r}); "
    "from registry.domain.distributions.examination_worker import main; main()"
)
_HEAD = struct.Struct("!BQ")

logger = logging.getLogger(__name__)


class Outcome(enum.IntEnum):
    EXAMINED = 0
    OVER_BUDGET = 1
    FAILED = 2


def examine(file: BinaryIO, filename: str, caller: str) -> Examination:
    """Examine a file on a disk like ``inspection.examine``.

    :param caller: each caller has one file examined by a helper at a time.
    :raises Exhausted: it takes more than the budget.
    :raises Unavailable: too many files are being examined.
    """
    try:
        examination = inspection.parsed(file, filename, Budget(AT_ONCE_SECONDS))
    except Exhausted:
        with _turns.taken(caller):
            examination = _helped(file, filename)
    return _with_description_checked(examination, caller)


def _with_description_checked(examination: Examination, caller: str) -> Examination:
    """Return the result with the error in the description, unless too many descriptions are being checked.

    A helper of ``readmes`` can need seconds for a crafted one, for which few threads wait, and not all for one caller.
    """
    if examination.description is None or not readmes.is_checked(examination.description):
        return examination
    try:
        with _descriptions.taken(caller):
            return inspection.with_description_checked(examination)
    except Unavailable:  # which does not make the file invalid
        return examination


class Turns:
    """Who has a helper, and who waits for one: in order of arrival, but each caller has one helper at a time.

    :param helpers: the number of callers that are served at a time.
    :param waiting: the number of those that wait.
    """

    def __init__(
        self, helpers: int = HELPERS, waiting: int = WAITING, patience_seconds: float = PATIENCE_SECONDS
    ) -> None:
        self._helpers, self._most_waiting, self._patience_seconds = helpers, waiting, patience_seconds
        self._changed = threading.Condition()
        self._served: list[str] = []
        self._waiting: list[_Ticket] = []

    @contextmanager
    def taken(self, caller: str) -> Iterator[None]:
        """Wait for a turn, and have it during the block.

        :raises Unavailable: too many are waiting, also of this caller, or it takes too long.
        """
        ticket = _Ticket(caller)
        with self._changed:
            self._make_room(caller)
            self._waiting.append(ticket)
            self._changed.wait_for(
                lambda: ticket not in self._waiting or self._next() is ticket, self._patience_seconds
            )
            has_come = self._next() is ticket
            with suppress(ValueError):
                self._waiting.remove(ticket)
            if not has_come:
                raise Unavailable(Code.EXAMINING_TOO_MUCH)
            self._served.append(caller)
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._served.remove(caller)
                self._changed.notify_all()

    def _make_room(self, caller: str) -> None:
        """Send away the last in line of the caller with the most, for one with fewer, if too many are waiting.

        :raises Unavailable: this caller has as many.
        """
        if len(self._waiting) < self._most_waiting or self._is_free_for(caller):
            return
        numbers = Counter(ticket.caller for ticket in self._waiting)
        other, number = numbers.most_common(1)[0]
        if number <= numbers[caller] + 1:
            raise Unavailable(Code.EXAMINING_TOO_MUCH)
        self._waiting.remove([ticket for ticket in self._waiting if ticket.caller == other][-1])
        self._changed.notify_all()

    def _next(self) -> _Ticket | None:
        return next((ticket for ticket in self._waiting if self._is_free_for(ticket.caller)), None)

    def _is_free_for(self, caller: str) -> bool:
        return len(self._served) < self._helpers and caller not in self._served


@dataclasses.dataclass(eq=False)
class _Ticket:
    caller: str


class _Helper:
    """A process that examines one file after another."""

    def __init__(self) -> None:
        self._connection, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-I", "-c", _PROGRAM, str(theirs.fileno())]
            nothing = subprocess.DEVNULL
            self._process = subprocess.Popen(  # noqa: S603
                command, pass_fds=[theirs.fileno()], env={}, stdin=nothing, stdout=nothing, stderr=nothing
            )

    def examine(self, file: BinaryIO, filename: str) -> Examination:
        """Examine a file; whatever this raises, the helper must not be used again.

        :raises Exhausted: it takes more than the budget.
        :raises Unavailable: the helper was ended from outside, or the machine is too busy.
        """
        file.flush()
        seconds = PROCESSOR_SECONDS + os.fstat(file.fileno()).st_size // MIB // MIB_PER_SECOND
        self._connection.settimeout(OVERTIME * seconds)
        try:
            _send_file(self._connection, filename, file.fileno(), seconds)
            outcome, content = received(self._connection)
        except (OSError, EOFError) as error:
            self.end()
            if self._process.returncode == -signal.SIGXCPU:
                raise Exhausted from None
            logger.warning("A helper has not examined a file: %s", error or f"it ended with {self._process.returncode}")
            raise Unavailable(Code.EXAMINING_TOO_MUCH) from error
        if outcome is Outcome.OVER_BUDGET:
            raise Exhausted
        if outcome is Outcome.FAILED:
            raise RuntimeError(content.decode())
        return unpacked(content)

    def end(self) -> None:
        self._connection.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(0.1)  # so that its own status is known
        self._process.kill()
        self._process.wait()


def _helped(file: BinaryIO, filename: str) -> Examination:
    try:
        helper = _idle.pop()
    except IndexError:
        helper = _Helper()
    try:
        examination = helper.examine(file, filename)
    except BaseException:
        helper.end()
        raise
    _idle.append(helper)
    return examination


_turns = Turns()
_descriptions = Turns(readmes.HELPERS, DESCRIPTIONS_WAITING, readmes.UPLOAD_WAITS_SECONDS)
_idle: list[_Helper] = []  # at most as many as there are turns


@atexit.register
def _end_helpers() -> None:
    while _idle:
        _idle.pop().end()


def _send_file(connection: socket.socket, filename: str, descriptor: int, processor_seconds: int) -> None:
    name = filename.encode("utf-8", "surrogatepass")
    socket.send_fds(connection, [_HEAD.pack(0, len(name))], [descriptor])
    connection.sendall(name + _HEAD.pack(0, processor_seconds))


def received_file(connection: socket.socket) -> tuple[str, int, int] | None:
    """Return the name of the next file, its descriptor, and how long it can take; ``None`` if there is no other."""
    head, descriptors, _, _ = socket.recv_fds(connection, _HEAD.size, 1)
    if not head:
        return None
    name = _exactly(connection, _HEAD.unpack(head)[1]).decode("utf-8", "surrogatepass")
    _, processor_seconds = _HEAD.unpack(_exactly(connection, _HEAD.size))
    return name, descriptors[0], processor_seconds


def send(connection: socket.socket, outcome: Outcome, content: bytes) -> None:
    connection.sendall(_HEAD.pack(outcome, len(content)) + content)


def received(connection: socket.socket) -> tuple[Outcome, bytes]:
    """Return what ``send`` has sent.

    :raises EOFError: the sender has ended.
    """
    outcome, length = _HEAD.unpack(_exactly(connection, _HEAD.size))
    return Outcome(outcome), _exactly(connection, length)


def _exactly(connection: socket.socket, length: int) -> bytes:
    content = bytearray()
    while len(content) < length:
        chunk = connection.recv(min(length - len(content), MIB))
        if not chunk:
            raise EOFError
        content += chunk
    return bytes(content)


def packed(examination: Examination) -> bytes:
    """Return an examination as JSON; the core metadata, which is in UTF-8 or refused, as text."""
    return json.dumps(dataclasses.asdict(examination), default=bytes.decode, ensure_ascii=False).encode(
        "utf-8", "surrogatepass"
    )


def unpacked(content: bytes) -> Examination:
    """Return the examination that ``packed`` has packed."""
    fields: dict[str, Any] = json.loads(content.decode("utf-8", "surrogatepass"))
    found, description = fields["distribution"], fields["description"]
    return Examination(
        distribution=None if found is None else _distribution(found),
        refusals=tuple(Problem(**problem) for problem in fields["refusals"]),
        remarks=tuple(Problem(**problem) for problem in fields["remarks"]),
        description=None if description is None else Description(**description),
    )


def _distribution(fields: dict[str, Any]) -> Distribution:
    own = {
        "kind": Kind(fields["kind"]),
        "requires_dist": tuple(fields["requires_dist"]),
        "core_metadata": fields["core_metadata"].encode(),
        "description": Description(**fields["description"]),
    }
    return Distribution(**{**fields, **own})
