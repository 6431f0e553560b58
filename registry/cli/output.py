"""Output of commands: plain lines or JSON, and progress bars."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from typing import Any

import click

Record = Mapping[str, object]


def print_record(record: Record, as_json: bool, sentence: str) -> None:
    click.echo(_json(record) if as_json else sentence)


def print_records(records: Iterable[Record], as_json: bool) -> None:
    if as_json:
        click.echo(_json(list(records)))
    else:
        for record in records:
            click.echo("\t".join(_plain(value) for value in record.values()))


def progress_bar(label: str, length: Callable[[], int]) -> AbstractContextManager[Any]:
    """Return a progress bar on standard error as a context, which is that of ``None`` if this is not a terminal.

    :param length: number of steps; called only for a bar.
    """
    if sys.stderr is None or not sys.stderr.isatty():
        return nullcontext()
    return click.progressbar(length=length(), label=label, show_pos=True, file=sys.stderr)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2, default=_plain)


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return "-" if value is None else str(value)
