"""The messages of pages against the catalogues; ``python -m tests.catalogues`` brings these up to date.

New messages are added without a translation, unused ones are removed; English messages are their own translations.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_from_dir
from babel.messages.frontend import parse_mapping_cfg
from babel.messages.pofile import read_po, write_po

ROOT = Path(__file__).resolve().parent.parent
TRANSLATIONS = ROOT / "registry" / "translations"
LANGUAGES = ("en", "ja")
KEYWORDS = {"_": None, "gettext": None, "lazy_gettext": None, "ngettext": (1, 2), "_counted": (1, 2)}
HEADER = "# Words of the pages in {language}."


def extracted() -> Catalog:
    """Every message of the program and its templates."""
    with (TRANSLATIONS / "babel.cfg").open() as file:
        methods, options = parse_mapping_cfg(file)
    found = Catalog(fuzzy=False)
    for _, _, message, _, context in extract_from_dir(ROOT, methods, options, KEYWORDS):
        found.add(message, context=context)
    return found


def read(language: str) -> Catalog:
    path = po_file(language)
    if not path.exists():
        return Catalog(locale=language)
    with path.open("rb") as file:
        return read_po(file, locale=language)


def brought_up_to_date(language: str, messages: Catalog) -> Catalog:
    """The catalogue with exactly these messages, each with the translation it has."""
    standing = read(language)
    made = Catalog(locale=language, header_comment=HEADER.format(language=language), fuzzy=False)
    for message in messages:
        if message.id:
            known = standing.get(message.id, message.context)
            fits = known is not None and isinstance(known.string, tuple) is isinstance(message.id, tuple)
            made.add(message.id, known.string if known is not None and fits else _first_string(language, message))
    return made


def _first_string(language: str, message: Message) -> object:
    if language == "en":
        return message.id
    return ("",) if isinstance(message.id, tuple) else ""


def written(catalogue: Catalog) -> bytes:
    """The catalogue as a file: sorted, so that two changes meet only where they touch the same message."""
    buffer = BytesIO()
    write_po(buffer, catalogue, width=120, no_location=True, omit_header=False, sort_output=True)
    lines = buffer.getvalue().split(b"\n")
    return b"\n".join(line for line in lines if not line.startswith(VOLATILE))


VOLATILE = (b'"POT-Creation-Date', b'"PO-Revision-Date', b'"Last-Translator', b'"Language-Team', b'"Report-Msgid',
            b'"Project-Id', b'"Generated-By')  # fmt: skip


def po_file(language: str) -> Path:
    return TRANSLATIONS / language / "LC_MESSAGES" / "messages.po"


def main() -> None:
    messages = extracted()
    for language in LANGUAGES:
        catalogue = brought_up_to_date(language, messages)
        po_file(language).parent.mkdir(parents=True, exist_ok=True)
        po_file(language).write_bytes(written(catalogue))
        missing = [message.id for message in catalogue if message.id and not all(_strings(message))]
        print(f"{po_file(language).relative_to(ROOT)}: {len(catalogue)} messages, {len(missing)} to translate")


def _strings(message: Message) -> tuple[str, ...]:
    return message.string if isinstance(message.string, tuple) else (message.string,)


if __name__ == "__main__":
    main()
