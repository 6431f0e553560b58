"""Language and color scheme of visitors, which their browser keeps in cookies."""

from __future__ import annotations

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from registry.blueprints.auth.permits import Gate
from registry.blueprints.ui.account import Page, PreferencesForm
from registry.blueprints.ui.frame import SCHEME_COOKIE, color_scheme
from registry.blueprints.ui.language import LANGUAGE_COOKIE, chosen_language
from registry.blueprints.ui.viewer import viewer

A_YEAR_SECONDS = 365 * 86_400


def routes(gate: Gate) -> Blueprint:
    blueprint = Blueprint("preferences", __name__)

    @blueprint.route("/-/preferences", methods=["GET", "POST"])
    @gate.open
    def preferences() -> Page:
        """Show and change language and color scheme of a visitor; signed-in users have a page of their account."""
        if viewer() is not None:
            return redirect(url_for("ui.account.preferences"), 303)
        form = PreferencesForm(language=chosen_language(), color_scheme=color_scheme().value)
        form.offer()
        if not form.validate_on_submit():
            return render_template("ui/account/visitor_preferences.html", form=form), form.status
        response = redirect(url_for("ui.preferences.preferences"), 303)
        _keep(response, LANGUAGE_COOKIE, form.language.data)
        _keep(response, SCHEME_COOKIE, form.color_scheme.data)
        return response

    return blueprint


def _keep(response: Response, name: str, value: str) -> None:
    response.set_cookie(
        name, value, max_age=A_YEAR_SECONDS, path=f"{request.script_root}/", secure=request.is_secure, httponly=True,
        samesite="Lax",
    )  # fmt: skip
