"""Requests that arrive together, each in a thread and a session of its own."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from threading import Barrier, Event, Thread, current_thread

from flask import Flask
from sqlalchemy import event, text

from registry.database import db
from registry.errors import RegistryError

Act = Callable[[], object]
LONGEST_SECONDS = 60
WAITING = text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")


def at_once(app: Flask, *actions: Callable[[], object]) -> list[str]:
    """What came of each action, started together in threads: ``done`` or the name of the refusal."""
    start = Barrier(len(actions))
    results = [""] * len(actions)

    def run(place: int, action: Callable[[], object]) -> None:
        with app.app_context():
            start.wait()
            try:
                action()
                results[place] = "done"
            except RegistryError as refusal:
                results[place] = type(refusal).__name__

    threads = [Thread(target=run, args=pair) for pair in enumerate(actions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


class Racer(Thread):
    """One act in a thread of its own, which can be held on its way (PostgreSQL).

    :param at_commit: before which of its commits it is held, counted from 1; 0 is none.
    :param after: a regular expression; it is held after its first statement in which this is found.
    :ivar outcome: ``done``, or the name of the refusal, once it has ended.
    """

    def __init__(self, app: Flask, act: Act, *, at_commit: int = 0, after: str = "") -> None:
        super().__init__(daemon=True)
        self._app, self._act, self._commits_left, self._after = app, act, at_commit, after
        self._is_held, self._may_go_on = Event(), Event()
        self._error: BaseException | None = None
        self.outcome = ""
        self.start()

    def is_held(self) -> None:
        """Wait until it is held."""
        assert self._is_held.wait(LONGEST_SECONDS)
        assert self.is_alive(), "it has ended without coming to where it would be held"

    def waits_or_ends(self) -> None:
        """Wait until it waits for a lock of another transaction, or has ended."""
        deadline = time.monotonic() + LONGEST_SECONDS
        with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            while self.is_alive() and not connection.scalar(WAITING):
                assert time.monotonic() < deadline
                time.sleep(0.005)

    def finish(self) -> str:
        """Let it continue, and return its outcome; errors other than refusals are raised."""
        self._may_go_on.set()
        self.join(LONGEST_SECONDS)
        assert not self.is_alive()
        if self._error is not None:
            raise self._error
        return self.outcome

    def run(self) -> None:
        with self._app.app_context():
            event.listen(db.session(), "before_commit", self._note_commit)
            try:
                self._act()
                self.outcome = "done"
            except RegistryError as refusal:
                self.outcome = type(refusal).__name__
            except BaseException as error:  # noqa: BLE001 - shown by the test
                self._error = error
            finally:
                self._is_held.set()

    def _note_commit(self, _session: object) -> None:
        self._commits_left -= 1
        if self._commits_left == 0:
            self._hold()

    def note_statement(self, statement: str) -> None:
        """Hear of a statement of its thread that was executed."""
        if self._after and re.search(self._after, statement, re.DOTALL):
            self._after = ""
            self._hold()

    def _hold(self) -> None:
        self._is_held.set()
        assert self._may_go_on.wait(LONGEST_SECONDS)


def race(app: Flask, first: Act, second: Act, *, at_commit: int = 1, after: str = "") -> tuple[str, str]:
    """The outcomes of two acts (PostgreSQL): the first is held on its way until the second waits or has ended.

    A second one that does not wait works on the state before the first.

    :param at_commit: before which of its commits the first is held.
    :param after: hold it earlier: after its first statement in which this regular expression is found.
    """
    db.session.rollback()
    event.listen(db.engine, "after_cursor_execute", _note_statement)
    try:
        leader = Racer(app, first, at_commit=0 if after else at_commit, after=after)
        leader.is_held()
        follower = Racer(app, second)
        follower.waits_or_ends()
        outcomes = leader.finish(), follower.finish()
    finally:
        event.remove(db.engine, "after_cursor_execute", _note_statement)
    db.session.expire_all()
    return outcomes


def meanwhile(app: Flask, first: Act, second: Act) -> str:
    """The outcome of an act while another is held before its commit (PostgreSQL), and whether it waits for it."""
    db.session.rollback()
    leader = Racer(app, first, at_commit=1)
    leader.is_held()
    follower = Racer(app, second)
    follower.waits_or_ends()
    waits = follower.is_alive()
    outcomes = leader.finish(), follower.finish()
    db.session.expire_all()
    assert outcomes[0] == "done"
    return f"waits, then {outcomes[1]}" if waits else outcomes[1]


def _note_statement(_connection: object, _cursor: object, statement: str, *_: object) -> None:
    racer = current_thread()
    if isinstance(racer, Racer):
        racer.note_statement(statement)
