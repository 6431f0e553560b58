"""READMEs of packages, ready to stand in a page.

What strangers wrote is rendered in a process of its own with little time and memory (``readme_worker``): nested deep
enough, a page of text keeps a renderer busy for minutes, and nothing in this process could stop it.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Hashable
from functools import lru_cache
from pathlib import Path
from typing import cast

from markupsafe import Markup

from registry.domain import distributions
from registry.domain.distributions import Description
from registry.errors import InvalidDistribution
from registry.storage import ObjectMissing, Storage, object_key

LONGEST_BYTES = 1 << 20  # of a core metadata document; a longer one is for reading in an editor
PATIENCE_SECONDS = 10
_WORKER = Path(__file__).with_name("readme_worker.py")

logger = logging.getLogger(__name__)


def readme(storage: Storage, core_metadata_sha256: str) -> Markup | None:
    """The description in a stored core metadata document as safe HTML; ``None`` if there is none to show.

    Rendered once: what lies under a digest never changes. What cannot be rendered is shown as it is.
    """
    try:
        return _kept(cast(Hashable, storage), core_metadata_sha256)
    except subprocess.TimeoutExpired:  # the machine is busy; the next visitor may have more luck
        logger.warning("A README was not rendered in %d s: %s", PATIENCE_SECONDS, core_metadata_sha256)
        return None


@lru_cache(maxsize=64)
def _kept(storage: Hashable, core_metadata_sha256: str) -> Markup | None:
    described = _description(cast(Storage, storage), core_metadata_sha256)
    if described is None or not described.text.strip():
        return None
    rendered = _rendered(described)
    if rendered is None:
        return Markup('<div class="readme-plain">{}</div>').format(described.text)
    return rendered


def _description(storage: Storage, core_metadata_sha256: str) -> Description | None:
    try:
        with storage.open(object_key(core_metadata_sha256)) as file:
            document = file.read(LONGEST_BYTES + 1)
        return distributions.description(document) if len(document) <= LONGEST_BYTES else None
    except ObjectMissing:
        logger.error("The core metadata of a listed file is not in the store: %s", core_metadata_sha256)
        return None
    except InvalidDistribution:  # kept by an earlier version, which looked less closely
        return None


def _rendered(described: Description) -> Markup | None:
    """:raises subprocess.TimeoutExpired: it had no chance to run; time of its own it takes little, then it fails."""
    sent = json.dumps({"text": described.text, "content_type": described.content_type})
    command = [sys.executable, "-I", str(_WORKER)]
    worker = subprocess.run(command, input=sent.encode(), capture_output=True, timeout=PATIENCE_SECONDS, check=False)  # noqa: S603
    if worker.returncode != 0:
        return None
    return Markup(worker.stdout.decode())  # noqa: S704 - cleaned by the worker
