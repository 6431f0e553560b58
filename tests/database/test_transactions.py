from __future__ import annotations

import threading

import pytest
from flask import Flask
from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from registry.database import AdvisoryLock, at_end, db, delete_unlocked, is_sqlite, lock, rehearsal, transaction, utcnow
from registry.errors import RecordNotFound
from registry.models import InstanceSettings, Membership, Role, UsedIdentityToken, User
from tests import factories
from tests.database.counting import Failure, counter, fail_after, in_thread, set_counter


def test_a_transaction_is_committed_when_its_block_ends(app: Flask) -> None:
    with transaction():
        set_counter(1)

    db.session.rollback()
    assert counter() == 1


def test_a_transaction_that_fails_leaves_nothing(app: Flask) -> None:
    with pytest.raises(Failure):
        fail_after(1)

    assert counter() is None


def test_after_a_failure_the_next_transaction_works(app: Flask) -> None:
    with pytest.raises(Failure):
        fail_after(1)

    with transaction():
        set_counter(2)

    db.session.rollback()
    assert counter() == 2


def test_a_rehearsal_ends_instead_of_its_first_commit_and_leaves_nothing(app: Flask) -> None:
    ended = True
    with rehearsal():
        with transaction(), transaction():
            set_counter(1)
        ended = False

    assert (counter(), ended) == (None, True)
    with transaction():
        set_counter(2)
    assert counter() == 2


def test_a_rehearsal_shows_why_its_block_fails(app: Flask) -> None:
    with pytest.raises(Failure), rehearsal():
        fail_after(1)


def test_a_rehearsal_without_a_transaction_is_a_mistake(app: Flask) -> None:
    with pytest.raises(RuntimeError), rehearsal():
        counter()


@pytest.mark.sqlite
def test_only_a_transaction_that_need_not_be_durable_is_not_synced(app: Flask) -> None:
    def level() -> int:
        found: int = db.session.connection().exec_driver_sql("PRAGMA synchronous").scalar()
        return found

    usual = level()
    with transaction(is_durable=False):
        set_counter(1)
        assert level() == 1
    with transaction():
        assert level() == usual


def nested_then_fail() -> None:
    with transaction():
        with transaction():
            set_counter(1)
        raise Failure


def test_a_transaction_inside_another_belongs_to_it(app: Flask) -> None:
    with pytest.raises(Failure):
        nested_then_fail()

    assert counter() is None


def test_an_inner_transaction_is_not_committed_before_the_outer_one_ends(app: Flask) -> None:
    seen: list[int | None] = []

    with transaction():
        with transaction():
            set_counter(1)
        in_thread(app, lambda: seen.append(counter())).join()
    in_thread(app, lambda: seen.append(counter())).join()

    assert seen == [None, 1]


def test_a_transaction_includes_changes_made_before_it(app: Flask, owner: User) -> None:
    owner.name = "Olga"
    db.session.flush()

    with transaction():
        owner.note = "renamed"

    db.session.expire_all()
    assert (owner.name, owner.note) == ("Olga", "renamed")


def test_readers_do_not_wait_for_a_writer_and_see_the_previous_state(app: Flask) -> None:
    seen: list[int | None] = []

    with transaction():
        set_counter(1)
        reader = in_thread(app, lambda: seen.append(counter()))
        reader.join(timeout=10)

    assert seen == [None]


def test_writers_with_one_lock_wait_for_one_another_and_lose_nothing(app: Flask) -> None:
    with transaction():
        set_counter(0)
    failures: list[BaseException] = []

    def count() -> None:
        try:
            for _ in range(20):
                with transaction(lock=AdvisoryLock.SIGN_IN):
                    set_counter((counter() or 0) + 1)
        except BaseException as error:  # noqa: BLE001 - shown by the test
            failures.append(error)

    for thread in [in_thread(app, count) for _ in range(4)]:
        thread.join()

    db.session.rollback()
    assert failures == []
    assert counter() == 80


@pytest.mark.sqlite
def test_a_reader_that_turns_writer_waits_instead_of_failing(app: Flask) -> None:
    began = threading.Event()

    def hold() -> None:
        with transaction():
            set_counter(1)
            began.set()
            waiting.wait(timeout=0.5)

    waiting = threading.Event()
    holder = in_thread(app, hold)
    began.wait()

    with transaction():  # begins with a read, as most do
        assert counter() == 1
        set_counter(2)
    holder.join()

    db.session.rollback()
    assert counter() == 2


def test_a_record_that_belongs_to_a_concurrently_deleted_one_is_refused(app: Flask) -> None:
    with pytest.raises(RecordNotFound), transaction() as session:
        session.add(Membership(namespace_id=1, user_id=1, role=Role.GUEST))


def test_a_violation_of_another_constraint_stays_an_integrity_error(app: Flask) -> None:
    with pytest.raises(IntegrityError), transaction() as session:
        session.execute(insert(InstanceSettings).values(id=2))


@pytest.mark.parametrize("touch", [lock, lambda user: setattr(user, "name", "Other")], ids=["locked", "changed"])
def test_a_concurrently_deleted_record_is_not_found(app, touch):
    user = factories.user()
    with db.engine.begin() as connection:
        connection.execute(delete(User).where(User.id == user.id))

    with pytest.raises(RecordNotFound), transaction():
        touch(user)


def test_pre_commit_work_is_done_in_its_own_order(app: Flask) -> None:
    done: list[str] = []

    class Early:
        order = 1

        def apply(self) -> None:
            done.append("early")

    class Late:
        order = 2

        def apply(self) -> None:
            done.append("late")

    with transaction():
        at_end(Late)
        at_end(Early)
        assert done == []

    assert done == ["early", "late"]


@pytest.mark.databases
def test_rows_are_deleted_except_those_that_another_transaction_is_changing(app: Flask) -> None:
    with transaction() as session:
        session.add_all(UsedIdentityToken(key=key * 64, expires_at=utcnow()) for key in "abc")
    changed = update(UsedIdentityToken).where(UsedIdentityToken.key == "b" * 64).values(expires_at=utcnow())

    with db.engine.connect() as other:
        if not is_sqlite(db.engine):  # there, writers wait for each other
            other.execute(changed)
        with transaction():
            delete_unlocked(UsedIdentityToken, UsedIdentityToken.key < "c" * 64)

    left = set(db.session.scalars(select(UsedIdentityToken.key)))
    assert left == ({"c" * 64} if is_sqlite(db.engine) else {"b" * 64, "c" * 64})


@pytest.mark.databases
def test_of_rows_that_are_deleted_nothing_is_read(app: Flask, statements: list[str]) -> None:
    with transaction(changes_answers=False):
        delete_unlocked(UsedIdentityToken, UsedIdentityToken.expires_at < utcnow())

    (executed,) = (statement for statement in statements if statement.startswith("DELETE"))
    assert "RETURNING" not in executed
