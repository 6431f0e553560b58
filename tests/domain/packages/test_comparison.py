"""What differs between two versions of a package."""

from __future__ import annotations

import io

from registry.domain.distributions import core_metadata, members
from registry.domain.distributions.filenames import Kind, kind_of
from registry.domain.packages import about, comparison
from registry.domain.packages.about import About
from registry.domain.packages.comparison import Difference
from registry.models import Package, PackageFile
from tests.builders import build_sdist, build_wheel, metadata


def read(**fields) -> About:
    return about.about(core_metadata.read(metadata("demo", "1.0", **fields)).fields)


def package(summary: str = "") -> Package:
    return Package(summary=summary, required_python="", author_email="")


def listing(built) -> members.Listing:
    return members.listing(io.BytesIO(built.content), built.filename)


def test_fields_have_the_values_of_one_version_alone() -> None:
    before = read(requires_python=">=3.9", headers=["Keywords: a,b", "Author-email: Ada <ada@example.com>"])
    after = read(
        requires_python=">=3.9",
        headers=["Keywords: b,c", "License-Expression: MIT", "Author-email: Ada <ada@example.com>"],
    )

    found = comparison.of_metadata(package("Old"), before, package("New"), after)

    assert found == [
        Difference("summary", ("Old",), ("New",)),
        Difference("license", (), ("MIT",)),
        Difference("keywords", ("a",), ("c",)),
    ]


def test_dependencies_are_compared_by_name_in_any_spelling() -> None:
    before = read(requires_dist=["same>=1", "Changed_one >= 1", "gone; python_version<'3'", "not a requirement !"])
    after = read(requires_dist=["same >=1", "changed-one>=2", "new[fast]==1"])

    assert comparison.of_dependencies(before, after) == [
        Difference("changed-one", ("Changed_one>=1",), ("changed-one>=2",)),
        Difference("gone", ('gone; python_version < "3"',), ()),
        Difference("new", (), ("new[fast]==1",)),
    ]


def test_files_for_the_same_use_are_side_by_side_and_a_wheel_is_compared_first() -> None:
    old = [PackageFile(filename=name) for name in ("demo-1.0.tar.gz", "demo-1.0-py3-none-any.whl")]
    names = ("demo-2.0-py3-none-any.whl", "demo-2.0-1-cp313-abi3-linux_x86_64.whl", "demo-2.0.tar.gz")
    new = [PackageFile(filename=name) for name in names]

    found = comparison.of_files(old, new)

    assert [(each.use, each.before, each.after) for each in found] == [
        ("1-cp313-abi3-linux_x86_64", None, new[1]),
        ("py3-none-any", old[1], new[0]),
        (".tar.gz", old[0], new[2]),
    ]
    assert comparison.comparable(found) == (old[1], new[0])
    assert comparison.comparable(found[:1]) is None


def test_members_are_compared_without_the_version_in_their_folders() -> None:
    def changed(build) -> dict[str, tuple[bool, bool]]:
        old = build(version="1.0", files={"same.py": b"", "old.py": b"", "other.py": b"one"})
        new = build(version="2.0", files={"same.py": b"", "new.py": b"", "other.py": b"two"})
        found = comparison.of_members(listing(old), listing(new), kind_of(new.filename))
        return {each.path.rpartition("/")[2]: (bool(each.before), bool(each.after)) for each in found}

    wheel, sdist = changed(build_wheel), changed(build_sdist)

    assert wheel.pop("METADATA") == wheel.pop("RECORD") == wheel.pop("demo.py") == (True, True)
    assert wheel == {"old.py": (True, False), "new.py": (False, True), "other.py": (True, True)}
    assert sdist == {"old.py": (True, False), "new.py": (False, True)}  # no checksums, and equal sizes


def test_a_module_named_like_the_folder_of_a_version_is_one_of_its_own() -> None:
    assert comparison._without_version("demo-1.0.dist-info/RECORD", Kind.WHEEL) == ".dist-info/RECORD"
    assert comparison._without_version("demo.data", Kind.WHEEL) == "demo.data"
