"""Dependencies by extra, held against packaging."""

from __future__ import annotations

import pytest
from packaging.requirements import Requirement

from registry.domain.packages import dependencies

REQUIREMENTS = [
    "numpy >= 1.26, < 3, != 2.0",
    'tomli>=2; python_version < "3.11"',
    'matplotlib; extra == "plot"',
    "PyTest[testing,cov]; extra == 'Test' and sys_platform == \"linux\"",
    'colorama; sys_platform == "win32" and extra == "test"',
    'both; extra == "plot" or extra == "test"',
    "direct @ https://example.com/direct-1.0.zip",
]


def test_dependencies_are_grouped_by_the_extras_of_their_markers() -> None:
    found = dict(dependencies.by_extra([*REQUIREMENTS, "not a requirement!"]))

    assert {extra: [each.name for each in group] for extra, group in found.items()} == {
        "": ["numpy", "tomli", "direct"],
        "plot": ["matplotlib", "both"],
        "test": ["PyTest", "colorama", "both"],
    }
    assert found[""][0].specifier == ">=1.26, <3, !=2.0"
    assert found["test"][0].extras == ("cov", "testing")
    assert found[""][2].url == "https://example.com/direct-1.0.zip"


@pytest.mark.parametrize(
    ("requirement", "condition"),
    [
        (REQUIREMENTS[1], 'python_version < "3.11"'),
        (REQUIREMENTS[2], ""),
        (REQUIREMENTS[4], 'sys_platform == "win32"'),
        (REQUIREMENTS[5], 'extra == "plot" or extra == "test"'),
    ],
    ids=["no extra", "only an extra", "another condition", "two extras"],
)
def test_the_condition_of_an_extra_is_left_out_where_the_group_states_it(requirement: str, condition: str) -> None:
    assert {each.condition for _, group in dependencies.by_extra([requirement]) for each in group} == {condition}


@pytest.mark.parametrize("text", REQUIREMENTS)
def test_a_dependency_is_under_an_extra_exactly_if_packaging_installs_it_only_with_it(text: str) -> None:
    requirement, environment = Requirement(text), {"python_version": "3.9", "sys_platform": "linux"}
    groups = {extra for extra, _ in dependencies.by_extra([text])}

    def holds(extra: str, platform: str = "linux") -> bool:
        return requirement.marker is None or requirement.marker.evaluate(
            environment | {"extra": extra, "sys_platform": platform}
        )

    for extra in ("plot", "test"):
        needs_it = any(holds(extra, platform) and not holds("", platform) for platform in ("linux", "win32"))
        assert (extra in groups) is needs_it
