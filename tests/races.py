"""Requests that arrive together, each in a thread and a session of its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Barrier, Event, Thread

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


class Racer:
    """One act in a thread of its own, which can be held before a commit (PostgreSQL).

    :param held_at: before which of its commits it is held, counted from 1; 0 is none.
    :ivar outcome: ``done``, or the name of the refusal, once it has ended.
    """

    def __init__(self, app: Flask, act: Act, *, held_at: int = 0) -> None:
        self._app, self._act, self._held_at = app, act, held_at
        self._at_commit, self._may_commit = Event(), Event()
        self._error: BaseException | None = None
        self.outcome = ""
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def reaches_its_commit(self) -> None:
        """Wait until it has written everything and is about to commit; there it is held."""
        assert self._at_commit.wait(LONGEST_SECONDS)

    def waits_or_ends(self) -> None:
        """Wait until it waits for a lock of another transaction, or has ended."""
        deadline = time.monotonic() + LONGEST_SECONDS
        with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            while self._thread.is_alive() and not connection.scalar(WAITING):
                assert time.monotonic() < deadline
                time.sleep(0.005)

    def finish(self) -> str:
        """Let it commit, and return its outcome; raises what is no refusal."""
        self._may_commit.set()
        self._thread.join(LONGEST_SECONDS)
        assert not self._thread.is_alive()
        if self._error is not None:
            raise self._error
        return self.outcome

    def _run(self) -> None:
        with self._app.app_context():
            event.listen(db.session(), "before_commit", self._hold)
            try:
                self._act()
                self.outcome = "done"
            except RegistryError as refusal:
                self.outcome = type(refusal).__name__
            except BaseException as error:  # noqa: BLE001 - shown by the test
                self._error = error
            finally:
                self._at_commit.set()

    def _hold(self, _session: object) -> None:
        self._held_at -= 1
        if self._held_at == 0:
            self._at_commit.set()
            assert self._may_commit.wait(LONGEST_SECONDS)


def race(app: Flask, first: Act, second: Act, *, at_commit: int = 1) -> tuple[str, str]:
    """The outcomes of two acts (PostgreSQL): the first is held before its commit until the second waits or has ended.

    A second one that does not wait works with what was there before the first.

    :param at_commit: before which of its commits the first is held.
    """
    db.session.rollback()
    leader = Racer(app, first, held_at=at_commit)
    leader.reaches_its_commit()
    follower = Racer(app, second)
    follower.waits_or_ends()
    outcomes = leader.finish(), follower.finish()
    db.session.expire_all()
    return outcomes
