"""Refusals of the domain as pages show them."""

from __future__ import annotations

import pytest
from flask import Flask

from registry.blueprints.ui import wording
from registry.errors import Code, Conflict, Fault, Forbidden, InvalidRecord
from registry.models import Role
from tests.refusals import values_of

UPLOAD = "only clients upload"
TOKEN = "pages are opened with a session, never with a token"
JOB = "only the REST API starts and finishes jobs with values of its own"
# Codes without a sentence for pages.
NEVER_ON_A_PAGE = {
    Code.INVALID_JOB_TEXT: JOB,
    Code.JOB_LIFETIME_OUT_OF_RANGE: JOB,
    Code.NO_END_OF_A_JOB: JOB,
    Code.INVALID_UPLOAD: UPLOAD,
    Code.MALFORMED_FORM: UPLOAD,
    Code.FORM_TOO_LARGE: UPLOAD,
    Code.PART_HEAD_TOO_LARGE: UPLOAD,
    Code.FILE_TOO_LARGE: UPLOAD,
    Code.NO_FILENAME: UPLOAD,
    Code.WRONG_DIGEST: UPLOAD,
    Code.STORAGE_LIMIT: UPLOAD,
    Code.STORAGE_LIMIT_ABOVE: UPLOAD,
    Code.STORAGE_LIMIT_WITH_UPLOADS: UPLOAD,
    Code.NAME_CLOSED: UPLOAD,
    Code.NAME_CLOSED_BECAUSE: UPLOAD,
    Code.INVALID_PARAMETER: "pages have forms, with sentences of their own beside each field",
    Code.TOKEN_EXPIRED: TOKEN,
    Code.TOKEN_REVOKED: TOKEN,
    Code.USER_BLOCKED: TOKEN,
    Code.USER_DEACTIVATED: TOKEN,
    Code.SCOPE_TOO_NARROW: TOKEN,
    Code.SUDO_WITHOUT_ADMIN: TOKEN,
    Code.SECOND_FACTOR_OF_ADMINISTRATOR: "pages let administrators disable that of others",
    Code.USERS_NOT_LISTED: "pages list users for administrators alone, and ask visitors to sign in",
    Code.USER_NOT_SHOWN: "pages show users to administrators alone, and ask visitors to sign in",
}


def shown(app: Flask, fault: Fault, language: str) -> str:
    with app.app_context(), app.test_request_context(headers={"Accept-Language": language}):
        return wording.sentence(fault)


def test_every_code_has_a_sentence_for_pages_or_a_reason_to_have_none():
    assert set(wording._SENTENCES) | NEVER_ON_A_PAGE.keys() == set(Code)
    assert set(wording._SENTENCES) & NEVER_ON_A_PAGE.keys() == set()


@pytest.mark.parametrize("code", wording._SENTENCES, ids=lambda code: code.name)
def test_a_code_is_shown_in_both_languages_with_the_values_it_is_raised_with(app, code):
    fault = Fault(code, **values_of(code))

    english, japanese = shown(app, fault, "en"), shown(app, fault, "ja")

    assert english.isascii()
    assert not japanese.isascii()


@pytest.mark.parametrize(
    ("fault", "english", "japanese"),
    [
        (Fault(Code.TAKEN), "This is already taken.", "すでに使用されています。"),
        (
            Fault(Code.TOO_LONG, maximum=255),
            "Use at most 255 characters.",
            "255文字以内にしてください。",
        ),
        (
            Fault(Code.ROLE_BELOW_INHERITED, role=Role.DEVELOPER, group="A & B"),
            "This user already has the Developer role through the group A & B. Choose that role or a higher one.",
            "このユーザーはグループA & Bからすでにデベロッパーロールを継承しています。"
            "同じかより高いロールを選択してください。",
        ),
        (Fault(Code.USER_NOT_SHOWN), "Not authorized!", "Not authorized!"),
    ],
    ids=["sentence", "number", "role and group", "never on a page"],
)
def test_a_fault_is_shown_in_the_language_of_the_request(app, fault, english, japanese):
    assert (shown(app, fault, "en"), shown(app, fault, "ja")) == (english, japanese)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (Conflict(Code.ALREADY_MEMBER), "This user is already a member."),
        (Forbidden(), ""),
        (
            InvalidRecord({"name": [Fault(Code.BLANK)], "path": [Fault(Code.TAKEN)]}),
            "This field is required. This is already taken.",
        ),
    ],
    ids=["one reason", "none", "several"],
)
def test_a_refusal_is_shown_with_all_its_reasons(app, error, sentence):
    with app.app_context(), app.test_request_context():
        assert wording.refusal(error) == sentence
