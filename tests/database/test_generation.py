from __future__ import annotations

import pytest
from flask import Flask
from sqlalchemy import text

from registry.database import ContentGeneration, db, transaction
from tests import factories
from tests.database.counting import Failure, fail_after, set_counter


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
