from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.exc import IntegrityError, StatementError

from registry import create_app
from registry.database import ContentGeneration, contains, db, lock, transaction
from registry.errors import RecordNotFound
from registry.models import AuditEvent, InstanceSettings, Membership, Role, User, UserState
from tests import factories

COUNTER = InstanceSettings.pypi_max_file_size  # any number that can be counted up
LOCK = 4711


class Failure(Exception):
    pass


def counter() -> int | None:
    return db.session.scalar(select(COUNTER))


def set_counter(value: int) -> None:
    db.session.execute(update(InstanceSettings).values(pypi_max_file_size=value))


def fail_after(value: int) -> None:
    with transaction():
        set_counter(value)
        raise Failure


def in_thread(app: Flask, act: Callable[[], None]) -> threading.Thread:
    """Another session, as another request has it."""

    def run() -> None:
        with app.app_context():
            act()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


# Transactions ---------------------------------------------------------------------------------------------------


def test_a_transaction_is_kept_when_its_block_ends(app: Flask) -> None:
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


def nested_then_fail() -> None:
    with transaction():
        with transaction():
            set_counter(1)
        raise Failure


def test_a_transaction_inside_another_belongs_to_it(app: Flask) -> None:
    with pytest.raises(Failure):
        nested_then_fail()

    assert counter() is None


def test_an_inner_transaction_is_not_kept_before_the_outer_one_ends(app: Flask) -> None:
    seen: list[int | None] = []

    with transaction():
        with transaction():
            set_counter(1)
        in_thread(app, lambda: seen.append(counter())).join()
    in_thread(app, lambda: seen.append(counter())).join()

    assert seen == [None, 1]


def test_a_transaction_takes_up_what_was_changed_before_it(app: Flask, owner: User) -> None:
    owner.name = "Olga"
    db.session.flush()

    with transaction():
        owner.note = "renamed"

    db.session.expire_all()
    assert (owner.name, owner.note) == ("Olga", "renamed")


def test_readers_do_not_wait_for_a_writer_and_see_what_was_there(app: Flask) -> None:
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
                with transaction(lock=LOCK):
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


# Content generation ---------------------------------------------------------------------------------------------


def test_a_transaction_raises_the_content_generation_once(app: Flask) -> None:
    before = factories.content_generation()

    with transaction(), transaction():
        set_counter(1)

    assert factories.content_generation() == before + 1


def test_a_transaction_that_changes_no_answer_leaves_the_content_generation(app: Flask) -> None:
    before = factories.content_generation()

    with transaction(changes_answers=False):
        set_counter(1)

    assert factories.content_generation() == before


def test_an_inner_transaction_that_changes_answers_counts_for_the_outer_one(app: Flask) -> None:
    before = factories.content_generation()

    with transaction(changes_answers=False), transaction():
        set_counter(1)

    assert factories.content_generation() == before + 1


def test_a_transaction_that_fails_leaves_the_content_generation(app: Flask) -> None:
    before = factories.content_generation()

    with pytest.raises(Failure):
        fail_after(1)

    assert factories.content_generation() == before


def test_each_look_at_the_content_generation_sees_the_newest(app: Flask) -> None:
    generation = ContentGeneration(db.engine)
    looks = [generation.look()]

    for _ in range(2):
        with transaction():
            set_counter(1)
        looks.append(generation.look())

    assert [number - looks[0] for number in looks] == [0, 1, 2]


def test_no_look_at_the_content_generation_stands_in_the_way_of_a_change_of_schema(app: Flask) -> None:
    generation = ContentGeneration(db.engine)
    before = generation.look()

    with db.engine.begin() as connection:
        connection.execute(text("ALTER TABLE content_generation RENAME TO elsewhere"))
    try:
        assert generation.look() is None
    finally:
        with db.engine.begin() as connection:
            connection.execute(text("ALTER TABLE elsewhere RENAME TO content_generation"))
    assert generation.look() == before


def test_the_content_generation_is_looked_at_over_a_new_connection_when_the_old_one_is_gone(app: Flask) -> None:
    generation = ContentGeneration(db.engine)
    before = generation.look()

    db.engine.dispose()

    assert generation.look() == before


# Columns and connections ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "zone", [UTC, timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(hours=-8))], ids=str
)
def test_a_time_comes_back_in_utc_whatever_zone_it_was_given_in(app: Flask, owner: User, zone: timezone) -> None:
    moment = datetime(2026, 2, 28, 23, 59, 59, 123456, tzinfo=zone)
    with transaction():
        owner.last_sign_in_at = moment

    db.session.expire_all()

    assert owner.last_sign_in_at == moment
    assert owner.last_sign_in_at is not None
    assert owner.last_sign_in_at.utcoffset() == timedelta(0)


