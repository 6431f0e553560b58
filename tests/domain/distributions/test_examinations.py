"""Examinations beside other requests: by whom, in which order, and with what result."""

import tempfile
import threading
from contextlib import ExitStack

import pytest

from registry.domain.distributions import examinations, inspection
from registry.domain.distributions.budget import Exhausted
from registry.domain.distributions.examinations import HELPERS, WAITING, Turns
from registry.errors import Unavailable
from tests.builders import build_wheel
from tests.server.serving import eventually


def examine(built, caller="someone"):
    with tempfile.TemporaryFile() as file:
        file.write(built.content)
        return examinations.examine(file, built.filename, caller)


MANY = {f"demo/{number}.py": b"" for number in range(2000)}
LONG = {
    "accepted": build_wheel(files=MANY, requires_dist=["other<1"], description="é\n" * 1000),
    "with remarks": build_wheel(files=MANY, description="``x", description_content_type="text/x-rst"),
    "refused": build_wheel(files=MANY, core_metadata=b"Name: \xff"),
    "without a valid name": build_wheel(files=MANY, core_metadata=b"Metadata-Version: 2.1\nName: -\nVersion: 1\n"),
    "named by surrogates": build_wheel(files=MANY, filename="\udcff.whl"),
}


@pytest.mark.parametrize("built", LONG.values(), ids=LONG)
def test_a_long_examination_gives_the_same_result_as_a_short_one(built):
    assert examine(built) == inspection.examine(built.open(), built.filename)


def test_a_description_is_not_checked_while_too_many_others_are(monkeypatch):
    built = build_wheel(description="``x", description_content_type="text/x-rst")
    turns = Turns(helpers=1, waiting=1, patience_seconds=0.01)
    monkeypatch.setattr(examinations, "_descriptions", turns)

    with turns.taken("another caller"):
        assert examine(built).remarks == ()
    [problem] = examine(built).remarks
    assert "valid reStructuredText" in problem.expected


def test_a_file_that_takes_a_helper_longer_than_it_can_is_refused(monkeypatch):
    # No file takes that long on every machine, so that the parser of this helper never ends.
    endless = "from registry.domain.distributions import inspection; inspection.parsed = lambda *_: any(iter(int, 1)); "
    monkeypatch.setattr(examinations, "_PROGRAM", examinations._PROGRAM.replace("main()", endless + "main()"))
    monkeypatch.setattr(examinations, "PROCESSOR_SECONDS", 1)
    monkeypatch.setattr(examinations, "_idle", [])

    with pytest.raises(Exhausted):
        examine(LONG["accepted"])


def test_a_file_whose_helper_ends_can_be_sent_again(monkeypatch):
    idle = []
    monkeypatch.setattr(examinations, "_idle", idle)
    with monkeypatch.context() as broken:
        broken.setattr(examinations, "_PROGRAM", "raise SystemExit(1)")
        with pytest.raises(Unavailable):
            examine(LONG["accepted"])

    assert examine(LONG["accepted"]).refusals == ()
    idle.pop().end()


def test_one_file_of_each_caller_is_examined_at_a_time_and_few_wait():
    turns, served, is_over = Turns(), list[str](), threading.Event()
    refused = list[str]()

    def take(caller):
        try:
            with turns.taken(caller):
                served.append(caller)
                is_over.wait(30)
        except Unavailable:
            refused.append(caller)

    def waiting():
        return [ticket.caller for ticket in turns._waiting]

    with ExitStack() as stack:
        stack.callback(is_over.set)
        threads = []
        # Each caller arrives when the one before has been served, waits, or was refused.
        for caller, has_arrived in (
            ("greedy", lambda: served == ["greedy"]),
            ("greedy", lambda: waiting() == ["greedy"]),
            ("greedy", lambda: waiting() == ["greedy"] * WAITING),
            ("greedy", lambda: refused == ["greedy"]),
            ("second", lambda: served == ["greedy", "second"]),
            ("third", lambda: waiting() == ["greedy", "third"] and refused == ["greedy"] * 2),
            ("fourth", lambda: refused == ["greedy", "greedy", "fourth"]),
        ):
            threads.append(threading.Thread(target=take, args=(caller,)))
            threads[-1].start()
            eventually(has_arrived)
        assert len(served) == HELPERS
    for thread in threads:
        thread.join()

    assert sorted(served) == ["greedy", "greedy", "second", "third"]
