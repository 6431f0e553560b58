"""``flask packages move-storage``: copies the stored files to another store."""

from __future__ import annotations

import dataclasses
from typing import Any

import click
from flask import current_app

from registry.cli.commands import Command, json_option
from registry.cli.output import Record, print_record, print_records, progress_bar
from registry.domain.operation import moving
from registry.domain.operation.moving import CopyOutcome, CopyResult
from registry.storage import object_key, open_storage


@click.command("move-storage", cls=Command)
@click.option("--to", "target_url", metavar="URL", help="URL of the new store. Default: the configured store.")
@click.option("--from", "source_url", metavar="URL", help="URL of the old store. Default: the configured store.")
@json_option
def move_storage(target_url: str | None, source_url: str | None, as_json: bool) -> None:
    """Copy every stored file to another store while the registry is running. URLs have the format of
    REGISTRY_STORAGE_URL.

    Each file is verified against its digest. Files that already exist in the new store are skipped, so an interrupted
    copy can simply be run again. The old store is not changed. If files are missing from the old store or damaged, each
    is listed on one line (problem, key), and the command exits with status 1.

    First, copy with --to. Then set REGISTRY_STORAGE_URL to the new store and restart the registry. Finally, copy the
    files published in the meantime with --from and the URL of the old store.
    """
    source_url, target_url = _source_and_target(source_url, target_url)
    source, target = (open_storage(url, current_app.config) for url in (source_url, target_url))
    for store in (source, target):
        store.check()
    with progress_bar("Copying", moving.count) as bar:
        report = _Report(bar)
        summary = moving.copy(source, target, report)
    if not as_json:
        print_records(report.problems, as_json)
    sentence = (
        f"Copied {summary.copied} objects ({summary.size_bytes} bytes) from {source_url} to {target_url}; "
        f"{summary.present} already existed."
    )
    print_record({**dataclasses.asdict(summary), "problems": report.problems}, as_json, sentence)
    if not summary.is_complete:
        raise click.ClickException(f"{summary.missing} missing and {summary.damaged} damaged objects were not copied.")
    if not as_json:
        click.echo(_next_step(source_url, target_url))


def _source_and_target(source_url: str | None, target_url: str | None) -> tuple[str, str]:
    configured: str = current_app.config["STORAGE_URL"]
    source_url, target_url = source_url or configured, target_url or configured
    if source_url.rstrip("/") == target_url.rstrip("/"):
        raise click.UsageError(f"Specify a store other than {configured} with --to or --from.")
    return source_url, target_url


def _next_step(source_url: str, target_url: str) -> str:
    if target_url == current_app.config["STORAGE_URL"]:
        return f"{source_url} is no longer needed once `pypi-registry packages verify` finds no problems."
    return (
        "Next: run the same command again to copy the files published in the meantime; set REGISTRY_STORAGE_URL to\n"
        f"{target_url} and restart the registry; then copy the remaining files with\n"
        f"pypi-registry packages move-storage --from {source_url}"
    )


class _Report:
    """Advances the progress bar for every object, and collects the problems to print at the end."""

    def __init__(self, bar: Any) -> None:
        self.problems: list[Record] = []
        self._bar = bar

    def __call__(self, outcome: CopyOutcome) -> None:
        if self._bar is not None:
            self._bar.update(1)
        if outcome.result in (CopyResult.MISSING, CopyResult.DAMAGED):
            self.problems.append({"problem": outcome.result, "key": object_key(outcome.digest)})
