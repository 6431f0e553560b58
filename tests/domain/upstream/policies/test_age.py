from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from registry.domain.packages.simple import SimplePage
from registry.domain.upstream.policies import age
from tests.domain.upstream.policies.pages import file_of, page_of, rules_with

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("uploaded_at", "days", "date", "exceptions", "expected"),
    [
        # expected: None if offered, or the rule and when it offers the file
        pytest.param(NOW, 0, None, (), None, id="off"),
        pytest.param(None, 0, None, (), None, id="off, no upload time"),
        pytest.param(NOW - 7 * DAY, 7, None, (), None, id="just old enough"),
        pytest.param(NOW - 6 * DAY, 7, None, (), ("age", NOW + DAY), id="too young"),
        pytest.param(None, 7, None, (), ("age", None), id="no upload time counts as new"),
        pytest.param(NOW + 9 * DAY, 7, None, (), ("age", NOW + 16 * DAY), id="from the future"),
        pytest.param(datetime.max.replace(tzinfo=UTC), 7, None, (), ("age", None), id="the end of time"),
        pytest.param(NOW - 9 * DAY, 0, NOW - 9 * DAY, (), ("fixed_date", None), id="at the date"),
        pytest.param(NOW - 10 * DAY, 0, NOW - 9 * DAY, (), None, id="before the date"),
        pytest.param(None, 0, NOW, (), ("fixed_date", None), id="date, no upload time"),
        pytest.param(NOW - 8 * DAY, 7, NOW - 9 * DAY, (), ("fixed_date", None), id="the date is earlier"),
        pytest.param(NOW - 6 * DAY, 7, NOW + DAY, (), ("age", NOW + DAY), id="the age is earlier"),
        pytest.param(NOW - DAY, 7, NOW - 2 * DAY, (), ("fixed_date", None), id="old enough is not before the date"),
        pytest.param(NOW, 7, None, (("demo", None),), None, id="except the name"),
        pytest.param(None, 7, NOW - DAY, (("de*", None),), None, id="except a prefix from both"),
        pytest.param(NOW, 7, None, (("demo==1.0.0", None),), None, id="except the version"),
        pytest.param(NOW, 7, None, (("demo==1.1", None),), ("age", NOW + 7 * DAY), id="except another version"),
        pytest.param(NOW, 7, None, (("demon", None),), ("age", NOW + 7 * DAY), id="except another name"),
        pytest.param(NOW, 7, None, (("demo", NOW + DAY),), None, id="an exception with an end"),
        pytest.param(NOW, 7, None, (("demo", NOW),), ("age", NOW + 7 * DAY), id="an exception that has ended"),
    ],
)
def test_files_are_withheld_by_age(
    uploaded_at: datetime | None,
    days: int,
    date: datetime | None,
    exceptions: tuple[tuple[str, datetime | None], ...],
    expected: tuple[str, datetime | None] | None,
) -> None:
    file = file_of("demo-1.0-py3-none-any.whl", uploaded_at)

    page = age.withhold(page_of(file), rules_with(days=days, date=date, exceptions=exceptions), NOW)

    assert [(one.rule, one.until) for one in page.withheld] == ([expected] if expected else [])
    assert page.files == (() if expected else (file,))


def test_a_withheld_file_is_explained() -> None:
    page = page_of(file_of("demo-2.0.tar.gz", NOW - 6 * DAY), versions=("1.0", "2.0"))

    (withheld,) = age.withhold(page, rules_with(days=7), NOW).withheld

    assert withheld.set_in == "acme"
    assert withheld.detail == (
        "demo-2.0.tar.gz was uploaded to the public index at 2026-05-26 12:00 UTC; "
        "the group acme offers files 7 days after their upload, this one from 2026-06-02 12:00 UTC."
    )


def test_a_version_leaves_the_page_with_its_last_file() -> None:
    page = page_of(
        file_of("demo-1.0-py3-none-any.whl", NOW - 9 * DAY), file_of("demo-1.0.tar.gz", NOW),
        file_of("demo-2.0-py3-none-any.whl", NOW), versions=("0.9", "1.0.0", "2.0"),
    )  # fmt: skip

    assert age.withhold(page, rules_with(days=7), NOW).versions == ("0.9", "1.0.0")


def test_a_page_holds_until_a_file_is_old_enough_or_an_exception_ends() -> None:
    young = page_of(file_of("demo-1.0.tar.gz", NOW - 6 * DAY))
    exceptions = (("demo", NOW + DAY / 2),)

    assert age.withhold(young, rules_with(days=7), NOW).holds_until == NOW + DAY
    assert age.withhold(young, rules_with(days=7, exceptions=exceptions), NOW).holds_until == NOW + DAY / 2
    assert age.withhold(young, rules_with(), NOW).holds_until is None


MOMENTS = st.integers(-20, 5).map(lambda days: NOW + days * DAY)


@given(
    uploads=st.lists(st.none() | MOMENTS, max_size=6),
    days=st.integers(0, 10),
    date=st.none() | MOMENTS,
    exceptions=st.lists(
        st.tuples(st.sampled_from(["demo", "de*", "demo==1", "other"]), st.none() | MOMENTS), max_size=3
    ),
)
@hypothesis_settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_pages_agree_with_a_naive_model(
    uploads: list[datetime | None],
    days: int,
    date: datetime | None,
    exceptions: list[tuple[str, datetime | None]],
) -> None:
    files = [file_of(f"demo-{number}.tar.gz", uploaded_at) for number, uploaded_at in enumerate(uploads)]

    def is_offered(number: int) -> bool:
        for text, end in exceptions:
            if (end is None or end > NOW) and (text in ("demo", "de*") or text == f"demo=={number}"):
                return True
        bounds = ([NOW - days * DAY] if days else []) + ([date - timedelta.resolution] if date else [])
        uploaded_at = uploads[number] or datetime.max.replace(tzinfo=UTC)
        return not bounds or uploaded_at <= min(bounds)

    page: SimplePage = age.withhold(
        page_of(*files), rules_with(days=days, date=date, exceptions=tuple(exceptions)), NOW
    )

    assert page.files == tuple(file for number, file in enumerate(files) if is_offered(number))
    assert {*page.files, *(one.file for one in page.withheld)} == set(files)
