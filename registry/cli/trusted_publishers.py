"""``flask trusted-publishers``: which CI jobs can publish to a project without a stored token."""

from __future__ import annotations

import click

from registry.cli.commands import CommandGroup, find_namespace, json_option, missing
from registry.cli.output import Record, print_record, print_records
from registry.domain.access import SHELL
from registry.domain.issuers import GITHUB, GITLAB
from registry.domain.oidc import publishers
from registry.models import Project, TrustedPublisher


@click.group("trusted-publishers", cls=CommandGroup)
def trusted_publishers_group() -> None:
    """Add, list, and delete the trusted publishers of projects."""


@trusted_publishers_group.command("add")
@click.argument("project_path", metavar="PROJECT")
@click.option(
    "--issuer", required=True, metavar="URL",
    help=f"Issuer of the identity tokens: {GITHUB} for GitHub Actions, {GITLAB} or the URL of another GitLab, or that "
    "of any OpenID Connect issuer.",
)  # fmt: skip
@click.option(
    "--claim", "claims", multiple=True, required=True, metavar="NAME=VALUE",
    help="A claim that tokens must have; * in the value matches any text. Can be repeated.",
)  # fmt: skip
@click.option(
    "--package-name", "names", multiple=True, metavar="NAME",
    help="Let the jobs publish only this package. Can be repeated. Default: any package.",
)  # fmt: skip
@json_option
def add_publisher(
    project_path: str, issuer: str, claims: tuple[str, ...], names: tuple[str, ...], as_json: bool
) -> None:
    """Let CI jobs publish to the project PROJECT with identity tokens that have certain claims."""
    project = find_namespace(project_path, Project)
    publisher = publishers.add_publisher(
        project, issuer=issuer, claims=publishers.parse_claims(claims), package_names=names, by=SHELL
    )
    print_record(_record(publisher), as_json, f"Added trusted publisher {publisher.id} to {project.full_path}.")


@trusted_publishers_group.command("list")
@click.argument("project_path", metavar="PROJECT")
@json_option
def list_publishers(project_path: str, as_json: bool) -> None:
    """List the trusted publishers of the project PROJECT.

    Columns: id, issuer, claims, package names.
    """
    project = find_namespace(project_path, Project)
    print_records(map(_record, publishers.publishers_of(project)), as_json)


@trusted_publishers_group.command("delete")
@click.argument("project_path", metavar="PROJECT")
@click.argument("publisher_id", metavar="ID", type=int)
@json_option
def delete_publisher(project_path: str, publisher_id: int, as_json: bool) -> None:
    """Delete the trusted publisher with this ID of the project PROJECT; its tokens stop working immediately."""
    project = find_namespace(project_path, Project)
    with missing(f"trusted publisher {publisher_id} in {project.full_path}"):
        publisher = publishers.publisher(project, publisher_id)
    record = _record(publisher)
    publishers.delete_publisher(publisher, project, by=SHELL)
    print_record(record, as_json, f"Deleted trusted publisher {publisher_id} of {project.full_path}.")


def _record(publisher: TrustedPublisher) -> Record:
    return {
        "id": publisher.id,
        "issuer": publisher.issuer,
        "claims": [f"{name}={value}" for name, value in publisher.claims.items()],
        "package_names": publisher.package_names,
    }
