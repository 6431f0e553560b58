"""Descriptions of packages, rendered: what strangers wrote becomes safe HTML, or a reason why it cannot.

That is done in a process of its own with little time and memory (``readme_worker``): nested deep enough, a page of text
keeps a renderer busy for minutes, and nothing in this process could stop it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from email.message import Message
from functools import lru_cache
from pathlib import Path

from registry.domain.distributions.core_metadata import Description

LONGEST_CHARACTERS = 1 << 20  # a longer one is for reading in an editor
PATIENCE_SECONDS = 10
WRONG = 3  # exit status of the worker for a description that is not what its type says
_WORKER = Path(__file__).with_name("readme_worker.py")


def html(description: Description) -> str | None:
    """A description as safe HTML; ``None`` if it is to be shown as it is.

    :raises subprocess.TimeoutExpired: it had no chance to run; time of its own it takes little, then it fails.
    """
    worker = _work(description)
    return worker.stdout.decode() if worker.returncode == 0 else None


@lru_cache(maxsize=16)  # the files of a release have the same one, and starting the worker takes a quarter of a second
def fault(description: Description) -> str | None:
    """What is wrong with a description in reStructuredText; ``None`` if nothing is, or nobody can tell in time.

    Other types cannot be wrong.
    """
    message = Message()
    message["Content-Type"] = " ".join(description.content_type.split())
    text = description.text
    if message.get_content_type() != "text/x-rst" or not text.strip() or len(text) > LONGEST_CHARACTERS:
        return None
    try:
        worker = _work(description)
    except subprocess.TimeoutExpired:  # the machine is busy; that is not the file's fault
        return None
    return worker.stderr.decode() if worker.returncode == WRONG else None


def _work(description: Description) -> subprocess.CompletedProcess[bytes]:
    sent = json.dumps({"text": description.text, "content_type": description.content_type})
    command = [sys.executable, "-I", str(_WORKER)]
    return subprocess.run(command, input=sent.encode(), capture_output=True, timeout=PATIENCE_SECONDS, check=False)  # noqa: S603
