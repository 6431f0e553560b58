"""``flask upstream``: what the registry knows of the public index."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TextIO

import click
from flask import current_app

from registry.cli.commands import CommandGroup, json_option, storage
from registry.cli.output import Record, print_record, print_records
from registry.database import utcnow
from registry.domain.access import SHELL
from registry.domain.advisories import loading, source
from registry.domain.advisories.loading import Update
from registry.domain.upstream import cached, carrying, warming
from registry.domain.upstream.files import Files
from registry.domain.upstream.pages import KeptPages
from registry.domain.upstream.warming import Warmed


@click.group("upstream", cls=CommandGroup)
def upstream_group() -> None:
    """Maintain what the registry knows of the public index."""


@upstream_group.command("status")
@json_option
def show_status(as_json: bool) -> None:
    """Show how much is kept of the public index."""
    kept, pages, limit = cached.totals(), _pages().count(), _files().cache_bytes
    print_record(
        {"files": kept.files, "size_bytes": kept.size_bytes, "limit_bytes": limit, "pages": pages},
        as_json,
        f"{kept.files} files ({kept.size_bytes} of {limit} bytes) and {pages} pages are kept.",
    )


@upstream_group.command("warm")
@click.argument("requirements", metavar="[REQUIREMENT]...", nargs=-1)
@click.option(
    "-r", "--requirement", "files", metavar="FILE", multiple=True, type=click.File(encoding="utf-8"),
    help="Read requirements from this file, as pip does; its options are ignored. Can be repeated.",
)  # fmt: skip
@json_option
def warm_cache(requirements: tuple[str, ...], files: tuple[TextIO, ...], as_json: bool) -> None:
    """Fetch files of the public index before clients ask for them.

    A REQUIREMENT is a name, such as demo, or a name with a version, such as demo==1.0. All files of the newest version
    that meets it are fetched, with their metadata; pre-releases and yanked versions only if there is no other, or if
    the version is pinned. Dependencies are not fetched: pass a complete list, such as the output of pip freeze.

    Packages that the rules of the instance withhold are skipped, as are names that are reserved or were published
    anywhere in the registry: the public index is not asked for them.

    Prints one line per requirement: name, version, fetched files, files that were kept already, files that failed, and
    why it was skipped. Exits with an error if files failed.
    """
    wanted = [warming.requirement(text) for text in requirements]
    for file in files:
        wanted += warming.requirements_in(file)
    if not wanted:
        raise click.UsageError("Specify a REQUIREMENT, or a file with --requirement.")
    results = []
    for warmed in warming.warm(wanted, _pages(), _files(), utcnow()):
        results.append(warmed)
        if not as_json:
            print_records([_warmed_record(warmed)], as_json)
    _files().tend()
    if as_json:
        print_records([_warmed_record(warmed) for warmed in results], as_json)
    failed = sum(bool(warmed.failed) for warmed in results)
    if failed:
        raise click.ClickException(f"{failed} of {len(results)} requirements could not be fetched completely.")


@upstream_group.command("cleanup")
@json_option
def clean_up(as_json: bool) -> None:
    """Remove the least recently used files beyond REGISTRY_UPSTREAM_CACHE_SIZE, and pages beyond 50,000, which the
    registry does by itself once a minute. No files are removed during a backup.
    """
    removed, pages = _files().tend(), _pages().tend()
    print_record(
        {**asdict(removed), "pages": pages},
        as_json,
        f"Removed {removed.files} files ({removed.size_bytes} bytes) and {pages} pages.",
    )


@upstream_group.command("export")
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path))
@json_option
def export_cache(path: Path, as_json: bool) -> None:
    """Write everything that is kept of the public index to FILE, a tar archive for "upstream import".

    Files that are missing from the store are left out.
    """
    try:
        carried = carrying.export(path, storage(), _pages(), utcnow())
    except OSError as error:
        raise click.ClickException(f"{error.filename or path}: {error.strerror}.") from error
    print_record(
        asdict(carried),
        as_json,
        f"Exported {carried.files} files ({carried.size_bytes} bytes) and {carried.pages} pages to {path}; "
        f"{carried.skipped} were left out.",
    )


@upstream_group.command("import")
@click.argument("path", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@json_option
def import_cache(path: Path, as_json: bool) -> None:
    """Keep the files and pages in FILE, which "upstream export" of another registry has written.

    Each file is compared with its digest. What is damaged or malformed is left out, and counted. The registry then
    offers the pages while it cannot reach the public index. REGISTRY_UPSTREAM_URL has to be that of the other registry.
    """
    carried = carrying.import_(path, storage(), _pages(), most_bytes=_files().cache_bytes, now=utcnow())
    print_record(
        asdict(carried),
        as_json,
        f"Kept {carried.files} files ({carried.size_bytes} bytes) and {carried.pages} pages; "
        f"{carried.skipped} were left out.",
    )
    if carried.skipped:
        raise click.ClickException(f"{carried.skipped} files or pages in {path} are damaged or malformed.")


def _files() -> Files:
    files: Files = current_app.extensions["upstream_files"]
    return files


def _pages() -> KeptPages:
    pages: KeptPages = current_app.extensions["upstream_pages"]
    return pages


def _warmed_record(warmed: Warmed) -> Record:
    return {
        "name": warmed.name,
        "version": warmed.version,
        "fetched": warmed.fetched,
        "present": warmed.present,
        "failed": warmed.failed,
        "skipped": warmed.skipped,
    }


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
