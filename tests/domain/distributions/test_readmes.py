"""Descriptions that do not match their type."""

import pytest

from registry.domain.distributions import readmes
from registry.domain.distributions.core_metadata import Description
from registry.domain.distributions.readmes import fault

RST = "text/x-rst"
BROKEN = "Title\n===\n\n.. nonsense:: x\n"

FAULTLESS = {
    "reStructuredText": Description("Title\n=====\n\n* a\n* b\n", RST),
    "code in an unknown language": Description(".. code-block:: nonsense\n\n    x\n", "text/plain"),
    "Markdown, whatever it is": Description("# a\n<b>*`[", "text/markdown"),
    "plain text": Description(BROKEN, "text/plain"),
    "text of no type": Description(BROKEN, ""),
    "text of an unknown type": Description(BROKEN, "nonsense"),
    "no text": Description(" \n", RST),
    "text beyond all measure": Description(BROKEN * 20_000, RST),
}


@pytest.mark.parametrize("description", FAULTLESS.values(), ids=FAULTLESS)
def test_a_description_of_its_declared_type_has_no_fault(description):
    assert fault(description) is None


FAULTY = {
    "a short underline": (Description("A title\n====\n", RST), "Title underline too short."),
    "an unknown directive": (Description(".. nonsense:: x\n", RST), 'Unknown directive type "nonsense".'),
    "an unclosed literal": (
        Description("``x", f"{RST}; charset=UTF-8"),
        "Inline literal start-string without end-string",
    ),
    "letters of the world": (Description(".. d\u00e9mo\U0001f600:: x\n\n``x", RST), "Inline literal start-string"),
    "nothing to show": (Description(".. a comment", "Text/X-RST"), "No content rendered from RST source."),
}


@pytest.mark.parametrize(("description", "reason"), FAULTY.values(), ids=FAULTY)
def test_a_fault_is_reported_in_one_line_with_its_place(description, reason):
    found = fault(description)

    assert found is not None
    assert reason in found
    assert "\n" not in found
    assert len(found) <= 300


def test_a_description_that_cannot_be_read_in_time_has_no_fault():
    nested = "\n".join(" " * depth + "a\n" for depth in range(400))

    assert fault(Description(nested, RST)) is None


def test_a_busy_machine_is_not_the_files_fault(monkeypatch):
    monkeypatch.setattr(readmes, "PATIENCE_SECONDS", 0.01)

    assert fault(Description("A title at a busy hour\n====\n", RST)) is None
    with pytest.raises(readmes.Busy):
        readmes.rendered(Description("# Demo", "text/markdown"))


def test_an_upload_does_not_wait_long_for_a_helper(monkeypatch, busy_helpers):
    monkeypatch.setattr(readmes, "UPLOAD_WAITS_SECONDS", 0.01)

    assert fault(Description("A title for busy helpers\n====\n", RST)) is None


def test_a_helper_gets_no_environment(monkeypatch, tmp_path):
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\nenv\n")
    program.chmod(0o700)
    monkeypatch.setenv("REGISTRY_SECRET_KEY", "a secret key")
    monkeypatch.setattr(readmes.sys, "executable", str(program))

    found = readmes.rendered(Description("# Environment", "text/markdown")).html

    assert found is not None
    assert "PWD" in found
    assert "REGISTRY" not in found


def test_a_description_is_looked_at_once_for_all_files_of_a_release(monkeypatch):
    description = Description("A title like no other\n====\n", RST)
    first = fault(description)
    monkeypatch.setattr(readmes.sys, "executable", "/nowhere")

    assert first is not None
    assert fault(description) == first
