"""All fuzz targets by name."""

from __future__ import annotations

from tests.fuzz import files, requests

TARGETS = {
    target.name: target
    for target in (
        requests.FRAMING,
        requests.PATHS,
        requests.HOSTS,
        requests.NEGOTIATION,
        files.FORM,
        files.ZIP,
        files.TAR,
        files.METADATA,
        files.WHEEL,
        files.FILENAMES,
    )
}
