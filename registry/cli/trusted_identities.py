"""``flask trusted-publishers`` and ``trusted-readers``: what CI jobs can do without a stored token."""

from __future__ import annotations

import click

from registry.cli.commands import (
    CommandGroup,
    find_namespace,
    json_option,
    missing,
    namespace_options,
    project_or_group,
)
from registry.cli.output import Record, print_record, print_records
from registry.database import utcnow
from registry.domain.access import SHELL
from registry.domain.issuers import GITHUB, GITLAB
from registry.domain.oidc import exchanged_tokens, identities
from registry.domain.oidc.exchanged_tokens import Token, TokenInUse
from registry.domain.oidc.identities import Identity
from registry.models import (
    Namespace,
    Project,
    PublishingToken,
    ReadingToken,
    TrustedPublisher,
    TrustedReader,
)

PLACES = "--project or --group"
issuer_option = click.option(
    "--issuer", required=True, metavar="URL",
    help=f"Issuer of the identity tokens: {GITHUB} for GitHub Actions, {GITLAB} or the URL of another GitLab, or that "
    "of any OpenID Connect issuer.",
)  # fmt: skip
claims_option = click.option(
    "--claim", "claims", multiple=True, required=True, metavar="NAME=VALUE",
    help="A claim that tokens must have; * in the value matches any text. Can be repeated.",
)  # fmt: skip


@click.group("trusted-publishers", cls=CommandGroup)
def trusted_publishers_group() -> None:
    """Add, list, and delete the trusted publishers of projects, and the tokens that their jobs have."""


@trusted_publishers_group.command("add")
@click.argument("project_path", metavar="PROJECT")
@issuer_option
@claims_option
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
    publisher = identities.add_publisher(
        project, issuer=issuer, claims=identities.parse_claims(claims), package_names=names, by=SHELL
    )
    print_record(_record(publisher), as_json, f"Added trusted publisher {publisher.id} to {project.full_path}.")


@trusted_publishers_group.command("list")
@click.argument("project_path", metavar="PROJECT")
@json_option
def list_publishers(project_path: str, as_json: bool) -> None:
    """List the trusted publishers of the project PROJECT.

    Columns: id, issuer, claims, package names, whether the instance accepts the issuer.
    """
    _list(TrustedPublisher, find_namespace(project_path, Project), as_json)


@trusted_publishers_group.command("delete")
@click.argument("project_path", metavar="PROJECT")
@click.argument("publisher_id", metavar="ID", type=int)
@json_option
def delete_publisher(project_path: str, publisher_id: int, as_json: bool) -> None:
    """Delete the trusted publisher with this ID of the project PROJECT; its tokens stop working immediately."""
    _delete(TrustedPublisher, find_namespace(project_path, Project), publisher_id, as_json)


@trusted_publishers_group.command("tokens")
@click.argument("project_path", metavar="PROJECT")
@json_option
def list_publishing_tokens(project_path: str, as_json: bool) -> None:
    """List the tokens with which CI jobs can publish to the project PROJECT at the moment.

    Columns: id, issuer, IDs of the trusted publishers that accept the job, creation and expiry in UTC.
    """
    _list_tokens(PublishingToken, find_namespace(project_path, Project), as_json)


@trusted_publishers_group.command("revoke")
@click.argument("project_path", metavar="PROJECT")
@click.argument("token_id", metavar="ID", type=int)
@json_option
def revoke_publishing_token(project_path: str, token_id: int, as_json: bool) -> None:
    """Revoke the token with this ID for the project PROJECT; it stops working there immediately."""
    _revoke(PublishingToken, find_namespace(project_path, Project), token_id, as_json)


@click.group("trusted-readers", cls=CommandGroup)
def trusted_readers_group() -> None:
    """Add, list, and delete the trusted readers of projects and groups, and the tokens that their jobs have."""


