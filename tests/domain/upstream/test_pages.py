"""Kept pages of the upstream index: shared by all processes, asked for again in time, and used while it is away."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from flask import Flask
from packaging.utils import NormalizedName

from registry.database import ContentGeneration, db, part_of_name
from registry.domain.upstream import client, pages, waiting
from registry.domain.upstream.client import PublicIndex
from registry.domain.upstream.pages import KeptPages
from registry.domain.upstream.waiting import Pauses
from registry.errors import UpstreamBusy, UpstreamFailed
from registry.models import CachedFile, KeptPage
from tests.builders import build_sdist, build_wheel
from tests.fakes.index import Fault, StaticIndex
from tests.races import at_once

DEMO, OTHER = NormalizedName("demo"), NormalizedName("other")
WHEEL, SDIST, NEWER = build_wheel(), build_sdist(), build_wheel(version="2.0")
NOW = datetime(2030, 5, 17, 15, 30, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(pages, "utcnow", clock)
    return clock


@pytest.fixture
def process(app: Flask, served: StaticIndex, tmp_path: Path) -> Callable[[], KeptPages]:
    """Makes the kept pages of another process."""
    return lambda: KeptPages(PublicIndex(served.url), tmp_path / "locks", fresh_seconds=600, threads=8)


def test_a_page_is_asked_for_once_and_is_the_same_in_every_process(
    served: StaticIndex, process: Callable[[], KeptPages]
) -> None:
    served.publish(WHEEL, SDIST, requires_python=">=3.9", yanked="Loses data", core_metadata={"sha256": "0" * 64})
    first = process()

    found = [first.page(DEMO), first.page(DEMO), process().page(DEMO)]

    assert found[0] is not None
    assert len(found[0].files) == 2
    assert found[0] == found[1] == found[2]
    assert len(served.requests) == 1


def test_a_page_is_asked_for_again_when_it_is_due_and_stays_the_same_if_it_is_unchanged(
    served: StaticIndex, process: Callable[[], KeptPages], clock: Clock
) -> None:
    served.publish(WHEEL, etag='"first"')
    kept = process()
    first = kept.page(DEMO)
    clock.forward(599)
    assert kept.page(DEMO) == first

    clock.forward(1)
    again = kept.page(DEMO)

    assert first is not None
    assert again is not None
    assert again.files == first.files
    assert (again.checked_at, again.holds_until) == (clock.now, clock.now + timedelta(seconds=600))
    assert [request.headers.get("If-None-Match") for request in served.requests] == [None, '"first"']


def test_only_a_changed_page_makes_cached_responses_about_its_name_stale(
    served: StaticIndex, process: Callable[[], KeptPages], clock: Clock
) -> None:
    generation, kept = ContentGeneration(db.engine), process()

    def number() -> int:
        numbers = generation.look()
        assert numbers is not None
        return numbers[part_of_name(DEMO)]

    before = number()
    served.publish(WHEEL)
    kept.page(DEMO)
    clock.forward(600)
    kept.page(DEMO)
    assert number() == before

    served.publish(WHEEL, NEWER)
    clock.forward(600)
    page = kept.page(DEMO)

    assert page is not None
    assert page.versions == ("1.0", "2.0")
    assert number() > before


def test_that_a_name_is_absent_holds_for_a_minute(
    served: StaticIndex, process: Callable[[], KeptPages], clock: Clock
) -> None:
    kept = process()
    assert [kept.page(DEMO), process().page(DEMO)] == [None, None]
    served.publish(WHEEL)

    clock.forward(59)
    assert kept.page(DEMO) is None
    clock.forward(1)
    assert kept.page(DEMO) is not None

    assert len(served.requests) == 2


def test_absent_names_are_forgotten(served: StaticIndex, process: Callable[[], KeptPages], clock: Clock) -> None:
    kept = process()
    kept.page(DEMO)
    clock.forward(pages.FORGOTTEN_SECONDS + 1)

    kept.page(OTHER)

    assert [row.name for row in db.session.query(KeptPage)] == ["other"]


def test_a_client_can_have_a_page_asked_for_but_not_all_the_time(
    served: StaticIndex, process: Callable[[], KeptPages], clock: Clock
) -> None:
    served.publish(WHEEL)
    kept = process()
    kept.page(DEMO)
    served.publish(WHEEL, NEWER)

    clock.forward(4)
    assert len(kept.page(DEMO, is_fresh=True).files) == 1  # type: ignore[union-attr]
    clock.forward(1)
    assert len(kept.page(DEMO, is_fresh=True).files) == 2  # type: ignore[union-attr]


def test_an_index_that_is_away_is_replaced_by_what_is_kept_and_soon_not_asked_any_more(
    served: StaticIndex, process: Callable[[], KeptPages], clock: Clock
) -> None:
    served.publish(WHEEL)
    kept = process()
    kept.page(DEMO)
    clock.forward(86_400)
    for path in ("demo/", "other/", "third/"):
        served.fail(path, *[503] * 9)
    del served.requests[:]

    outdated = [kept.page(DEMO) for _ in range(5)]
    with pytest.raises(UpstreamFailed) as failure:
        kept.page(OTHER)
    with pytest.raises(UpstreamFailed):
        kept.page(NormalizedName("third"))

    assert all(page is not None and page.is_outdated and len(page.files) == 1 for page in outdated)
    assert failure.value.status == 502
    assert "other is not here, and 127.0.0.1" in failure.value.detail
    assert [request.path for request in served.requests] == ["/simple/demo/", "/simple/other/"]


def test_a_malformed_page_does_not_keep_other_names_from_being_asked_for(
    served: StaticIndex, process: Callable[[], KeptPages]
) -> None:
    kept = process()
    for name in ("a", "b", "c"):
        served.put(f"{name}/", "{", "application/json")
        with pytest.raises(UpstreamFailed):
            kept.page(NormalizedName(name))
        with pytest.raises(UpstreamFailed):
            kept.page(NormalizedName(name))
    served.publish(WHEEL)

    assert kept.page(DEMO) is not None
    assert len(served.requests) == 4


def test_a_page_of_another_index_is_not_used(served: StaticIndex, process: Callable[[], KeptPages]) -> None:
    served.publish(WHEEL)
    process().page(DEMO)
    db.session.query(KeptPage).update({"index_url": "https://elsewhere.test/simple"})
    db.session.commit()

    process().page(DEMO)

    assert len(served.requests) == 2


def test_many_requests_in_several_processes_fetch_a_page_once(
    app: Flask, served: StaticIndex, process: Callable[[], KeptPages]
) -> None:
    served.publish(WHEEL)
    served.delay("demo/", 0.2)
    processes = [process(), process()]

    asks = [partial(processes[number % 2].page, DEMO) for number in range(6)]

    assert at_once(app, *asks) == ["done"] * 6
    assert len(served.requests) == 1


def test_a_slow_index_occupies_only_some_of_the_threads(
    app: Flask, served: StaticIndex, process: Callable[[], KeptPages], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "PATIENCE_SECONDS", 0.05)
    kept = process()
    names = [NormalizedName(f"slow{number}") for number in range(3)]
    for name in names:
        served.put(f"{name}/", "<br>")
    over = [served.hold(f"{name}/") for name in names]

    def ask(name: NormalizedName) -> None:
        with app.app_context():
            kept.page(name)

    waiters = [threading.Thread(target=ask, args=(name,)) for name in names]
    for waiter in waiters:
        waiter.start()
    while len(served.requests) < 3:
        time.sleep(0.01)

    with pytest.raises(UpstreamBusy):
        kept.page(DEMO)

    assert [waiter.is_alive() for waiter in waiters] == [True] * 3
    for event in over:
        event.set()
    for waiter in waiters:
        waiter.join()


def test_a_page_that_is_replaced_while_it_is_read_is_the_new_one(
    served: StaticIndex, process: Callable[[], KeptPages]
) -> None:
    served.publish(WHEEL)
    page = process().page(DEMO)
    before = pages._Kept("0" * 64, "", NOW)

    found = process()._shown(DEMO, before)

    assert page is not None
    assert found is not None
    assert (found.files, found.checked_at) == (page.files, page.checked_at)
    db.session.query(KeptPage).update({"digest": None, "document": None})
    assert process()._shown(DEMO, before) is None


def test_a_rate_limit_is_kept_to(served: StaticIndex, process: Callable[[], KeptPages]) -> None:
    kept = process()
    for name in ("a", "b"):
        served.fail(f"{name}/", Fault(429, (("Retry-After", "60"),)))
        with pytest.raises(UpstreamFailed):
            kept.page(NormalizedName(name))

    with pytest.raises(UpstreamFailed):
        kept.page(DEMO)

    assert len(served.requests) == 2


def test_after_failures_one_request_finds_out_whether_the_index_is_back() -> None:
    seconds = 100.0
    pauses = Pauses(lambda: seconds)
    pauses.note_failure("a", 10, client.PAUSE_SECONDS)
    assert [pauses.is_paused(name) for name in "ab"] == [True, False]
    pauses.note_failure("b", 10, client.PAUSE_SECONDS)
    assert pauses.is_paused("c")

    seconds += client.PAUSE_SECONDS
    assert [pauses.is_paused(name) for name in "cd"] == [False, True]
    pauses.note_answer("c")

    assert [pauses.is_paused(name) for name in "cd"] == [False, False]


def test_pages_in_memory_are_bounded_by_their_files(
    served: StaticIndex, process: Callable[[], KeptPages], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "MOST_FILES", 3)
    parsed = pages._ParsedPages()
    served.publish(WHEEL)
    page = process().page(DEMO)
    assert page is not None

    parsed.keep(page, "first")
    parsed.keep(pages.replace(page, name="other"), "second")

    assert parsed.find("demo", "first") is None
    assert parsed.find("other", "second") is not None
    assert parsed.find("other", "third") is None


def test_pages_that_were_not_asked_for_the_longest_time_leave_if_there_are_too_many(
    served: StaticIndex, process: Callable[[], KeptPages], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "MOST_KEPT", 2)
    kept = process()
    for name in ("cached", "first", "second", "third"):
        served.publish(build_wheel(name))
        kept.page(NormalizedName(name))
        clock.forward(1)
    file = CachedFile(sha256="0" * 64, filename="x", normalized_name="cached", version="1.0", size_bytes=1)
    db.session.add(file)
    db.session.commit()

    assert kept.tend() == 0  # they are too new: responses that were made of them can be repeated
    clock.forward(1200)
    kept.page(NormalizedName("first"))

    assert kept.tend() == 2
    assert [name for name, _ in kept.kept_pages()] == ["cached", "first"]
    assert kept.tend() == 0
