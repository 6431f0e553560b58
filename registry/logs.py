"""The log on standard error: its formats, without secrets, and its writing, for which the server's loop never waits."""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
import select
import sys
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import lru_cache
from operator import itemgetter
from queue import SimpleQueue
from threading import Lock, Thread, get_ident
from typing import Any, TextIO, cast

from registry import credential_names

MOST_LINES = 10_000  # of the loop that wait to be written; several megabytes
GATHER_SECONDS = 0.01  # for how long further lines of the loop are gathered to be written together
PATIENCE_SECONDS = 2  # for a reader that takes nothing, once the process is in a hurry
LOOK_SECONDS = 0.1  # between looks at whether it is
_STANDARD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_COMMON = tuple(sorted(vars(logging.makeLogRecord({})).keys() - {"args", "created", "msecs", "relativeCreated"}))
# Stand for the duration and for the values of varying fields where lines are searched for their places.
_MARKS = (secrets.randbelow(1 << 40) + (1 << 40) + 0.5, secrets.token_hex(16), secrets.token_hex(16))
_ANY_MARK = re.compile(f"({'|'.join(re.escape(str(mark)) for mark in _MARKS)})")
_PARAMETERS = "|".join(credential_names.PARAMETERS)
_HEADERS = "|".join(name.replace("-", "[-_]") for name in credential_names.HEADERS)
# Prefixed tokens, credentials in URLs, and the values of parameters and headers that carry credentials, either as sent
# or in the representation of a dictionary.
_SECRETS = re.compile(
    r"\bgl(?:pat|dt|cbt|crt|ft)-[\w-]+"
    r"|(?<=://)[^/\s@]+(?=@)"
    rf"|(?P<parameter>(?:{_PARAMETERS})=)[^&\s\"']+"
    rf"|(?P<header>(?:{_HEADERS})[\\\"']*: ?[\\\"']*)[^\\\"'\n]+"
    r"|(?<=Basic )[A-Za-z0-9+/=_-]+|(?<=Bearer )\S+",
    re.IGNORECASE,
)
# Every secret follows one of these; most lines contain none of them and are not searched further.
_NAMES = {name.lower().replace("-", "_") for name in (*credential_names.PARAMETERS, *credential_names.HEADERS)}
_HINTS = ("glpat_", "gldt_", "glcbt_", "glcrt_", "glft_", "://", "basic ", "bearer ", *sorted(_NAMES))


def scrubbed(message: str) -> str:
    """Replace everything that looks like a secret."""
    folded = message.lower().replace("-", "_")
    return _SECRETS.sub(_filtered, message) if any(hint in folded for hint in _HINTS) else message


def _filtered(secret: re.Match[str]) -> str:
    return f"{secret['parameter'] or secret['header'] or ''}[FILTERED]"


# The duration in milliseconds, and the values of the varying fields, which must not need escaping in JSON.
Varied = tuple[Any, ...]


class RecordTemplate:
    """What many records have in common that differ only in their time, in the fields ``varying``, and in the duration.

    The duration is the field ``duration_ms`` and the last argument of the message.
    """

    __slots__ = ("_arguments", "_common", "_line", "_names", "_values", "_varying", "level")

    def __init__(self, record: logging.LogRecord, *varying: str) -> None:
        attributes = vars(record)
        names = tuple(name for name in attributes if name not in _STANDARD_FIELDS)
        self._varying, self._names = _shared(varying), _shared(names)
        self._values = tuple(None if name in varying else attributes[name] for name in names)
        self._common = _shared(tuple(attributes[name] for name in _COMMON))
        self._arguments = cast(tuple[object, ...], record.args)[:-1]
        self.level = record.levelno
        self._line: tuple[type[Formatter], Line | None] | None = None

    def log(self, logger: logging.Logger, created: float, varied: Varied) -> None:
        """Log another record, if the logger logs those of this level. ``LogHandler`` gets it without its attributes."""
        if not logger.isEnabledFor(self.level):
            return
        current: logging.Logger | None = logger
        while current is not None:
            for handler in current.handlers:
                if self.level >= handler.level:
                    self._give(handler, created, varied)
            current = current.parent if current.propagate else None

    def _give(self, handler: logging.Handler, created: float, varied: Varied) -> None:
        if isinstance(handler, LogHandler):
            handler.emit_again(self, created, varied)
        else:
            handler.handle(self.record(created, varied))

    def record(self, created: float, varied: Varied) -> logging.LogRecord:
        """Return another record."""
        duration_ms, values = round(varied[0], 1), varied[1:]
        record = logging.makeLogRecord(dict(zip(_COMMON, self._common, strict=True)))
        record.created, record.msecs = created, int(created % 1 * 1000)
        record.args = (*self._arguments, duration_ms)
        record.__dict__.update(zip(self._names, self._values, strict=True))
        record.__dict__.update(zip(self._varying, values, strict=True), duration_ms=duration_ms)
        return record

    def line(self, formatter: Formatter) -> Line | None:
        """Return the line of all these records, or ``None`` if they have to be formatted one by one.

        That of the latest kind of formatter is kept, as there is only one besides in tests.
        """
        kind, known = type(formatter), self._line
        if known is None or known[0] is not kind:
            known = self._line = (kind, self._new_line(formatter))
        return known[1]

    def _new_line(self, formatter: Formatter) -> Line | None:
        marks = _MARKS[: 1 + len(self._varying)]
        line = scrubbed(formatter.formatted(self.record(0, marks)))
        before, found, behind = line.partition(formatter.time(0))
        pieces = _ANY_MARK.split(behind)
        if not found or len(pieces) == 1:
            return None
        places = [next(index for index, mark in enumerate(marks) if str(mark) == piece) for piece in pieces[1::2]]
        pieces[1::2] = ["%s" if place else "%.1f" for place in places]
        pieces[::2] = [piece.replace("%", "%%") for piece in pieces[::2]]
        return Line(before.replace("%", "%%") + "%s" + "".join(pieces), tuple(places))


