from __future__ import annotations

import pytest
from sqlalchemy import select

from registry.domain import paging
from registry.domain.paging import Page
from registry.models import User
from tests import factories

LISTING = select(User).order_by(User.id)


@pytest.fixture
def people(app: object) -> list[User]:
    return [factories.user() for _ in range(5)]


@pytest.mark.parametrize(("number", "positions"), [(1, [0, 1]), (2, [2, 3]), (3, [4]), (4, []), (10**9, [])])
def test_a_page_holds_its_share(people: list[User], number: int, positions: list[int]) -> None:
    page = paging.page(LISTING, number, 2)

    assert list(page.items) == [people[position] for position in positions]
    assert (page.number, page.size, page.total, page.last_number) == (number, 2, 5, 3)


def test_a_list_at_hand_is_paged_alike() -> None:
    assert paging.page_of("abcde", 2, 2) == Page("cd", 2, 2, 5)
    assert paging.page_of("abcde", 4, 2) == Page("", 4, 2, 5)


@pytest.mark.parametrize(("total", "last"), [(0, 1), (1, 1), (20, 1), (21, 2), (40, 2)])
def test_even_an_empty_list_has_a_last_page(total: int, last: int) -> None:
    assert Page([], 1, 20, total).last_number == last


@pytest.mark.parametrize(("size", "has_more"), [(4, True), (5, False), (6, False)])
def test_the_first_records_are_returned_with_a_flag_for_more(people: list[User], size: int, has_more: bool) -> None:
    assert paging.first(LISTING, size) == (people[:size], has_more)


def test_a_page_costs_two_statements_and_one_beyond_the_end_one(people: list[User], statements: list[str]) -> None:
    paging.page(LISTING, 1, 2)
    assert len(statements) == 2

    paging.page(LISTING, 9, 2)
    assert len(statements) == 3
