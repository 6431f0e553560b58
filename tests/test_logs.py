"""Log lines: their formats, and how they are written without blocking the server's loop."""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from select import PIPE_BUF
from threading import Thread
from typing import Any

import pytest

from registry import logs
from registry.logs import JSONFormatter, RecordTemplate, TextFormatter, never_waiting
from tests.log_pipe import Pipe, logging_to_pipe

MESSAGE = "%s %s answered %s in %s ms"


def a_record(**fields: Any) -> logging.LogRecord:
    fields = {
        "request_id": "0" * 32, "address": "127.0.0.1", "duration_ms": 0.1, "user_agent": "pip/26", "principal": None,
    } | fields  # fmt: skip
    arguments = ("GET", fields.pop("path", "/simple/"), 200, fields["duration_ms"])
    return logging.getLogger("registry.requests").makeRecord(
        "registry.requests", logging.INFO, "", 0, MESSAGE, arguments, None, extra=fields
    )


@pytest.mark.parametrize("formatter", [TextFormatter(), JSONFormatter()], ids=["text", "json"])
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"path": "/100%25/%s/%d", "user_agent": 'a "quoted" %s agent\\'},
        {"path": "/simple/?private_token=glpat-abc&feed%5ftoken=glft-abc", "user_agent": "Basic c2VjcmV0"},
        {"user_agent": "0.1 127.0.0.1 00000000000000000000000000000000"},
        {"principal": "100% olivia (sudo by root)"},
        {"path": "1970-01-01 00:00:00,000", "user_agent": "1970-01-01T00:00:00.000+00:00"},
    ],
    ids=["plain", "marks", "secrets", "values", "principal", "times"],
)
def test_a_repeated_record_has_the_line_of_any_other(formatter: logs.Formatter, fields: dict[str, Any]) -> None:
    first = RecordTemplate(a_record(**fields), "request_id", "address")
    for number in range(3):
        values = {"request_id": f"{number:032x}", "address": f"10.0.0.{number}", "duration_ms": number + 0.5}
        other = a_record(**fields | values)

        varied = (number + 0.54, values["request_id"], values["address"])  # longer than the log has it
        line, again = formatter.again(first, other.created, varied), first.record(other.created, varied)

        assert line == formatter.format(other) == formatter.format(again)
        for name in vars(other).keys() - {"relativeCreated"}:
            assert getattr(again, name) == getattr(other, name), name
        assert "glpat-abc" not in line
        assert "glft-abc" not in line
        assert "c2VjcmV0" not in line


@pytest.mark.parametrize(("principal", "shown"), [("deploy token 3", " to deploy token 3"), (None, "")])
def test_the_text_of_a_request_has_its_principal_and_its_id(principal: str | None, shown: str) -> None:
    line = TextFormatter().format(a_record(principal=principal, request_id="abc"))

    assert line.endswith(f" registry.requests: GET /simple/ answered 200 in 0.1 ms{shown}, request abc")


def test_a_field_that_does_not_vary_is_that_of_the_first_record() -> None:
    first = RecordTemplate(a_record(address='10.0.0.1"'), "request_id")

    entry = json.loads(JSONFormatter().again(first, time.time(), (7.5, "f" * 32)))

    assert (entry["address"], entry["request_id"], entry["duration_ms"]) == ('10.0.0.1"', "f" * 32, 7.5)


def test_times_have_milliseconds_and_their_zone() -> None:
    record = a_record()
    record.created = 1_790_000_000.0625

    assert json.loads(JSONFormatter().format(record))["time"] == "2026-09-21T14:13:20.062+00:00"
    assert (
        TextFormatter()
        .format(record)
        .startswith(time.strftime("%Y-%m-%d %H:%M:%S,062 INFO ", time.localtime(1_790_000_000)))
    )


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    with logging_to_pipe(logging.Formatter("%(message)s")) as pipe:
        yield pipe


logger = logging.getLogger("registry.tests")


@contextmanager
def within(seconds: float) -> Iterator[None]:
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun < seconds


def test_the_loop_does_not_wait_for_a_full_pipe(pipe: Pipe) -> None:
    pipe.fill()

    with never_waiting(), within(2):
        for number in range(1000):
            logger.info("line %d %s", number, "x" * 100)

    assert [line.split()[1] for line in pipe.lines(f"line 999 {'x' * 100}")] == [str(number) for number in range(1000)]


def test_the_loop_does_not_wait_for_a_thread_that_waits_for_a_full_pipe(pipe: Pipe) -> None:
    pipe.fill()
    thread = Thread(target=logger.info, args=("of a thread",))
    thread.start()
    time.sleep(0.1)
    assert thread.is_alive(), "it waits as it always did"

    with never_waiting(), within(2):
        logger.info("of the loop")

    assert pipe.lines("of the loop") == ["of a thread", "of the loop"]
    thread.join()


def test_lines_of_the_loop_come_before_those_of_a_thread_that_are_logged_later(pipe: Pipe) -> None:
    for number in range(50):
        with never_waiting():
            logger.info("loop %d", number)
        logger.info("thread %d", number)

    lines = pipe.lines("thread 49")

    assert lines == [f"{name} {number}" for number in range(50) for name in ("loop", "thread")]


def test_the_last_line_of_the_loop_is_written_without_another(pipe: Pipe) -> None:
    with never_waiting():
        for number in range(5):
            logger.info("line %d", number)

            assert pipe.lines(f"line {number}")[-1] == f"line {number}"
            time.sleep(logs.GATHER_SECONDS * (number % 3))


@pytest.fixture
def request_pipe() -> Iterator[Pipe]:
    with logging_to_pipe(TextFormatter()) as pipe:
        yield pipe


