from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from packaging.utils import canonicalize_name

from registry.domain.upstream.policies import listed
from registry.errors import WithheldByRule
from tests.domain.upstream.policies.pages import file_of, page_of, rules_with

WHEEL, LOCAL, SDIST, EGG = "demo-1.0-py3-none-any.whl", "demo-1.0+cpu-py3-none-any.whl", "demo-2.0.tar.gz", "demo-2.egg"
ALL = [WHEEL, LOCAL, SDIST, EGG]


@pytest.mark.parametrize(
    ("blocked", "allowed", "offered"),
    [
        ([], [], ALL),
        (["other", "demon*", "other==1.0"], [], ALL),
        (["demo"], [], []),
        (["De_*"], [], ALL),
        (["de*"], [], []),
        (["Demo==1"], [], [SDIST, EGG]),
        (["demo==1.0+cpu"], [], [WHEEL, SDIST, EGG]),
        ([], ["demo"], ALL),
        ([], ["other"], []),
        ([], ["other", "demo==2.0"], [SDIST]),
        (["demo==2"], ["demo"], [WHEEL, LOCAL, EGG]),
    ],
)
def test_files_are_withheld_by_the_lists(blocked: list[str], allowed: list[str], offered: list[str]) -> None:
    rules = rules_with(blocked=tuple(blocked), allowed=tuple(allowed))

    page = listed.withhold(page_of(*map(file_of, ALL)), rules)

    assert [file.filename for file in page.files] == offered
    assert [one.file.filename for one in page.withheld] == [name for name in ALL if name not in offered]


def test_a_withheld_file_is_explained_with_the_place_of_the_rule() -> None:
    page = page_of(file_of(WHEEL), file_of(SDIST))

    found = listed.withhold(page, rules_with(blocked=("demo==2",), allowed=("demo==2",))).withheld

    assert [(one.rule, one.set_in, one.until) for one in found] == [
        ("allowed", "instance", None), ("blocked", "acme/tools", None),
    ]  # fmt: skip
    assert found[0].detail == f"{WHEEL} is not on the list of allowed packages, which is set in the instance."
    assert found[1].detail == f'{SDIST} is blocked by the entry "demo==2" in the settings of the group acme/tools.'


@pytest.mark.parametrize(
    ("blocked", "allowed", "title"),
    [
        (["demo"], [], "Package blocked"),
        (["d*"], ["demo"], "Package blocked"),
        ([], ["demon"], "Package not allowed"),
        (["demo==1.0"], [], None),
        ([], ["demo==1.0"], None),
        ([], [], None),
    ],
)
def test_a_name_of_which_nothing_is_offered_is_refused(
    blocked: list[str], allowed: list[str], title: str | None
) -> None:
    rules = rules_with(blocked=tuple(blocked), allowed=tuple(allowed))

    if title is None:
        listed.refuse_name(canonicalize_name("Demo"), rules)
        return
    with pytest.raises(WithheldByRule) as refusal:
        listed.refuse_name(canonicalize_name("Demo"), rules)
    assert refusal.value.title == title


PATTERNS = st.lists(st.sampled_from(["demo", "d*", "demo==1", "demo==1.0+cpu", "demo==2.0", "other", "x*"]), max_size=4)


@given(blocked=PATTERNS, allowed=PATTERNS)
@hypothesis_settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_pages_agree_with_a_naive_model(blocked: list[str], allowed: list[str]) -> None:
    covered = {
        "demo": ALL, "d*": ALL, "demo==1": [WHEEL, LOCAL], "demo==1.0+cpu": [LOCAL], "demo==2.0": [SDIST],
        "other": [], "x*": [],
    }  # fmt: skip

    page = listed.withhold(page_of(*map(file_of, ALL)), rules_with(blocked=tuple(blocked), allowed=tuple(allowed)))

    assert [file.filename for file in page.files] == [
        name
        for name in ALL
        if not any(name in covered[text] for text in blocked)
        and (not allowed or any(name in covered[text] for text in allowed))
    ]
