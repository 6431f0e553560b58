"""Every word of the pages is in both catalogues, and nothing else is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog, Message

from tests import catalogues

TEMPLATES = Path(__file__).resolve().parents[1] / "templates"
# The end of a sentence, and a space before the next one or a link.
SPACED = re.compile(r"\{\{-? (?:_|ngettext)\([^{}]*\.[\"'](?:, [^{}]*)?\) \}\}\s+(?:\{\{ |<a )")
PLACEHOLDER = re.compile(r"%\(\w+\)[sd]")


@pytest.fixture(scope="module")
def messages() -> Catalog:
    return catalogues.extracted()


def both(message: Message) -> tuple[tuple[str, ...], tuple[str, ...]]:
    as_tuples = [text if isinstance(text, tuple) else (text,) for text in (message.id, message.string)]
    return as_tuples[0], as_tuples[1]


def placeholders(forms: tuple[str, ...]) -> frozenset[str]:
    """Those of all forms together: one language has the number in both, another in one."""
    return frozenset(PLACEHOLDER.findall(" ".join(forms)))


@pytest.mark.parametrize("language", catalogues.LANGUAGES)
def test_the_catalogue_is_as_the_update_leaves_it(messages, language):
    updated = catalogues.written(catalogues.brought_up_to_date(language, messages))

    assert catalogues.po_file(language).read_bytes() == updated, "run: python -m tests.catalogues"


@pytest.mark.parametrize("language", catalogues.LANGUAGES)
def test_every_message_is_translated(language):
    untranslated = [message.id for message in catalogues.read(language) if message.id and not all(both(message)[1])]

    assert untranslated == []


@pytest.mark.parametrize("language", catalogues.LANGUAGES)
def test_a_translation_has_the_placeholders_of_its_message(language):
    different = [
        message.id
        for message in catalogues.read(language)
        if message.id and all(both(message)[1]) and len(set(map(placeholders, both(message)))) > 1
    ]

    assert different == []


def test_english_messages_are_their_own_translations():
    assert all(both(message)[0] == both(message)[1] for message in catalogues.read("en") if message.id)


def test_sentences_are_joined_as_the_language_does():
    found = [
        f"{template.relative_to(TEMPLATES)}: {gap[0]}"
        for template in TEMPLATES.rglob("*.html")
        for gap in SPACED.finditer(template.read_text("utf-8"))
    ]

    assert found == [], "use sentence_gap()"
