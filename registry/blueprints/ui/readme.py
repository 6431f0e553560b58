"""READMEs of packages, rendered for pages."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Hashable
from functools import lru_cache
from typing import cast

from markupsafe import Markup

from registry.domain.distributions import core_metadata, readmes
from registry.domain.distributions.core_metadata import Description
from registry.errors import InvalidDistribution, Unavailable
from registry.storage import ObjectMissing, Storage, object_key

LONGEST_BYTES = 1 << 20  # limit on core metadata documents; longer ones are not rendered

logger = logging.getLogger(__name__)


def readme(storage: Storage, core_metadata_sha256: str) -> Markup | None:
    """Return the description in a stored core metadata document as safe HTML; ``None`` if there is none.

    Results are cached by digest. If rendering fails, the source text is shown.
    """
    try:
        return _kept(cast(Hashable, storage), core_metadata_sha256)
    except subprocess.TimeoutExpired:  # the machine is busy; the next request tries again
        logger.warning("A README was not rendered in %d s: %s", readmes.PATIENCE_SECONDS, core_metadata_sha256)
        return None
    except Unavailable:  # the rest of the page is still useful
        return None


@lru_cache(maxsize=64)
def _kept(storage: Hashable, core_metadata_sha256: str) -> Markup | None:
    described = _description(cast(Storage, storage), core_metadata_sha256)
    if described is None or not described.text.strip():
        return None
    rendered = readmes.html(described)
    if rendered is None:
        return Markup('<div class="readme-plain">{}</div>').format(described.text)
    return Markup(rendered)  # noqa: S704 - cleaned by the worker


def _description(storage: Storage, core_metadata_sha256: str) -> Description | None:
    try:
        with storage.open(object_key(core_metadata_sha256)) as file:
            document = file.read(LONGEST_BYTES + 1)
        return core_metadata.description(document) if len(document) <= LONGEST_BYTES else None
    except ObjectMissing:
        logger.error("The core metadata of a listed file is not in the store: %s", core_metadata_sha256)
        return None
    except InvalidDistribution:  # published with an earlier version, which validated less
        return None
