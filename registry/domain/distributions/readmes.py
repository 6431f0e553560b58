"""Rendering of untrusted package descriptions as safe HTML.

Separate processes with limits on time and memory do the work (``readme_worker``), at most ``HELPERS`` at a time: a page
of deeply nested text can keep a renderer busy for minutes, and nothing in this process could stop it. They get no
environment, which can contain secrets.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import dataclass
from email.message import Message
from functools import lru_cache
from pathlib import Path

from registry.domain.distributions.core_metadata import Description

LONGEST_BYTES = 512 * 1024  # longer descriptions are neither rendered nor checked
HELPERS = 2
# The processor time of a helper is limited to 2 s. On a busy machine, it can take longer to get that.
PATIENCE_SECONDS = 10
UPLOAD_WAITS_SECONDS = 2  # for one of the helpers
WRONG = 3  # exit status of the worker for a description that is invalid for its content type
_WORKER = Path(__file__).with_name("readme_worker.py")
_helpers = threading.BoundedSemaphore(HELPERS)


class Busy(Exception):
    """No helper was free, or the machine was too busy for the helper to finish."""


@dataclass(frozen=True)
class Rendering:
    """The result of rendering a description.

    :ivar html: safe HTML; ``None`` if the description has to be shown as plain text.
    :ivar fault: the error for which the description is invalid for its content type; empty if there is none.
    """

    html: str | None
    fault: str = ""


def is_too_long(description: Description) -> bool:
    return len(description.text.encode("utf-8", "replace")) > LONGEST_BYTES


def rendered(description: Description, wait_seconds: float = PATIENCE_SECONDS) -> Rendering:
    """Render a description.

    :param wait_seconds: how long to wait for one of the helpers.
    :raises Busy: try again later.
    """
    if not _helpers.acquire(timeout=wait_seconds):
        raise Busy
    try:
        return _worked(description)
    except subprocess.TimeoutExpired as error:
        raise Busy from error
    finally:
        _helpers.release()


def is_checked(description: Description) -> bool:
    """Return whether a description can be invalid for its content type: only reStructuredText has errors."""
    message = Message()
    message["Content-Type"] = " ".join(description.content_type.split())
    is_restructured = bool(description.content_type) and message.get_content_type() == "text/x-rst"
    return is_restructured and bool(description.text.strip()) and not is_too_long(description)


def fault(description: Description) -> str | None:
    """Return the error in a description; ``None`` if there is none or it takes too long to find it."""
    if not is_checked(description):
        return None
    try:
        return rendered(description, UPLOAD_WAITS_SECONDS).fault or None
    except Busy:  # which does not make the file invalid
        return None


@lru_cache(maxsize=8)  # the files of a release share one description, and starting a helper takes a quarter second
def _worked(description: Description) -> Rendering:
    sent = json.dumps({"text": description.text, "content_type": description.content_type})
    command = [sys.executable, "-I", str(_WORKER)]
    worker = subprocess.run(  # noqa: S603
        command, input=sent.encode(), capture_output=True, timeout=PATIENCE_SECONDS, check=False, env={}
    )
    if worker.returncode == WRONG:
        return Rendering(None, worker.stderr.decode())
    return Rendering(worker.stdout.decode() if worker.returncode == 0 else None)
