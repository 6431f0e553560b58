"""READMEs of packages: rendered once, in the background, and kept in the store for all processes.

A README is rendered when its file is published, or when a page needs it first. Threads of requests never wait for it.
"""

from __future__ import annotations

import enum
import hashlib
import json
import logging
import threading
import zlib
from contextlib import closing
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.metadata import version

from registry.domain.distributions import core_metadata, readmes
from registry.domain.distributions.core_metadata import Description
from registry.errors import InvalidDistribution, Unavailable
from registry.storage import ObjectMissing, Storage, object_key, readme_key

MAX_WAITING = 64  # further ones are rendered when a page needs them again
MAX_KEPT = 16  # in memory
_FORMAT = "2"  # of stored READMEs; a change of readme_worker changes it
_RENDERERS = ("readme-renderer", "docutils", "Pygments", "nh3")

logger = logging.getLogger(__name__)


class Remark(enum.Enum):
    """Why a README is not shown as its author meant it to be."""

    PENDING = "it is being rendered"
    TOO_LONG = "it is too long, and only its beginning is shown, as text"


@dataclass(frozen=True)
class Readme:
    """A README as a page shows it: safe HTML, text, or neither while it is being rendered."""

    html: str | None = None
    text: str = ""
    remark: Remark | None = None

    @property
    def has_images(self) -> bool:
        """Whether links are shown in place of images."""
        return self.html is not None and 'class="readme-image"' in self.html


class Readmes:
    """The READMEs of the packages in a store, and the threads that render those that are missing."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._lock = threading.Lock()
        self._waiting: dict[str, Description] = {}  # by key, in order
        self._rendering: set[str] = set()
        self._threads = 0
        self._kept = lru_cache(MAX_KEPT)(self._finished)

    def shown(self, core_metadata_sha256: str) -> Readme | None:
        """Return the README in a stored core metadata document, or begin to render it; ``None`` if there is none."""
        try:
            return self._kept(core_metadata_sha256)
        except _Missing as missing:
            self.begin(missing.description)
            return Readme(remark=Remark.PENDING)
        except Unavailable:  # the rest of the page is still useful
            return None

    def begin(self, description: Description) -> None:
        """Render a description in the background unless it is kept already; do nothing if too many are waiting."""
        if not description.text.strip() or readmes.is_too_long(description):
            return
        key = _key(description)
        with self._lock:
            if key in self._waiting or key in self._rendering or len(self._waiting) >= MAX_WAITING:
                return
            self._waiting[key] = description
            if self._threads < readmes.HELPERS:
                threading.Thread(target=self._work, name="readmes", daemon=True).start()
                self._threads += 1

    def _work(self) -> None:
        """Render READMEs until none is waiting."""
        while (waiting := self._next()) is not None:
            try:
                self._render(*waiting)
            except readmes.Busy:
                logger.warning("A README was not rendered in %d s, and is tried again.", readmes.PATIENCE_SECONDS)
            except Unavailable as error:
                logger.warning("A README was not rendered, and is tried again: %s", error)
            except Exception:
                logger.warning("A README was not rendered, and is tried again.", exc_info=True)
            finally:
                self._rendering.discard(waiting[0])

    def _next(self) -> tuple[str, Description] | None:
        with self._lock:
            key = next(iter(self._waiting), None)
            if key is None:
                self._threads -= 1
                return None
            self._rendering.add(key)
            return key, self._waiting.pop(key)

    def _render(self, key: str, description: Description) -> None:
        if self._storage.exists(key):
            return
        kept = json.dumps({"html": readmes.rendered(description).html}).encode()
        with closing(self._storage.stage()) as staged:
            staged.write(zlib.compress(kept))  # so that it is not much longer than what it was rendered from
            self._storage.put(key, staged)

    def _finished(self, core_metadata_sha256: str) -> Readme | None:
        described = self._description(core_metadata_sha256)
        if described is None or not described.text.strip():
            return None
        if readmes.is_too_long(described):
            return Readme(text=described.text[: readmes.LONGEST_BYTES], remark=Remark.TOO_LONG)
        try:
            with self._storage.open(_key(described)) as file:
                html = json.loads(zlib.decompress(file.read()))["html"]
        except ObjectMissing:
            raise _Missing(described) from None
        except (zlib.error, ValueError):
            logger.error("A rendered README in the store is damaged: %s", _key(described))
            html = None
        return Readme(text=described.text) if html is None else Readme(html)

    def _description(self, core_metadata_sha256: str) -> Description | None:
        try:
            with self._storage.open(object_key(core_metadata_sha256)) as file:
                return core_metadata.description(file.read(core_metadata.MAX_BYTES))
        except ObjectMissing:
            logger.error("The core metadata of a listed file is not in the store: %s", core_metadata_sha256)
            return None
        except InvalidDistribution:  # published with an earlier version, which validated less
            return None


class _Missing(Exception):
    """A README is not rendered yet."""

    def __init__(self, description: Description) -> None:
        super().__init__()
        self.description = description


def _key(description: Description) -> str:
    rendered_from = json.dumps([_renderer(), description.content_type, description.text])
    return readme_key(hashlib.sha256(rendered_from.encode()).hexdigest())


@cache
def _renderer() -> list[str]:
    """Return everything but the description on which the HTML depends."""
    return [_FORMAT, *map(version, _RENDERERS)]