@lru_cache(maxsize=256)
def shared_text(text: str) -> str:
    """Return the one string of this text that many records have in common, without keeping all texts of strangers.

    Unlike with ``sys.intern``: Python 3.12 never frees a string that was interned.
    """
    return text


@lru_cache(maxsize=64)
def _shared(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the tuple with these values that all templates have in common."""
    return values


class Formatter(logging.Formatter, ABC):
    """Formats one line, without secrets. The line of a template is formatted once, and then only completed."""

    def __init__(self) -> None:
        super().__init__()
        self._second = (-1, "")

    def format(self, record: logging.LogRecord) -> str:
        return scrubbed(self.formatted(record))

    def again(self, template: RecordTemplate, created: float, varied: Varied) -> str:
        """Return the line of another record with this template."""
        line = template.line(self)
        if line is None:
            return self.format(template.record(created, varied))
        return line.completed(self.time(created), varied)

    @abstractmethod
    def formatted(self, record: logging.LogRecord) -> str:
        """Return the line, including secrets."""

    @abstractmethod
    def second(self, second: int) -> str:
        """Return a time without fractions of a second, with ``%03d`` in the place of milliseconds."""

    def time(self, created: float) -> str:
        second = int(created)
        if self._second[0] != second:
            self._second = (second, self.second(second))
        return self._second[1] % (created % 1 * 1000)


class TextFormatter(Formatter):
    """Formats each record as its message. That of a request is completed with its principal and its id."""

    def formatted(self, record: logging.LogRecord) -> str:
        text = f"{self.time(record.created)} {record.levelname} {record.name}: {record.getMessage()}"
        if hasattr(record, "principal"):
            caller = "" if record.principal is None else f" to {record.principal}"
            text += f"{caller}, request {record.request_id}"  # type: ignore[attr-defined]
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return text

    def second(self, second: int) -> str:
        return time.strftime("%Y-%m-%d %H:%M:%S,%%03d", time.localtime(second))


class JSONFormatter(Formatter):
    """Formats each record as a JSON object on one line: the message, and its values as fields."""

    def formatted(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": self.time(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry |= {name: value for name, value in vars(record).items() if name not in _STANDARD_FIELDS}
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)

    def second(self, second: int) -> str:
        return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S.%%03d+00:00")


class Line:
    """A line with places for the time of a record, its duration, and its varying fields.

    :param places: the indexes, in the duration and the values of the varying fields, of what is behind the time.
    """

    __slots__ = ("_pattern", "_values")

    def __init__(self, pattern: str, places: tuple[int, ...]) -> None:
        self._pattern = pattern
        self._values = _getter(places)

    def completed(self, time: str, varied: Varied) -> str:
        return self._pattern % self._values((time, *varied))


@lru_cache(maxsize=64)
def _getter(places: tuple[int, ...]) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
    return itemgetter(0, *[place + 1 for place in places])  # at least two, so that it returns a tuple


class Attempts:
    """Logs how work fares that is tried again and again: each kind of failure once, and when it succeeds again.

    :param subject: the subject of the lines, such as "The database".
    :param failing: what the lines say of it when it fails, and ``working``, when it succeeds again.
    """

    def __init__(self, logger: logging.Logger, subject: str, failing: str, working: str) -> None:
        self._logger, self._subject, self._failing, self._working = logger, subject, failing, working
        self._logged: object = None  # the kind of the latest failure; None if there was none since a success

    def fail(self, error: Exception, outage: str | None) -> None:
        """Log a failure with its traceback, unless it is an outage of something else, which has one line.

        :param outage: the reason, on one line. All outages until the next success are one.
        """
        kind = Attempts if outage else type(error)
        if kind is not self._logged:
            self._logged = kind
            reason, traceback = (f": {outage}", None) if outage else (".", error)
            self._logger.warning("%s %s%s", self._subject, self._failing, reason, exc_info=traceback)

    def succeed(self) -> None:
        if self._logged is not None:
            self._logged = None
            self._logger.warning("%s %s.", self._subject, self._working)


Again = tuple[RecordTemplate, float, Varied]  # a record that is not yet formatted, with its time
_loops: set[int] = set()  # the threads whose lines are written by another one


@contextmanager
def never_waiting() -> Iterator[None]:
    """Have all lines that this thread logs during the block written by another thread."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, LogHandler):
            handler.start()
    loop = get_ident()
    _loops.add(loop)
    try:
        yield
    finally:
        _loops.discard(loop)


def hurry() -> None:
    """From now on, leave out lines instead of waiting for a reader of the log that takes nothing."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, LogHandler):
            handler.is_hurried = True


class LogHandler(logging.Handler):
    """Writes lines to a stream in the order in which they were logged.

    Threads write their lines themselves, and wait while the reader of the stream is slow. The loop only queues its
    lines, and records like earlier ones unformatted. A thread of the handler formats these, and writes all of them
    together with what has gathered in the meantime. If too many are queued,
    further lines of the loop are counted instead, and their number is logged in their place.

    :ivar is_hurried: whether a reader that takes nothing for ``PATIENCE_SECONDS`` is not waited for any more.
    """

    lock: Any
    formatter: Any

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._room = select.poll()  # a write that has begun could not be given up
        self._room.register(stream, select.POLLOUT)
        self.is_hurried = self._has_given_up = False
        self._lines: deque[str | Again] = deque()
        self._left_out = 0
        self._writing = Lock()
        self._wake_ups: SimpleQueue[None] = SimpleQueue()
        self._is_awake = False
        self._thread: Thread | None = None

    def createLock(self) -> None:  # noqa: N802 - as logging calls it
        """Have no lock around ``emit``, for which the loop would wait while a thread writes."""
        self.lock = None

    def start(self) -> None:
        """Start the thread that writes the lines of the loop."""
        if self._thread is None:
            self._thread = Thread(target=self._write_for_loop, name="log", daemon=True)
            self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record) + "\n"
        except Exception:  # noqa: BLE001 - a record that cannot be formatted must not fail what it is about
            self.handleError(record)
            return
        self._queue(line)

    def emit_again(self, template: RecordTemplate, created: float, varied: Varied) -> None:
        """Emit another record with this template."""
        self._queue((template, created, varied))

    def _queue(self, line: str | Again) -> None:
        if get_ident() not in _loops:
            self._lines.append(line)
            self.flush()
        elif len(self._lines) < MOST_LINES:
            self._lines.append(line)
            self._wake()
        else:
            self._left_out += 1

    def flush(self) -> None:
        """Write the lines that are queued by now."""
        with self._writing:
            queued = [self._lines.popleft() for _ in range(len(self._lines))]
            lines = [line if isinstance(line, str) else self._formatted(*line) for line in queued]
            if self._left_out:
                lines.append(self._note_left_out())
            for chunk in _chunks([line.encode(self._stream.encoding, "backslashreplace") for line in lines]):
                with suppress(OSError, ValueError):  # nothing reads the stream any more, or it is closed
                    self._write(memoryview(chunk))

    def _write(self, rest: memoryview) -> None:
        while rest and self._has_room():
            rest = rest[os.write(self._stream.fileno(), rest[: select.PIPE_BUF]) :]

    def _has_room(self) -> bool:
        """Wait until the stream takes ``PIPE_BUF`` bytes; return false if that has been given up."""
        began_at = time.monotonic()
        while not self._room.poll(0 if self._has_given_up else LOOK_SECONDS * 1000):
            self._has_given_up |= self.is_hurried and time.monotonic() > began_at + PATIENCE_SECONDS
            if self._has_given_up:
                return False
        self._has_given_up = False
        return True

    def _formatted(self, template: RecordTemplate, created: float, varied: Varied) -> str:
        try:
            return f"{self.formatter.again(template, created, varied)}\n"
        except Exception:  # noqa: BLE001 - as in emit
            self.handleError(template.record(created, varied))
            return ""

    def _note_left_out(self) -> str:
        count, self._left_out = self._left_out, 0
        message = f"The log was not read fast enough: {count} lines were left out here."
        return self.format(logging.makeLogRecord({"msg": message, "levelname": "WARNING", "name": __name__})) + "\n"

    def _wake(self) -> None:
        if not self._is_awake:
            self._is_awake = True
            self._wake_ups.put(None)

    def _write_for_loop(self) -> None:
        while True:
            self._wake_ups.get()
            while self._lines or self._left_out:
                self.flush()
                time.sleep(GATHER_SECONDS)
            self._is_awake = False
            if self._lines:  # added just before this
                self._wake()


def _chunks(lines: list[bytes]) -> Iterator[bytes]:
    """Yield whole lines together, but not more than are written at once, unmixed with those of other processes."""
    chunk = b""
    for line in lines:
        if chunk and len(chunk) + len(line) > select.PIPE_BUF:
            yield chunk
            chunk = b""
        chunk += line
    if chunk:
        yield chunk


def configure(form: str) -> None:
    """Log to standard error in the format ``text`` or ``json``."""
    handler = LogHandler(sys.stderr)
    handler.setFormatter(JSONFormatter() if form == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # Threads, processes, and source lines are not logged; not collecting them halves the cost of a record.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None  # Python documentation, "Logging HOWTO", section "Optimization"
    # Waitress warns about every request that waits for a thread, which is normal on a busy server.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
