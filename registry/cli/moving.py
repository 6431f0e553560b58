"""``flask packages move-storage``: the stored files, copied to another store."""

from __future__ import annotations

import dataclasses
import sys
from contextlib import nullcontext
from typing import Any

import click
from flask import current_app

from registry.cli.commands import Command, json_option
from registry.cli.output import Record, print_record, print_records
from registry.domain.operation import moving
from registry.domain.operation.moving import CopyOutcome, CopyResult
from registry.storage import object_key, open_storage


@click.command("move-storage", cls=Command)
@click.option("--to", "target_url", metavar="URL", help="The new store; by default the configured one.")
@click.option("--from", "source_url", metavar="URL", help="The old store; by default the configured one.")
@json_option
def move_storage(target_url: str | None, source_url: str | None, as_json: bool) -> None:
    """Copy every stored file to another store, while the registry serves. Addresses are as for REGISTRY_STORAGE_URL.

    Each file is compared with its digest. What is in the new store already is passed over, so the same command goes on
    with a copy that was interrupted. The old store keeps everything. Ends with status 1 if a file is missing from
    the old store or damaged; each is a line: what it is, and its key.

    First copy with --to; then set REGISTRY_STORAGE_URL to the new store and restart the registry; then copy what was
    published meanwhile with --from and the old address.
    """
    source_url, target_url = _both(source_url, target_url)
    source, target = (open_storage(url, current_app.config) for url in (source_url, target_url))
    for store in (source, target):
        store.check()
    with _progress_bar() as bar:
        report = _Report(bar)
        summary = moving.copy(source, target, report)
    if not as_json:
        print_records(report.problems, as_json)
    sentence = (
        f"Copied {summary.copied} objects ({summary.size_bytes} bytes) from {source_url} to {target_url}; "
        f"{summary.present} were there before."
    )
    print_record({**dataclasses.asdict(summary), "problems": report.problems}, as_json, sentence)
    if not summary.is_complete:
        raise click.ClickException(f"Not copied were {summary.missing} missing and {summary.damaged} damaged objects.")
    if not as_json:
        click.echo(_next_step(source_url, target_url))


def _both(source_url: str | None, target_url: str | None) -> tuple[str, str]:
    configured: str = current_app.config["STORAGE_URL"]
    source_url, target_url = source_url or configured, target_url or configured
    if source_url.rstrip("/") == target_url.rstrip("/"):
        raise click.UsageError(f"Say another store than {configured}, with --to or --from.")
    return source_url, target_url


def _next_step(source_url: str, target_url: str) -> str:
    if target_url == current_app.config["STORAGE_URL"]:
        return f"{source_url} is not needed any more once `flask packages verify` finds everything in place."
    return (
        "Next: run the same again, which leaves only what was published meanwhile; set REGISTRY_STORAGE_URL to\n"
        f"{target_url} and restart the registry; then copy the rest with\n"
        f"flask packages move-storage --from {source_url}"
    )


class _Report:
    """What is told while objects are copied: a step of the bar for each, and at the end a line for every problem."""

    def __init__(self, bar: Any) -> None:
        self.problems: list[Record] = []
        self._bar = bar

    def __call__(self, outcome: CopyOutcome) -> None:
        if self._bar is not None:
            self._bar.update(1)
        if outcome.result in (CopyResult.MISSING, CopyResult.DAMAGED):
            self.problems.append({"problem": outcome.result, "key": object_key(outcome.digest)})


def _progress_bar() -> Any:
    if sys.stderr is None or not sys.stderr.isatty():
        return nullcontext()
    return click.progressbar(length=moving.count(), label="Copying", show_pos=True, file=sys.stderr)
