"""Records and exports of advisories as OSV publishes them, built in memory."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from typing import Any

from registry.database import utcnow
from registry.domain.access import SHELL
from registry.domain.advisories import loading
from registry.domain.advisories.loading import Update
from tests.builders import zip_of

HIGH = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"  # 9.8
LOW = "CVSS:3.1/AV:L/AC:H/PR:H/UI:R/S:U/C:L/I:N/A:N"  # 1.8


def affected(
    name: str = "demo", *events: dict[str, str], versions: Iterable[str] = (), ecosystem: str = "PyPI"
) -> dict[str, Any]:
    """Versions of a package in a range of events, and some more."""
    ranges = [{"type": "ECOSYSTEM", "events": list(events)}] if events else []
    return {"package": {"ecosystem": ecosystem, "name": name}, "ranges": ranges, "versions": list(versions)}


def record(record_id: str, *packages: dict[str, Any], cvss: str = "", **more: Any) -> dict[str, Any]:
    """A record; without packages about all versions of demo."""
    severity = [{"type": "CVSS_V3", "score": cvss}] if cvss else []
    return {
        "id": record_id,
        "schema_version": "1.7.4",
        "modified": "2026-01-02T03:04:05Z",
        "published": "2025-01-02T03:04:05Z",
        "summary": f"Summary of {record_id}",
        "details": f"Details of {record_id}",
        "severity": severity,
        "affected": list(packages or [affected("demo", {"introduced": "0"})]),
        **more,
    }


def export(*records: dict[str, Any] | bytes) -> bytes:
    """An export with these records; bytes are the whole document of a malformed one."""
    return zip_of(
        {
            f"{number}-{'x' if isinstance(each, bytes) else each['id']}.json": each
            if isinstance(each, bytes)
            else json.dumps(each).encode()
            for number, each in enumerate(records)
        }
    )


def load(*records: dict[str, Any] | bytes, source: str = "all.zip") -> Update:
    """Update the advisories from an export with these records."""
    return loading.update(io.BytesIO(export(*records)), source, now=utcnow(), by=SHELL)