def test_repeated_records_are_written_among_other_lines_in_their_order(request_pipe: Pipe) -> None:
    repeated = RecordTemplate(a_record(), "request_id")
    with never_waiting():
        for number in range(50):
            logger.info("line %d", number)
            repeated.log(logging.getLogger("registry.requests"), time.time(), (0.1, f"id{number}"))

    found = [re.findall(r"line \d+$|id\d+$", line) for line in request_pipe.lines("id49")]

    assert found == [[f"{name}{number}"] for number in range(50) for name in ("line ", "id")]


def test_a_repeated_record_reaches_other_handlers_by_their_level(
    request_pipe: Pipe, caplog: pytest.LogCaptureFixture
) -> None:
    repeated, requests = RecordTemplate(a_record(), "request_id"), logging.getLogger("registry.requests")
    for level in (logging.INFO, logging.WARNING):
        caplog.handler.setLevel(level)
        repeated.log(requests, time.time(), (0.14, f"level {level}"))
    caplog.set_level(logging.WARNING, requests.name)
    repeated.log(requests, time.time(), (0.1, "not logged"))
    logger.info("the end")

    assert [(record.request_id, record.duration_ms) for record in caplog.records] == [("level 20", 0.1)]  # type: ignore[attr-defined]
    assert len(request_pipe.lines("the end")) == 3


def test_a_repeated_record_that_cannot_be_formatted_does_not_affect_others(
    request_pipe: Pipe, capsys: pytest.CaptureFixture[str]
) -> None:
    requests = logging.getLogger("registry.requests")
    wrong = requests.makeRecord(
        requests.name, logging.INFO, "", 0, "%d in %s ms", ("no number", 0.1), None, extra={"duration_ms": 0.1}
    )
    with never_waiting():
        request_pipe.handler.emit_again(RecordTemplate(wrong), time.time(), (0.1,))
        logger.info("next")

    assert [line.endswith("next") for line in request_pipe.lines("next")] == [True]
    assert "no number" in capsys.readouterr().err


def test_dropped_lines_are_counted_in_the_log(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MOST_LINES", 20)
    pipe.fill()
    with never_waiting():
        for number in range(100):
            logger.info("line %d", number)
        assert len(pipe.handler._lines) <= 20

    lines = pipe.lines_until(lambda lines: written(lines) + left_out(lines) == 100)

    assert 20 <= written(lines) <= 40, "those that are queued, and those that the thread has already taken"


def written(lines: list[str]) -> int:
    return len([line for line in lines if line.startswith("line ")])


def left_out(lines: list[str]) -> int:
    """How many lines were left out according to the log."""
    return sum(map(int, re.findall(r"read fast enough: (\d+) lines were left out", "\n".join(lines))))


def test_each_write_has_whole_lines_and_a_size_that_the_system_writes_atomically() -> None:
    lines = [f"{number} {'ü' * (number * 37 % 300)}\n".encode() for number in range(200)]

    chunks = list(logs._chunks(lines))

    assert b"".join(chunks) == b"".join(lines)
    assert all(chunk.endswith(b"\n") and len(chunk) <= PIPE_BUF for chunk in chunks)
    assert len(chunks) < 30


def test_a_line_longer_than_an_atomic_write_is_written_by_itself(pipe: Pipe) -> None:
    assert list(logs._chunks([b"a\n", b"b" * 10_000 + b"\n", b"c\n"])) == [b"a\n", b"b" * 10_000 + b"\n", b"c\n"]

    thread = Thread(target=lambda: [logger.info(text) for text in ("a", "b" * 10_000, "c")])
    thread.start()

    assert pipe.lines("c") == ["a", "b" * 10_000, "c"]
    thread.join()


def test_a_process_in_a_hurry_leaves_out_what_nothing_reads_and_writes_on_when_it_is_read(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "PATIENCE_SECONDS", 0.1)
    pipe.fill()
    threads = [Thread(target=logger.info, args=(f"before {number}",)) for number in range(20)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    assert all(thread.is_alive() for thread in threads)

    logs.hurry()
    for thread in threads:
        thread.join(10)
    logger.info("left out")

    assert not any(thread.is_alive() for thread in threads)
    with suppress(BlockingIOError):
        os.set_blocking(pipe._end, False)
        while os.read(pipe._end, 1 << 16):
            pass
    logger.info("after")
    assert pipe.lines("after") == ["after"]


def test_a_closed_pipe_raises_no_error(pipe: Pipe) -> None:
    os.close(pipe._end)
    try:
        logger.info("into nothing")
        with never_waiting():
            logger.info("again")
        time.sleep(0.05)
    finally:
        pipe._end, other = os.pipe()
        os.close(other)


def test_a_record_that_cannot_be_formatted_does_not_affect_others(
    pipe: Pipe, capsys: pytest.CaptureFixture[str]
) -> None:
    pipe.handler.handle(logging.makeLogRecord({"msg": "%d", "args": ("no number",)}))
    logger.info("next")

    assert pipe.lines("next") == ["next"]
    assert "no number" in capsys.readouterr().err


def test_log_lines_go_to_standard_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    file = (tmp_path / "log").open("w")
    monkeypatch.setattr("sys.stderr", file)
    for name in ("logThreads", "logProcesses", "logMultiprocessing", "_srcfile"):
        monkeypatch.setattr(logging, name, getattr(logging, name))
    try:
        logs.configure("json")
        logger.info("a line")
        logs.configure("text")
        logger.info("another")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        file.close()

    first, second = (tmp_path / "log").read_text().splitlines()
    assert json.loads(first)["message"] == "a line"
    assert second.endswith("INFO registry.tests: another")
