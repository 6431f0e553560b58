from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Flask
from sqlalchemy import text

from registry.database import (
    ACCESS,
    INDEX,
    ContentGeneration,
    access_number,
    changes_index,
    changes_name,
    db,
    part_of_name,
    transaction,
)
from tests import factories
from tests.database.counting import Failure, fail_after, set_counter

DEMO = part_of_name("demo")


def test_a_transaction_raises_the_number_for_access_once(app: Flask) -> None:
    before = factories.content_generation()

    with transaction(), transaction():
        set_counter(1)

    assert factories.raised_parts(before) == [ACCESS]
    assert factories.content_generation()[ACCESS] == before[ACCESS] + 1


def test_a_transaction_that_changes_no_answer_leaves_the_content_generation(app: Flask) -> None:
    before = factories.content_generation()

    with transaction(changes_answers=False):
        set_counter(1)

    assert factories.content_generation() == before


def test_an_inner_transaction_that_changes_answers_counts_for_the_outer_one(app: Flask) -> None:
    before = factories.content_generation()

    with transaction(changes_answers=False), transaction():
        set_counter(1)

    assert factories.raised_parts(before) == [ACCESS]


@pytest.mark.parametrize(
    ("change", "parts"),
    [(lambda: changes_name("demo"), [DEMO]), (changes_index, [INDEX])],
    ids=["a name", "the index"],
)
def test_a_change_of_packages_raises_no_other_number(app: Flask, change: Callable[[], None], parts: list[int]) -> None:
    before = factories.content_generation()

    with transaction(changes_answers=False):
        change()
        change()

    assert factories.raised_parts(before) == parts
    assert factories.content_generation()[parts[0]] == before[parts[0]] + 1


def test_a_transaction_that_changes_access_and_packages_raises_all_of_their_numbers(app: Flask) -> None:
    before = factories.content_generation()

    with transaction():
        changes_index()
        changes_name("demo")
        changes_name("other")

    assert factories.raised_parts(before) == [*sorted({DEMO, part_of_name("other")}), INDEX, ACCESS]


def test_a_transaction_that_fails_leaves_the_content_generation(app: Flask) -> None:
    before = factories.content_generation()

    with pytest.raises(Failure):
        fail_after(1)
    with transaction(changes_answers=False):  # and nothing remains for the next one
        set_counter(2)

    assert factories.content_generation() == before


def test_the_names_of_packages_are_spread_over_the_parts() -> None:
    parts = [part_of_name(f"package-{number}") for number in range(10_000)]

    assert {*parts} == {*range(INDEX)}
    assert max(map(parts.count, {*parts})) < 100


def test_each_look_at_the_content_generation_sees_the_newest(app: Flask) -> None:
    generation = ContentGeneration(db.engine)

    for _ in range(3):
        with transaction():
            set_counter(1)
        assert generation.look() == factories.content_generation()


def test_a_look_returns_the_number_of_each_part_in_its_place(app: Flask) -> None:
    generation = ContentGeneration(db.engine)
    with db.engine.begin() as connection:
        connection.execute(text("UPDATE content_generation SET number = 1000 * part + row"))

    several = (16 * 1000 * part + sum(range(16)) for part in (INDEX, ACCESS))
    assert generation.look() == (*(1000 * part for part in range(256)), *several)


def test_the_number_of_access_can_be_looked_at_alone(app: Flask) -> None:
    generation = ContentGeneration(db.engine)
    for changes_access in (True, False, True):
        with transaction(changes_answers=changes_access):
            set_counter(1)

        assert generation.look_at_access() == access_number() == factories.content_generation()[ACCESS]


def test_looks_return_the_same_object_until_a_number_changes(app: Flask) -> None:
    generation = ContentGeneration(db.engine)
    first = generation.look()

    with transaction(changes_answers=False):
        set_counter(1)

    assert generation.look() is generation.look() is first
    with transaction():
        set_counter(2)
    assert generation.look() != first


def test_no_look_at_the_content_generation_blocks_a_change_of_schema(app: Flask) -> None:
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


def test_the_content_generation_is_read_over_a_new_connection_when_the_old_one_is_lost(app: Flask) -> None:
    generation = ContentGeneration(db.engine)
    before = generation.look()

    db.engine.dispose()

    assert generation.look() == before
