"""Updates of the advisories, and the marks on packages."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, select

from registry.database import db, utcnow
from registry.domain import audit
from registry.domain.access import SHELL
from registry.domain.advisories import loading
from registry.errors import SourceError
from registry.models import Advisory, AdvisoryExport, AffectedPackage, Package, PackageAdvisory, Project
from tests import factories, osv
from tests.builders import build_wheel, zip_of
from tests.domain.packages import on_paper
from tests.osv import HIGH, LOW, affected, load, record

pytestmark = pytest.mark.usefixtures("app")


def stored() -> list[str]:
    return list(db.session.scalars(select(Advisory.id).order_by(Advisory.id)))


def marks(package: Package) -> tuple[list[str], bool, float | None]:
    factories.reload(package)
    found = select(PackageAdvisory.advisory_id).where(PackageAdvisory.package_id == package.id)
    ids = db.session.scalars(found.order_by(PackageAdvisory.advisory_id))
    return list(ids), package.is_malicious, package.cvss_score


def test_an_export_replaces_the_one_before() -> None:
    first = load(record("MAL-1"), record("GHSA-1"), record("GHSA-2"))
    second = load(
        record("GHSA-1", summary="Other"), record("GHSA-2"), record("PYSEC-1", withdrawn="2026-01-01T00:00:00Z")
    )

    assert (first.counts.total, first.counts.malicious, first.counts.added) == (3, 1, 3)
    assert (second.counts.added, second.counts.changed, second.counts.removed) == (1, 1, 1)
    assert (second.counts.total, second.counts.malicious, second.counts.withdrawn) == (3, 0, 1)
    assert stored() == ["GHSA-1", "GHSA-2", "PYSEC-1"]
    assert db.session.get_one(Advisory, "GHSA-1").summary == "Other"
    assert db.session.scalar(select(func.count()).select_from(AffectedPackage)) == 3


def test_the_same_export_changes_nothing_and_is_noticed() -> None:
    load(record("GHSA-1"))
    known = db.session.get_one(AdvisoryExport, 1)
    run, loaded_at, generation = known.run, known.loaded_at, factories.content_generation()

    again = load(record("GHSA-1"), source="copy.zip")

    assert again.is_same
    assert again.counts.total == 1
    factories.reload(known)
    assert known.run == run
    assert known.loaded_at > loaded_at
    assert factories.content_generation() == generation


def test_an_export_with_the_same_records_in_another_order_changes_no_advisory() -> None:
    load(record("GHSA-1"), record("GHSA-2"))

    again = load(record("GHSA-2"), record("GHSA-1"))

    assert (again.is_same, again.counts.changes, again.counts.total) == (False, 0, 2)


def test_bad_records_are_counted_and_leave_known_advisories_as_they_are() -> None:
    load(record("GHSA-1"), record("GHSA-2"))

    update = load(
        record("GHSA-1", affected("demo!")), b"{", record("GHSA-2"), record("GHSA-2", summary="Again"),
        record("GHSA-3", affected("left-pad", ecosystem="npm")), b"[]", record("GHSA-4"),
    )  # fmt: skip

    counts = update.counts
    assert (counts.malformed, counts.repeated, counts.other, counts.added, counts.removed) == (3, 1, 1, 1, 0)
    assert update.malformed == ("1-x.json", "5-x.json", "GHSA-1.json")
    assert stored() == ["GHSA-1", "GHSA-2", "GHSA-4"]
    assert db.session.get_one(Advisory, "GHSA-2").summary == "Summary of GHSA-2"


@pytest.mark.parametrize(
    "content",
    [b"no zip file", osv.export(), osv.export(record("GHSA-9", affected(ecosystem="npm"))), osv.export(b"{")],
    ids=["no zip file", "empty", "another ecosystem", "malformed"],
)
def test_an_export_without_advisories_for_pypi_is_refused_and_changes_nothing(content: bytes) -> None:
    load(record("GHSA-1"))

    with pytest.raises(SourceError):
        loading.update(io.BytesIO(content), "x", now=utcnow(), by=SHELL)

    assert stored() == ["GHSA-1"]
    assert load(record("GHSA-1")).is_same


def test_an_interrupted_update_is_completed_by_the_next(monkeypatch: pytest.MonkeyPatch, project: Project) -> None:
    package = on_paper.publish(project, "demo", "1.0")
    old = [record(f"GHSA-{number}") for number in range(4)]
    new = [record(f"GHSA-{number}", summary="New") for number in range(1, 5)]
    load(*old)
    monkeypatch.setattr(loading, "BATCH", 2)
    renew, calls = loading._renew, iter(range(9))

    def interrupt(names: Any) -> None:
        if next(calls) == 1:
            raise KeyboardInterrupt
        renew(names)

    with monkeypatch.context() as patch:
        patch.setattr(loading, "_renew", interrupt)
        with pytest.raises(KeyboardInterrupt):
            load(*new)

    assert stored() == [f"GHSA-{number}" for number in range(4)]
    assert marks(package)[0] == stored()
    assert [one.summary == "New" for one in db.session.scalars(select(Advisory).order_by(Advisory.id))] == [
        False, True, True, False,
    ]  # fmt: skip
    completed = load(*new)
    assert (completed.counts.added, completed.counts.changed, completed.counts.removed) == (1, 1, 1)
    assert not load(*old).is_same


def test_a_later_update_stops_an_earlier_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "BATCH", 1)
    renew, is_first = loading._renew, [True]

    def overtaken(names: Any) -> None:
        renew(names)
        if is_first.pop() if is_first else False:
            db.session.get_one(AdvisoryExport, 1).run = "another"

    monkeypatch.setattr(loading, "_renew", overtaken)

    with pytest.raises(SourceError, match="Another update"):
        load(record("GHSA-1"), record("GHSA-2"))


def test_an_update_that_takes_too_long_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "MAX_SECONDS", -1)

    for content in (record("GHSA-1"), b"{"):
        with pytest.raises(SourceError, match="takes longer"):
            load(content)

    assert stored() == []


def test_few_large_records_are_held_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """In memory, a parsed record can take thirty times as much as its text."""
    monkeypatch.setattr(loading, "BATCH_BYTES", 2 * len(json.dumps(record("GHSA-1"))))
    batches: list[int] = []
    store = loading._Run.store

    def counting(run: Any, documents: Any) -> None:
        batches.append(len(documents))
        store(run, documents)

    monkeypatch.setattr(loading._Run, "store", counting)
    load(*(record(f"GHSA-{number}") for number in range(5)))

    assert batches == [2, 2, 1]
    assert len(stored()) == 5


def test_the_name_of_a_malformed_record_is_shown_on_one_line() -> None:
    content = zip_of({"\x1b[2J\n" + "x" * 1000 + ".json": b"{", "GHSA-1.json": json.dumps(record("GHSA-1")).encode()})

    [shown] = loading.update(io.BytesIO(content), "x", now=utcnow(), by=SHELL).malformed

    assert shown.startswith("'\\x1b[2J\\nxxx")
    assert len(shown) < 120


def test_packages_that_are_affected_are_marked(project: Project) -> None:
    old, new = (on_paper.publish(project, "Demo", version) for version in ("1.0", "2.0"))
    other = on_paper.publish(project, "other", "1.0")
    before = factories.content_generation()

    load(
        record("GHSA-1", affected("demo", {"introduced": "0"}, {"fixed": "2.0"}), cvss=LOW),
        record("GHSA-2", affected("demo", {"introduced": "0"}, {"fixed": "1.5"}), cvss=HIGH),
        record("MAL-1", affected("demo", versions=("2.0",))),
        record("PYSEC-1", withdrawn="2026-01-01T00:00:00Z"),
    )

    assert marks(old) == (["GHSA-1", "GHSA-2"], False, 9.8)
    assert marks(new) == (["MAL-1"], True, None)
    assert marks(other) == ([], False, None)
    assert len(factories.raised_parts(before)) == 1

    load(
        record("GHSA-1", affected("demo", {"introduced": "0"}, {"fixed": "2.0"}), cvss=LOW),
        record("MAL-1", affected("x")),
    )

    assert marks(old) == (["GHSA-1"], False, 1.8)
    assert marks(new) == ([], False, None)


def test_a_version_published_after_the_update_is_marked(project: Project) -> None:
    load(
        record("MAL-1", affected("demo", versions=("1.0",))),
        record("GHSA-1", affected("demo", {"introduced": "0"}), cvss=HIGH),
    )

    bad, good = (factories.published(project, build_wheel("Demo", version)) for version in ("1.0", "2.0"))

    assert marks(db.session.get_one(Package, bad.package_id)) == (["GHSA-1", "MAL-1"], True, 9.8)
    assert marks(db.session.get_one(Package, good.package_id)) == (["GHSA-1"], False, 9.8)


def test_every_update_is_recorded(app: Flask) -> None:
    for _ in range(2):
        load(record("MAL-1"))

    found = [(event.author, event.target, event.details) for event in db.session.scalars(audit.events())]
    assert found[0] == ("shell", "all.zip", {"is_same": True})
    assert found[1][2]["added"] == found[1][2]["malicious"] == 1