def test_an_enumeration_is_stored_as_its_value_and_comes_back_as_its_member(app: Flask, owner: User) -> None:
    membership = db.session.scalars(select(Membership)).one()

    stored = db.session.execute(text("SELECT users.state, memberships.role FROM users, memberships")).one()

    assert tuple(stored) == ("active", 50)
    assert owner.state is UserState.ACTIVE
    assert membership.role is Role.OWNER


def test_a_value_outside_an_enumeration_is_refused(app: Flask, owner: User) -> None:
    with pytest.raises(StatementError, match="'asleep' is not a valid UserState"):
        db.session.execute(update(User).values(state="asleep"))


def test_a_row_that_refers_to_nothing_is_refused(app: Flask) -> None:
    with pytest.raises(IntegrityError):
        db.session.execute(insert(Membership).values(namespace_id=1, user_id=1, role=Role.GUEST))


def test_an_id_is_never_given_twice(app: Flask) -> None:
    first = factories.user().id
    with transaction() as session:
        session.execute(delete(User))

    assert factories.user().id > first


def test_text_of_any_language_comes_back_as_it_was(app: Flask) -> None:
    target = "päckchen 包裹 📦 'quoted' \\ \"double\""
    with transaction() as session:
        session.add(AuditEvent(action="tested", author="shell", address="", target=target, details={"of": [target]}))
    db.session.expire_all()

    event = db.session.scalars(select(AuditEvent)).one()

    assert (event.target, event.details) == (target, {"of": [target]})


@pytest.mark.parametrize(
    ("text", "found"),
    [("AMI", True), ("%", False), ("_", False), ("\\", False), ("a" * 100_000, False), ("%" * 10_000, False)],
    ids=["without case", "percent", "underscore", "backslash", "longer than anything", "longest pattern"],
)
def test_a_text_is_looked_for_literally_however_long_it_is(app: Flask, text: str, found: bool) -> None:
    user = factories.user("tamie")

    assert db.session.scalars(select(User).where(contains(User.username, text))).all() == ([user] if found else [])


@pytest.mark.sqlite
def test_sqlite_keeps_what_was_committed_through_a_power_cut(tmp_path: Path) -> None:
    with create_app({"INSTANCE_PATH": tmp_path}).app_context():
        settings = {
            name: db.session.execute(text(f"PRAGMA {name}")).scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
        db.session.remove()
        db.engine.dispose()

    assert settings == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30000}


@pytest.mark.postgresql
def test_a_session_whose_connection_was_cut_ends_without_an_error_and_the_next_one_works(app: Flask) -> None:
    with app.app_context():
        cut = db.session.execute(text("SELECT pg_backend_pid()")).scalar_one()
        with db.engine.connect() as other:
            other.execute(text("SELECT pg_terminate_backend(:cut, 5000)"), {"cut": cut})

    with app.app_context():
        assert counter() is None


@pytest.mark.postgresql
@pytest.mark.parametrize(
    "given", ["", "?connect_timeout=3&options=-c search_path=elsewhere"], ids=["nothing", "something"]
)
def test_an_address_may_say_how_to_connect_and_the_limits_stay(app: Flask, tmp_path: Path, given: str) -> None:
    address = app.config["DATABASE_URL"] + given
    with create_app({"INSTANCE_PATH": tmp_path, "DATABASE_URL": address}).app_context():
        shown = {
            name: db.session.execute(text(f"SHOW {name}")).scalar_one()
            for name in ("statement_timeout", "idle_in_transaction_session_timeout", "search_path")
        }
        connection = db.session.connection().connection.driver_connection
        assert connection is not None
        timeout = connection.info.get_parameters()["connect_timeout"]
        db.session.remove()
        db.engine.dispose()

    assert (timeout, shown.pop("search_path")) == (("3", "elsewhere") if given else ("10", '"$user", public'))
    assert shown == {"statement_timeout": "1min", "idle_in_transaction_session_timeout": "1min"}


def test_an_error_does_not_repeat_what_a_statement_was_given(app: Flask) -> None:
    with pytest.raises(IntegrityError) as caught:
        db.session.execute(insert(Membership).values(namespace_id=4711, user_id=4712, role=Role.GUEST))

    assert "4711" not in str(caught.value)


def test_a_record_that_belongs_to_one_deleted_meanwhile_is_not_kept(app: Flask) -> None:
    with pytest.raises(RecordNotFound), transaction() as session:
        session.add(Membership(namespace_id=1, user_id=1, role=Role.GUEST))


def test_a_record_that_breaks_another_rule_is_told_as_that(app: Flask) -> None:
    with pytest.raises(IntegrityError), transaction() as session:
        session.execute(insert(InstanceSettings).values(id=2))


@pytest.mark.parametrize("touch", [lock, lambda user: setattr(user, "name", "Somebody")], ids=["locked", "changed"])
def test_a_record_that_was_deleted_meanwhile_is_not_found(app, touch):
    user = factories.user()
    with db.engine.begin() as connection:
        connection.execute(delete(User).where(User.id == user.id))

    with pytest.raises(RecordNotFound), transaction():
        touch(user)
