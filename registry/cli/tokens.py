"""``flask tokens``: creates, lists, and revokes access tokens and deploy tokens."""

from __future__ import annotations

from datetime import datetime

import click
from flask import current_app

from registry.cli.commands import CommandGroup, find_user, json_option, missing, namespace_options, project_or_group
from registry.cli.output import Record, print_record, print_records
from registry.database import db, utcnow
from registry.domain.access import SHELL, DeployScope, Scope
from registry.domain.accounts import access_tokens, deploy_tokens
from registry.models import AccessToken, DeployToken


@click.group("tokens", cls=CommandGroup)
def tokens_group() -> None:
    """Create, list, and revoke access tokens of users, and deploy tokens of projects and groups."""


@tokens_group.command("create")
@click.argument("username", required=False)
@namespace_options("Create a deploy token")
@click.option("--name", required=True, help="Name of the token.")
@click.option(
    "--scope", "scopes", multiple=True, required=True, metavar="SCOPE",
    help=f"Can be repeated. For access tokens: {', '.join(Scope)}. For deploy tokens: {', '.join(DeployScope)}.",
)  # fmt: skip
@click.option(
    "--expires-on", type=click.DateTime(["%Y-%m-%d"]), metavar="YYYY-MM-DD",
    help="The token expires at 00:00 UTC on this date. Default: the maximum lifetime of the instance for an access "
    "token, no expiry for a deploy token.",
)  # fmt: skip
@click.option("--username", "deploy_username", metavar="NAME", help="User name of the deploy token.")
@json_option
def create_token(
    username: str | None, project_path: str | None, group_path: str | None, name: str, scopes: tuple[str, ...],
    expires_on: datetime | None, deploy_username: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Create an access token of the user USERNAME, or a deploy token of a project or group.

    Prints the token, which is not stored and cannot be shown again. A deploy token is preceded by its user name.
    """
    key, day = current_app.config["TOKEN_KEY"], expires_on.date() if expires_on else None
    if username is None:
        namespace = project_or_group(project_path, group_path, "USERNAME, --project or --group")
        deploy_token, secret = deploy_tokens.issue_deploy_token(
            namespace, name=name, scopes=scopes, username=deploy_username, key=key, by=SHELL,
            expires_at=deploy_tokens.starts_at(day) if day else None,
        )  # fmt: skip
        record = _deploy_token_record(deploy_token, utcnow())
        print_record({**record, "token": secret}, as_json, f"{deploy_token.username}\t{secret}")
        return
    if project_path or group_path or deploy_username:
        raise click.UsageError("USERNAME is for access tokens; --project, --group, and --username for deploy tokens.")
    token, secret = access_tokens.issue_access_token(
        find_user(username), name=name, scopes=scopes, expires_on=day, key=key, by=SHELL, now=utcnow()
    )
    print_record({**_access_token_record(token, utcnow()), "token": secret}, as_json, secret)


@tokens_group.command("list")
@click.argument("username", required=False)
@namespace_options("List the deploy tokens")
@json_option
def list_tokens(username: str | None, project_path: str | None, group_path: str | None, as_json: bool) -> None:
    """List the access tokens of the user USERNAME or of all users, or the deploy tokens of a project or group.

    Columns: id, user name, token name, scopes, state, expiry date, last use.
    """
    now = utcnow()
    if project_path or group_path:
        namespace = project_or_group(project_path, group_path, "--project or --group")
        listing = deploy_tokens.deploy_tokens(namespace, is_active=False, now=now)
        print_records((_deploy_token_record(token, now) for token in db.session.scalars(listing)), as_json)
        return
    selected = access_tokens.AccessTokenFilter(user_id=find_user(username).id if username else None)
    found = db.session.scalars(
        access_tokens.access_tokens(selected, by=SHELL, now=now).options(db.joinedload(AccessToken.user))
    )
    print_records((_access_token_record(token, now) for token in found), as_json)


@tokens_group.command("revoke")
@click.argument("token_id", metavar="ID", type=int)
@namespace_options("Revoke a deploy token")
@json_option
def revoke_token(token_id: int, project_path: str | None, group_path: str | None, as_json: bool) -> None:
    """Revoke the access token with this ID, or the deploy token with this ID of a project or group.

    The token is refused from the next request on. Revoking it again has no effect.
    """
    if project_path or group_path:
        namespace = project_or_group(project_path, group_path, "--project or --group")
        with missing(f"deploy token {token_id} in {namespace.full_path}"):
            deploy_token = deploy_tokens.deploy_token(namespace, token_id)
        deploy_tokens.revoke_deploy_token(deploy_token, namespace, by=SHELL, now=utcnow())
        record = _deploy_token_record(deploy_token, utcnow())
    else:
        with missing(f"access token {token_id}"):
            token = access_tokens.access_token(token_id, by=SHELL)
        access_tokens.revoke_access_token(token, by=SHELL, now=utcnow())
        record = _access_token_record(token, utcnow())
    print_record(record, as_json, f"Revoked token {token_id} ({record['name']}) of {record['username']}.")


def _access_token_record(token: AccessToken, now: datetime) -> Record:
    state = "revoked" if token.revoked_at else "expired" if token.is_expired(now) else "active"
    return {
        "id": token.id,
        "username": token.user.username,
        "name": token.name,
        "scopes": token.scopes,
        "state": state,
        "expires_on": token.expires_on,
        "last_used_at": token.last_used_at,
    }


def _deploy_token_record(token: DeployToken, now: datetime) -> Record:
    state = "revoked" if token.revoked_at else "expired" if token.is_expired(now) else "active"
    return {
        "id": token.id,
        "username": token.username,
        "name": token.name,
        "scopes": token.scopes,
        "state": state,
        "expires_on": token.expires_at.date() if token.expires_at else None,
        "last_used_at": token.last_used_at,
    }
