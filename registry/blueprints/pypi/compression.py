"""Cache of gzip-compressed pages by content (RFC 9110, section 8.4.1.3)."""

from __future__ import annotations

import gzip
from threading import Lock

SMALLEST_BYTES = 1000  # responses that fit in one packet do not benefit
LIMIT_BYTES = 8 << 20
_LEVEL = 6


class CompressedPages:
    """The latest compressed pages of a process, by the digest of their content.

    Most changes of a registry do not affect a page, and it is the same for all users who can see it.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._pages: dict[str, bytes] = {}
        self._size_bytes = 0

    def compressed(self, digest: str, data: bytes) -> bytes:
        """Return ``data`` compressed with gzip, with reproducible output.

        :param digest: digest of ``data``.
        """
        found = self._pages.get(digest)
        if found is None:
            found = gzip.compress(data, _LEVEL, mtime=0)
            self._keep(digest, found)
        return found

    def _keep(self, digest: str, page: bytes) -> None:
        if len(page) > LIMIT_BYTES:
            return
        with self._lock:
            if digest in self._pages:  # another thread was faster
                return
            if self._size_bytes + len(page) > LIMIT_BYTES:
                self._pages, self._size_bytes = {}, 0
            self._pages[digest] = page
            self._size_bytes += len(page)
