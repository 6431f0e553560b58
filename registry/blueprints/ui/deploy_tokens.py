"""Settings › Repository: creating and revoking deploy tokens of projects and groups.

As for access tokens, a new secret is shown only in the response to the form.
"""

from __future__ import annotations

from datetime import timedelta

from flask import Blueprint, flash, redirect, render_template, url_for
from flask_babel import gettext, lazy_gettext
from werkzeug.wrappers import Response
from wtforms import DateField, SelectMultipleField, StringField
from wtforms.validators import InputRequired, Optional

from registry.blueprints.auth.credentials import token_key
from registry.blueprints.auth.permits import Gate
from registry.blueprints.ui import commands, pagination
from registry.blueprints.ui.forms import Form, in_the_future, text
from registry.blueprints.ui.frame import pypi_url
from registry.blueprints.ui.viewer import may, principal
from registry.database import utcnow
from registry.domain.access import DeployScope, Permission
from registry.domain.accounts import deploy_tokens
from registry.domain.packages import lists
from registry.models import DeployToken, Group, Project

_ = lazy_gettext

PROJECT = "/<page_project:project>/-"
GROUP = "/groups/<page_group:group>/-"
_NOTHING_HERE = _("Accepted for compatibility with GitLab. Grants nothing in this registry.")
SCOPES = {
    DeployScope.READ_PACKAGE_REGISTRY: _("Install packages."),
    DeployScope.WRITE_PACKAGE_REGISTRY: _("Publish and install packages."),
    DeployScope.READ_REPOSITORY: _NOTHING_HERE,
    DeployScope.READ_REGISTRY: _NOTHING_HERE,
    DeployScope.WRITE_REGISTRY: _NOTHING_HERE,
}

PACKAGE_SCOPES = frozenset({DeployScope.READ_PACKAGE_REGISTRY, DeployScope.WRITE_PACKAGE_REGISTRY})

Page = Response | tuple[str, int]


class DeployTokenForm(Form):
    name = StringField(_("Name"), [InputRequired(_("This field is required."))])
    expires_on = DateField(_("Expiration date"), [Optional(), in_the_future])
    username = StringField(_("Username"))
    scopes = SelectMultipleField(_("Scopes"), [InputRequired(_("Select at least one scope."))])


def routes(gate: Gate) -> Blueprint:
    blueprint = Blueprint("deploy_tokens", __name__)

    @blueprint.get(f"{PROJECT}/settings/repository")
    @gate(Permission.READ_DEPLOY_TOKENS)
    def project_repository(project: Project) -> Page:
        return _page(project, _form(formdata=None))

    @blueprint.get(f"{GROUP}/settings/repository")
    @gate(Permission.READ_DEPLOY_TOKENS)
    def group_repository(group: Group) -> Page:
        return _page(group, _form(formdata=None))

    @blueprint.post(f"{PROJECT}/deploy_tokens")
    @gate(Permission.CHANGE_DEPLOY_TOKENS)
    def project_create(project: Project) -> Page:
        return _create(project)

    @blueprint.post(f"{GROUP}/deploy_tokens")
    @gate(Permission.CHANGE_DEPLOY_TOKENS)
    def group_create(group: Group) -> Page:
        return _create(group)

    @blueprint.post(f"{PROJECT}/deploy_tokens/<id:token_id>/revoke")
    @gate(Permission.CHANGE_DEPLOY_TOKENS)
    def project_revoke(project: Project, token_id: int) -> Response:
        _revoke(project, token_id)
        address = url_for("ui.deploy_tokens.project_repository", project=project, _anchor="js-deploy-tokens")
        return redirect(address, 303)

    @blueprint.post(f"{GROUP}/deploy_tokens/<id:token_id>/revoke")
    @gate(Permission.CHANGE_DEPLOY_TOKENS)
    def group_revoke(group: Group, token_id: int) -> Response:
        _revoke(group, token_id)
        return redirect(url_for("ui.deploy_tokens.group_repository", group=group, _anchor="js-deploy-tokens"), 303)

    return blueprint


def _create(namespace: Project | Group) -> Page:
    form = _form()
    if form.can_be_tried():
        with form.refusals():
            expires_on = form.expires_on.data
            issued = deploy_tokens.issue_deploy_token(
                namespace,
                name=text(form.name),
                username=text(form.username) or None,
                scopes=form.scopes.data or (),
                expires_at=None if expires_on is None else deploy_tokens.starts_at(expires_on),
                key=token_key(),
                by=principal(),
            )
            return _page(namespace, _form(formdata=None), issued)
    return _page(namespace, form)


def _revoke(namespace: Project | Group, token_id: int) -> None:
    token = deploy_tokens.deploy_token(namespace, token_id)
    deploy_tokens.revoke_deploy_token(token, namespace, by=principal(), now=utcnow())
    flash(gettext("Deploy token %(name)s was revoked.", name=token.name))


def _form(**options: object) -> DeployTokenForm:
    form = DeployTokenForm(**options)
    form.scopes.choices = [(scope.value, scope.value) for scope in SCOPES]
    return form


def _page(namespace: Project | Group, form: DeployTokenForm, issued: tuple[DeployToken, str] | None = None) -> Page:
    """Render the page.

    :param issued: the token just created and its secret, which is shown only once.
    """
    now = utcnow()
    page = render_template(
        "ui/settings/repository.html",
        namespace=namespace,
        form=form,
        issued=issued,
        helps=SCOPES,
        active=pagination.page(deploy_tokens.deploy_tokens(namespace, is_active=True, now=now)),
        may_change=may("change_deploy_tokens", namespace),
        tomorrow=(now + timedelta(days=1)).date(),
        next_commands=_next_commands(namespace, *issued) if issued else {},
    )
    return page, form.status


def _next_commands(namespace: Project | Group, token: DeployToken, secret: str) -> dict[str, str]:
    """Return the commands that a new deploy token is for, with the token filled in: ``install`` and ``publish``."""
    found = {}
    if DeployScope.WRITE_PACKAGE_REGISTRY in token.scopes and isinstance(namespace, Project):
        found["publish"] = commands.publish(pypi_url(namespace), secret, token.username)
    if PACKAGE_SCOPES & set(token.scopes):
        newest = lists.published_last(namespace, principal(), 1)
        wanted = newest[0].name if newest else "<package>"
        found["install"] = commands.install(wanted, pypi_url(namespace), secret, token.username)
    return found
