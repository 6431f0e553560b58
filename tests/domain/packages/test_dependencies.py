"""What packages require and by what they are required, as rows."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.markers import Marker
from packaging.requirements import Requirement
from sqlalchemy import select, text

from registry.database import db, transaction
from registry.domain import access
from registry.domain.access import SHELL
from registry.domain.packages import deletion, dependencies, requirements
from registry.models import Package, PackageFile, PackageRequirement, PackageStatus, Project, Role, Visibility
from registry.storage import Storage
from tests import factories
from tests.builders import BuiltFile, build_sdist, build_wheel

REQUIREMENTS = [
    "numpy >= 1.26, < 3, != 2.0",
    'tomli>=2; python_version < "3.11"',
    'matplotlib; extra == "plot"',
    "PyTest[testing,cov]; extra == 'Test' and sys_platform == \"linux\"",
    'colorama; sys_platform == "win32" and extra == "test"',
    'both; extra == "plot" or extra == "test"',
    'shell; os_name == "nt" or extra == "plot"',
    "direct @ https://example.com/direct-1.0.zip",
]
ENVIRONMENTS = [
    {"python_version": version, "sys_platform": platform}
    for version in ("3.9", "3.12")
    for platform in ("linux", "win32")
]


def test_requirements_are_read_with_the_extras_of_their_markers() -> None:
    found = requirements.read([*REQUIREMENTS, "not a requirement!", "n" * 300, f"long; os_name == '{'x' * 1000}'"])

    assert [(each.extra, each.name, each.condition) for each in found] == [
        ("", "numpy", ""),
        ("", "tomli", 'python_version < "3.11"'),
        ("plot", "matplotlib", ""),
        ("test", "PyTest", 'sys_platform == "linux"'),
        ("test", "colorama", 'sys_platform == "win32"'),
        ("plot", "both", ""),
        ("test", "both", ""),
        ("", "shell", 'os_name == "nt"'),
        ("plot", "shell", ""),
        ("", "direct", ""),
    ]
    assert found[0].specifier == ">=1.26, <3, !=2.0"
    assert (found[3].normalized_name, found[3].extras) == ("pytest", "cov, testing")
    assert found[-1].url == "https://example.com/direct-1.0.zip"


def test_requirements_are_bounded_in_number() -> None:
    many = " or ".join(f'extra == "x{number}"' for number in range(30))

    assert len(requirements.read(f"a{number}; {many}" for number in range(1000))) == requirements.MOST


ATOMS = st.sampled_from(
    ['extra == "plot"', "extra == 'Test'", 'extra != "plot"', 'extra in "plot"',
     'python_version < "3.10"', 'sys_platform == "linux"', 'sys_platform not in "linux cygwin"']
)  # fmt: skip
MARKERS = st.recursive(
    ATOMS,
    lambda parts: st.builds("({} {} {})".format, parts, st.sampled_from(["and", "or"]), parts),
    max_leaves=6,
)


@given(MARKERS)
@settings(max_examples=100, deadline=None)
def test_a_requirement_applies_exactly_where_packaging_installs_it(marker: str) -> None:
    found = requirements.read([f"demo; {marker}"])

    def applies(extra: str, environment: dict[str, str]) -> bool:
        return any(
            each.extra in ("", extra)
            and (not each.condition or Marker(each.condition).evaluate({**environment, "extra": extra}))
            for each in found
        )

    parsed = Requirement(f"demo; {marker}").marker
    assert parsed is not None
    for environment in ENVIRONMENTS:
        for extra in ("", "plot", "test", "other"):
            assert applies(extra, environment) is parsed.evaluate({**environment, "extra": extra}), (extra, found)


def requiring(name: str, *values: str, version: str = "1.0") -> BuiltFile:
    return build_wheel(name, version, requires_dist=values)


def kept(package_id: int) -> list[str]:
    rows = select(PackageRequirement).where(PackageRequirement.package_id == package_id)
    return [row.name for row in db.session.scalars(rows.order_by(PackageRequirement.number))]


def test_the_rows_are_those_of_the_newest_file(project: Project, storage: Storage) -> None:
    older = factories.published(project, requiring("demo", "one", "two; extra == 'x'"))
    assert kept(older.package_id) == ["one", "two"]

    newer = factories.published(project, build_sdist("demo", "1.0", requires_dist=("three",)))
    assert kept(older.package_id) == ["three"]

    updated_at = db.session.get_one(Package, older.package_id).updated_at
    deletion.delete_file(newer, db.session.get_one(Package, newer.package_id), project, by=SHELL)
    assert requirements.unread() == 1
    assert requirements.fill(storage) == 0
    assert kept(older.package_id) == ["one", "two"]
    assert db.session.get_one(Package, older.package_id, populate_existing=True).updated_at == updated_at


@pytest.mark.usefixtures("app")
def test_dependents_are_the_latest_versions_that_the_reader_can_read_around_the_project() -> None:
    top = factories.group("top", visibility=Visibility.PUBLIC)
    project = factories.project("needed", parent=top, visibility=Visibility.PUBLIC)
    open_, closed = (
        factories.project(path, parent=factories.group(parent=top, visibility=level), visibility=level)
        for path, level in (("open", Visibility.PUBLIC), ("closed", Visibility.PRIVATE))
    )
    elsewhere = factories.project("elsewhere", visibility=Visibility.PUBLIC)
    factories.published(project, requiring("needed", "needed[more]"))
    factories.published(project, requiring("beside", "Needed>1", "needed<3; extra == 'x'"))
    factories.published(open_, requiring("former", "needed"))
    factories.published(open_, requiring("former", "other", version="2.0"))
    factories.published(closed, requiring("secret", "needed"))
    factories.published(elsewhere, requiring("far", "needed"))
    member = factories.member(closed, Role.DEVELOPER)

    def found(reader: access.Principal) -> list[str]:
        ids = dependencies.dependents(project, "needed", reader)
        return [each.package.name for each in dependencies.described(ids, "needed")]

    assert found(access.ANONYMOUS) == ["beside"]
    assert found(factories.signed_in(member)) == ["beside", "secret"]
    (beside,) = dependencies.described(dependencies.dependents(project, "needed", access.ANONYMOUS), "needed")
    assert [(each.specifier, each.extra) for each in beside.requirements] == [(">1", ""), ("<3", "x")]


@pytest.fixture
def unread(project: Project) -> list[int]:
    """Versions as they are after the upgrade from a schema without requirements, one of them deleted."""
    files = [factories.published(project, requiring("demo", f"needed{n}", version=f"{n}")) for n in range(4)]
    with transaction():
        db.session.execute(text("DELETE FROM package_requirements"))
        db.session.execute(text("UPDATE packages SET requirements_sha256 = NULL"))
        db.session.get_one(Package, files[0].package_id).status = PackageStatus.PENDING_DESTRUCTION
    return [file.package_id for file in files[1:]]


def test_filling_continues_after_an_interruption(
    monkeypatch: pytest.MonkeyPatch, unread: list[int], storage: Storage
) -> None:
    monkeypatch.setattr(requirements, "BATCH", 2)

    def interrupt(_number: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        requirements.fill(storage, report=interrupt)
    assert 0 < requirements.unread() < len(unread)
    assert not requirements.are_complete()

    assert requirements.fill(storage) == 0

    assert requirements.are_complete()
    assert [kept(package_id) for package_id in unread] == [["needed1"], ["needed2"], ["needed3"]]


def test_a_document_that_is_missing_in_the_store_does_not_stop_the_filling(
    project: Project, unread: list[int], storage: Storage
) -> None:
    file = db.session.scalars(select(PackageFile).where(PackageFile.package_id == unread[0])).one()
    assert file.core_metadata_sha256 is not None
    with transaction():
        file.core_metadata_sha256 = "0" * 64

    assert requirements.fill(storage) == 0

    assert [kept(package_id) for package_id in unread] == [[], ["needed2"], ["needed3"]]
