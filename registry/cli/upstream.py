"""``flask upstream``: what the registry knows of the public index."""

from __future__ import annotations

from dataclasses import asdict

import click

from registry.cli.commands import CommandGroup, json_option
from registry.cli.output import print_record
from registry.database import utcnow
from registry.domain.access import SHELL
from registry.domain.advisories import loading, source
from registry.domain.advisories.loading import Update


@click.group("upstream", cls=CommandGroup)
def upstream_group() -> None:
    """Maintain what the registry knows of the public index."""


@upstream_group.group("advisories", cls=CommandGroup)
def advisories_group() -> None:
    """Maintain the security advisories about packages."""


@advisories_group.command("update")
@click.argument("source_name", metavar="SOURCE")
@json_option
def update_advisories(source_name: str, as_json: bool) -> None:
    """Read the advisories from SOURCE, the file or URL of OSV's export for PyPI. OSV publishes it at
    https://osv-vulnerabilities.storage.googleapis.com/PyPI/all.zip

    Afterwards, the advisories are those of the export: new and changed ones are stored, and those that it lacks are
    removed. Packages of the registry that they affect are marked. The same export again changes nothing. An update that
    was interrupted is completed by running it again.

    Records that cannot be read are counted and listed, and do not affect the exit status.
    """
    shown = source.shown(source_name)
    with source.opened(source_name) as file:
        update = loading.update(file, shown, now=utcnow(), by=SHELL)
    record = {
        "source": shown,
        "is_same": update.is_same,
        **asdict(update.counts),
        "malformed_records": update.malformed,
    }
    print_record(record, as_json, _sentence(update, shown))


def _sentence(update: Update, shown: str) -> str:
    counts = update.counts
    if update.is_same:
        return f"{shown} is the export of the last update, with {counts.total} advisories; nothing changed."
    ignored = ", ".join(
        f"{number} {what}"
        for number, what in (
            (counts.other, "about other ecosystems"),
            (counts.repeated, "repeated"),
            (counts.malformed, f"malformed ({', '.join(update.malformed)})"),
        )
        if number
    )
    known = (
        f"{counts.total} advisories, of which {counts.malicious} are about malicious packages and {counts.withdrawn} "
        f"are withdrawn: {counts.added} added, {counts.changed} changed, {counts.removed} removed."
    )
    return f"{known} Ignored records: {ignored}." if ignored else known
