from __future__ import annotations

import pytest
from packaging.utils import NormalizedName
from packaging.version import Version

from registry.domain.importing.selections import Selection, parse_selections
from registry.errors import SourceError


def test_names_and_versions_are_put_together() -> None:
    texts = ["Demo_Pkg==1.0", "demo.pkg == 2.0", "other", "other==1.0", "third==1.0.0RC1"]

    assert parse_selections(texts) == [
        Selection(NormalizedName("demo-pkg"), frozenset({Version("1.0"), Version("2.0")})),
        Selection(NormalizedName("other")),
        Selection(NormalizedName("third"), frozenset({Version("1.0rc1")})),
    ]


@pytest.mark.parametrize("text", ["", "==1.0", "demo==", "demo>=1.0", "demo==1.*", "demo===1.0", "-demo", "demo[a]"])
def test_anything_else_is_not_understood(text: str) -> None:
    with pytest.raises(SourceError) as refusal:
        parse_selections([text])

    assert refusal.value.sentence == f"{text!r} is neither a package name nor a name and version such as demo==1.0"
