"""Rendering of untrusted package descriptions as safe HTML.

A separate process with limits on time and memory does the work (``readme_worker``): a page of deeply nested text can
keep a renderer busy for minutes, and nothing in this process could stop it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from email.message import Message
from functools import lru_cache
from pathlib import Path

from registry.domain.distributions.core_metadata import Description

LONGEST_CHARACTERS = 1 << 20  # longer descriptions are not checked, and pages do not show them
PATIENCE_SECONDS = 10
WRONG = 3  # exit status of the worker for a description that is invalid for its content type
_WORKER = Path(__file__).with_name("readme_worker.py")


def html(description: Description) -> str | None:
    """Render a description as safe HTML; return ``None`` if it has to be shown as plain text.

    :raises subprocess.TimeoutExpired: the machine was too busy to run the worker, whose own processor time is limited
        far below this timeout.
    """
    worker = _work(description)
    return worker.stdout.decode() if worker.returncode == 0 else None


@lru_cache(maxsize=16)  # the files of a release share one description, and starting the worker takes a quarter second
def fault(description: Description) -> str | None:
    """Return the error in a reStructuredText description; ``None`` if there is none or the worker times out.

    Other content types have no errors.
    """
    message = Message()
    message["Content-Type"] = " ".join(description.content_type.split())
    text = description.text
    if message.get_content_type() != "text/x-rst" or not text.strip() or len(text) > LONGEST_CHARACTERS:
        return None
    try:
        worker = _work(description)
    except subprocess.TimeoutExpired:  # the machine is busy, which does not make the file invalid
        return None
    return worker.stderr.decode() if worker.returncode == WRONG else None


def _work(description: Description) -> subprocess.CompletedProcess[bytes]:
    sent = json.dumps({"text": description.text, "content_type": description.content_type})
    command = [sys.executable, "-I", str(_WORKER)]
    return subprocess.run(command, input=sent.encode(), capture_output=True, timeout=PATIENCE_SECONDS, check=False)  # noqa: S603
