"""Translation of pages: the language of a request, and catalogs read from ``registry/translations``.

Each process reads ``messages.po`` directly, so that no compiled catalogs can be stale or missing.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

from babel import Locale
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import NullTranslations, Translations
from flask import Flask, g, request
from flask_babel import Babel, Domain, get_locale
from jinja2.nodes import EvalContext
from jinja2.utils import pass_eval_context
from markupsafe import Markup

from registry.blueprints.ui.viewer import viewer

LANGUAGES = {"en": "English", "ja": "日本語"}
LANGUAGE_COOKIE = "language"  # of visitors; users have a setting


class Catalogues(Domain):  # type: ignore[misc]
    """Flask-Babel's domain with messages read from ``messages.po``."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def get_translations(self) -> NullTranslations:
        if not g:
            return NullTranslations()
        language = current_language()
        if language not in self.cache:
            self.cache[language] = self._read(language)
        translations: NullTranslations = self.cache[language]
        return translations

    def _read(self, language: str) -> Translations:
        with (self._folder / language / "LC_MESSAGES" / "messages.po").open("rb") as file:
            catalogue = read_po(file, locale=language)
        compiled: Any = BytesIO()
        write_mo(compiled, catalogue)
        compiled.seek(0)
        return Translations(compiled)


def init_app(app: Flask) -> None:
    babel = Babel()
    babel.init_app(app, default_locale="en", locale_selector=_select)
    catalogues = Catalogues(Path(app.root_path) / "translations")
    babel.domain_instance = catalogues
    app.jinja_env.globals.update(_=_for_templates(catalogues), gettext=_for_templates(catalogues))


def _for_templates(catalogues: Catalogues) -> Callable[..., str]:
    """Return a ``gettext`` that makes fewer calls than that of Jinja's extension: a page has hundreds of texts."""

    @pass_eval_context
    def gettext(context: EvalContext, message: str, /, **values: object) -> str:
        translated: str = catalogues.get_translations().ugettext(message)
        if context.autoescape:
            translated = Markup(translated)  # noqa: S704 - from the catalogs of the program
        return translated % values if "%" in translated else translated

    return gettext


def current_language() -> str:
    """Return the language of the response, one of ``LANGUAGES``."""
    locale: Locale = get_locale()
    return locale.language


def chosen_language() -> str:
    """Return the language that the user or visitor has chosen; empty if none."""
    user = viewer()
    chosen = request.cookies.get(LANGUAGE_COOKIE, "") if user is None and request else ""
    return chosen if user is None else user.preferred_language


def _select() -> str:
    """Return the chosen language, or else the best match for the browser."""
    if (chosen := chosen_language()) in LANGUAGES:
        return chosen
    accepted = (tag.partition("-")[0].lower() for tag in request.accept_languages.values()) if request else ()
    return next((language for language in accepted if language in LANGUAGES), "en")
