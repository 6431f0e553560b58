"""Refusals of the domain as pages show them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from registry.blueprints.ui import wording
from registry.blueprints.ui.wording import translated

REGISTRY = Path(wording.__file__).parents[2]


@pytest.fixture(scope="module")
def domain_sentences():
    """Every text written in the domain and among the refusals."""
    return {
        node.value
        for path in (*(REGISTRY / "domain").rglob("*.py"), REGISTRY / "errors.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


@pytest.mark.parametrize("sentence", wording._SENTENCES)
def test_every_sentence_with_a_translation_is_one_the_domain_says(domain_sentences, sentence):
    assert sentence in domain_sentences


@pytest.mark.parametrize(
    ("said", "english", "japanese"),
    [
        ("has already been taken", "This is already taken.", "すでに使用されています。"),
        (
            "is too long (maximum is 255 characters)",
            "Use at most 255 characters.",
            "255文字以内にしてください。",
        ),
        (
            "should be greater than or equal to Developer inherited membership from group A & B",
            "This user already has the role Developer from the group A & B; choose that role or a higher one.",
            "このユーザーはグループA & Bからすでにデベロッパーロールを継承しています。"
            "同じかより高いロールを選択してください。",
        ),
        ("something nobody foresaw", "something nobody foresaw", "something nobody foresaw"),
    ],
    ids=["sentence", "number", "role and group", "unknown"],
)
def test_a_sentence_is_shown_in_the_language_of_the_request(app, said, english, japanese):
    for language, shown in (("en", english), ("ja", japanese)):
        with app.app_context(), app.test_request_context(headers={"Accept-Language": language}):
            assert translated(said) == shown