@trusted_readers_group.command("add")
@namespace_options("Let the jobs install the packages")
@issuer_option
@claims_option
@json_option
def add_reader(
    project_path: str | None, group_path: str | None, issuer: str, claims: tuple[str, ...], as_json: bool
) -> None:
    """Let CI jobs install from a project or group with identity tokens that have certain claims."""
    namespace = project_or_group(project_path, group_path, PLACES)
    reader = identities.add_reader(namespace, issuer=issuer, claims=identities.parse_claims(claims), by=SHELL)
    print_record(_record(reader), as_json, f"Added trusted reader {reader.id} to {namespace.full_path}.")


@trusted_readers_group.command("list")
@namespace_options("List the trusted readers")
@json_option
def list_readers(project_path: str | None, group_path: str | None, as_json: bool) -> None:
    """List the trusted readers of a project or group itself.

    Columns: id, issuer, claims, whether the instance accepts the issuer.
    """
    _list(TrustedReader, project_or_group(project_path, group_path, PLACES), as_json)


@trusted_readers_group.command("delete")
@namespace_options("Delete a trusted reader")
@click.argument("reader_id", metavar="ID", type=int)
@json_option
def delete_reader(project_path: str | None, group_path: str | None, reader_id: int, as_json: bool) -> None:
    """Delete the trusted reader with this ID of a project or group; its tokens stop working immediately."""
    _delete(TrustedReader, project_or_group(project_path, group_path, PLACES), reader_id, as_json)


@trusted_readers_group.command("tokens")
@namespace_options("List the tokens of the trusted readers")
@json_option
def list_reading_tokens(project_path: str | None, group_path: str | None, as_json: bool) -> None:
    """List the tokens with which CI jobs can install by the trusted readers of a project or group itself.

    Columns: id, issuer, IDs of the trusted readers that accept the job, creation and expiry in UTC.
    """
    _list_tokens(ReadingToken, project_or_group(project_path, group_path, PLACES), as_json)


@trusted_readers_group.command("revoke")
@namespace_options("Revoke the token for the packages")
@click.argument("token_id", metavar="ID", type=int)
@json_option
def revoke_reading_token(project_path: str | None, group_path: str | None, token_id: int, as_json: bool) -> None:
    """Revoke the token with this ID for a project or group; it stops working there immediately."""
    _revoke(ReadingToken, project_or_group(project_path, group_path, PLACES), token_id, as_json)


def _list(kind: type[Identity], namespace: Namespace, as_json: bool) -> None:
    print_records(map(_record, identities.identities_of(kind, namespace)), as_json)


def _delete(kind: type[Identity], namespace: Namespace, identity_id: int, as_json: bool) -> None:
    noun = kind.noun.replace("_", " ")
    with missing(f"{noun} {identity_id} in {namespace.full_path}"):
        found = identities.identity(kind, namespace, identity_id)
    record = _record(found)
    identities.delete(found, namespace, by=SHELL)
    print_record(record, as_json, f"Deleted {noun} {identity_id} of {namespace.full_path}.")


def _list_tokens(kind: type[Token], namespace: Namespace, as_json: bool) -> None:
    print_records(map(_token_record, exchanged_tokens.active_tokens(kind, namespace, utcnow())), as_json)


def _revoke(kind: type[Token], namespace: Namespace, token_id: int, as_json: bool) -> None:
    with missing(f"token {token_id} of a CI job in {namespace.full_path}"):
        token = exchanged_tokens.token(kind, namespace, token_id)
    exchanged_tokens.revoke(token, namespace, by=SHELL)
    print_record({"id": token_id}, as_json, f"Revoked token {token_id} for {namespace.full_path}.")


def _record(identity: TrustedPublisher | TrustedReader) -> Record:
    return {
        "id": identity.id,
        "issuer": identity.issuer,
        "claims": [f"{name}={value}" for name, value in identity.claims.items()],
        **({"package_names": identity.package_names} if isinstance(identity, TrustedPublisher) else {}),
        "issuer_accepted": identities.accepts_issuer(identity.issuer),
    }


def _token_record(used: TokenInUse) -> Record:
    return {
        "id": used.token.id,
        "issuer": used.token.issuer,
        f"{used.accepted_by[0].noun}_ids": [each.id for each in used.accepted_by],
        "created_at": used.token.created_at,
        "expires_at": used.token.expires_at,
    }
