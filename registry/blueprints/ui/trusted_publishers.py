"""Trusted publishers of a project, on pages of their own behind Settings › CI/CD, with a form for each CI system."""

from __future__ import annotations

from abc import abstractmethod

from flask import Blueprint, current_app, flash, redirect, render_template, url_for
from flask_babel import gettext, lazy_gettext
from werkzeug.wrappers import Response
from wtforms import BooleanField, StringField, TextAreaField
from wtforms.validators import InputRequired

from registry.blueprints.auth.permits import Gate
from registry.blueprints.ui.forms import Form, text
from registry.blueprints.ui.viewer import principal
from registry.database import utcnow
from registry.domain.access import Permission
from registry.domain.issuers import GITHUB, GITLAB
from registry.domain.oidc import publishers, publishing_tokens
from registry.errors import NotFound
from registry.models import Project

_ = lazy_gettext

PUBLISHERS = "/<page_project:project>/-/settings/ci_cd/trusted_publishers"
Page = Response | tuple[str, int]
_REQUIRED = [InputRequired(_("This field is required."))]


class PublisherForm(Form):
    """Fields shared by the forms of all CI systems."""

    package_names = TextAreaField(
        _("Package names"),
        description=_("One per line. If empty, any package can be published."),
        render_kw={"rows": 3},
    )

    @property
    @abstractmethod
    def sent_issuer(self) -> str: ...

    @abstractmethod
    def sent_claims(self) -> dict[str, str]:
        """Return the claims that the fields stand for.

        :raises InvalidRecord: one is repeated.
        """

    def add_to(self, project: Project) -> None:
        """Add a trusted publisher to a project.

        :raises InvalidRecord: a value is invalid.
        """
        names = [line.strip() for line in text(self.package_names).splitlines() if line.strip()]
        publishers.add_publisher(
            project, issuer=self.sent_issuer, claims=self.sent_claims(), package_names=names, by=principal()
        )


class GitHubForm(PublisherForm):
    title = "GitHub Actions"
    repository = StringField(_("Repository"), _REQUIRED, description=_("For example, acme/demo."))
    workflow = StringField(
        _("Workflow file"),
        description=_("For example, release.yml. If empty, any workflow of the repository can publish."),
    )
    environment = StringField(_("Environment"), description=_("If empty, any environment is accepted, or none."))
    ref = StringField(_("Ref"), description=_("For example, refs/tags/v*. If empty, any branch or tag is accepted."))

    @property
    def sent_issuer(self) -> str:
        return GITHUB

    def sent_claims(self) -> dict[str, str]:
        # The address of the repository and the path of the workflow are as good as their names.
        repository = text(self.repository).removeprefix("https://github.com/").removesuffix(".git").strip("/")
        workflow = text(self.workflow).removeprefix(".github/workflows/")
        claims = {
            "repository": repository,
            "workflow_ref": f"{repository}/.github/workflows/{workflow}@*" if workflow else "",
            "environment": text(self.environment),
            "ref": text(self.ref),
        }
        return {name: value for name, value in claims.items() if value}


class GitLabForm(PublisherForm):
    title = "GitLab CI/CD"
    issuer = StringField(_("URL of GitLab"), _REQUIRED, default=GITLAB)
    project_path = StringField(_("Project"), _REQUIRED, description=_("Full path, such as acme/demo."))
    ref = StringField(_("Ref"), description=_("For example, main or v*. If empty, any branch or tag is accepted."))
    environment = StringField(_("Environment"), description=_("If empty, any environment is accepted, or none."))
    ref_protected = BooleanField(
        _("Protected branches and tags only"),
        default=True,
        description=_("Recommended: anyone who can push can create others."),
    )

    @property
    def sent_issuer(self) -> str:
        return text(self.issuer).rstrip("/")

    def sent_claims(self) -> dict[str, str]:
        claims = {
            "project_path": text(self.project_path),
            "ref": text(self.ref),
            "environment": text(self.environment),
            "ref_protected": "true" if self.ref_protected.data else "",
        }
        return {name: value for name, value in claims.items() if value}


class OtherForm(PublisherForm):
    title = _("Other issuer")
    issuer = StringField(
        _("Issuer"),
        _REQUIRED,
        description=_("The URL in the claim iss of its identity tokens, which publishes its keys."),
    )
    claims = TextAreaField(
        _("Claims"),
        _REQUIRED,
        description=_("One per line: name=value. * in a value matches any text."),
        render_kw={"rows": 4},
    )

    @property
    def sent_issuer(self) -> str:
        return text(self.issuer)

    def sent_claims(self) -> dict[str, str]:
        return publishers.parse_claims(line for line in text(self.claims).splitlines() if line.strip())


FORMS: dict[str, type[PublisherForm]] = {"github": GitHubForm, "gitlab": GitLabForm, "other": OtherForm}


def routes(gate: Gate) -> Blueprint:
    blueprint = Blueprint("trusted_publishers", __name__)

    @blueprint.route(f"{PUBLISHERS}/new/<kind>", methods=["GET", "POST"])
    @gate(Permission.ADMIN_PACKAGE)
    def new_publisher(project: Project, kind: str) -> Page:
        """Add a trusted publisher, with the form for a CI system."""
        if kind not in FORMS:
            raise NotFound
        form = FORMS[kind]()
        if form.validate_on_submit():
            with form.refusals():
                form.add_to(project)
                flash(gettext("The trusted publisher was added."))
                return _back(project)
        page = render_template(
            "ui/settings/new_trusted_publisher.html", namespace=project, form=form, kind=kind,
            audience=current_app.config["OIDC_AUDIENCE"],
        )  # fmt: skip
        return page, form.status

    @blueprint.post(f"{PUBLISHERS}/<id:publisher_id>/delete")
    @gate(Permission.ADMIN_PACKAGE)
    def delete_publisher(project: Project, publisher_id: int) -> Response:
        publishers.delete_publisher(publishers.publisher(project, publisher_id), project, by=principal())
        flash(gettext("The trusted publisher was deleted."))
        return _back(project)

    @blueprint.post(f"{PUBLISHERS}/tokens/<id:token_id>/revoke")
    @gate(Permission.ADMIN_PACKAGE)
    def revoke_token(project: Project, token_id: int) -> Response:
        """Revoke a token of a job for the project."""
        token = publishing_tokens.token(project, token_id)
        publishing_tokens.revoke(token, project, by=principal(), now=utcnow())
        flash(gettext("The token was revoked."))
        return _back(project)

    return blueprint


def _back(project: Project) -> Response:
    return redirect(url_for("ui.job_tokens.project_ci_cd", project=project), 303)
