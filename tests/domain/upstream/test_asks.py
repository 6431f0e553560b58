"""Which names were asked for lately: one row for each, of which the latest remain."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from flask import Flask
from sqlalchemy import func, select

from registry.database import db, utcnow
from registry.domain.upstream import asks
from registry.domain.upstream.asks import Answer, Asks
from registry.models import Project, UpstreamAsk
from tests import factories

pytestmark = pytest.mark.usefixtures("app")


def test_a_name_has_one_row_with_its_latest_answer(project: Project) -> None:
    first, second = Asks(), Asks()
    first.note(project.id, "demo", Answer("upstream"))
    second.note(project.id, "demo", Answer("withheld", "age", "acme", 2))
    before = factories.content_generation()
    second.tend()
    first.tend()  # of another process, which has an earlier answer

    (row,) = asks.latest(project)
    assert factories.content_generation() == before  # cached responses stay valid
    assert (row.source, row.rule, row.set_in, row.withheld) == ("withheld", "age", "acme", 2)


def test_the_latest_names_of_each_namespace_remain_for_a_while(
    app: Flask, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asks, "MOST_KEPT", 3)
    monkeypatch.setattr(asks, "MOST_NOTED", 5)
    noted, times = Asks(), iter(utcnow() + timedelta(seconds=second) for second in range(100))
    monkeypatch.setattr(asks, "utcnow", lambda: next(times))
    for name in ("a", "b", "c", "d", "e", "too-many"):
        noted.note(project.id, name, Answer("none"))
    noted.tend()
    noted.note(project.id + 1, "elsewhere", Answer("none"))
    noted.tend()

    assert [row.normalized_name for row in asks.latest(project)] == ["e", "d", "c"]
    assert db.session.scalar(select(func.count()).select_from(UpstreamAsk)) == 4

    before = factories.content_generation()
    later: datetime = utcnow() + asks.KEPT + timedelta(days=1)
    monkeypatch.setattr(asks, "utcnow", lambda: later)
    noted.tend()
    assert asks.latest(project) == []
    assert factories.content_generation() == before
