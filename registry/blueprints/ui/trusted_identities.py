"""Trusted publishers and readers, on pages of their own behind Settings › CI/CD, with a form for each CI system."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

from flask import Blueprint, current_app, flash, redirect, render_template
from flask_babel import gettext, lazy_gettext
from werkzeug.wrappers import Response
from wtforms import BooleanField, StringField, TextAreaField
from wtforms.validators import InputRequired

from registry.blueprints.auth.permits import Gate
from registry.blueprints.ui.forms import Form, text
from registry.blueprints.ui.frame import namespace_url
from registry.blueprints.ui.viewer import principal
from registry.blueprints.ui.wording import sentence
from registry.domain.access import Permission
from registry.domain.issuers import GITHUB, GITLAB
from registry.domain.oidc import exchanged_tokens, identities
from registry.domain.oidc.exchanged_tokens import Token
from registry.domain.oidc.identities import Identity
from registry.errors import Fault, InvalidRecord, NotFound
from registry.models import (
    Group,
    InstanceSettings,
    Project,
    PublishingToken,
    ReadingToken,
    TrustedPublisher,
    TrustedReader,
)

_ = lazy_gettext

PROJECT = "/<page_project:project>/-/settings/ci_cd"
GROUP = "/groups/<page_group:group>/-/settings/ci_cd"
PUBLISHERS = f"{PROJECT}/trusted_publishers"
PROJECT_READERS, GROUP_READERS = f"{PROJECT}/trusted_readers", f"{GROUP}/trusted_readers"
Page = Response | tuple[str, int]
_REQUIRED = [InputRequired(_("This field is required."))]


class TrustForm(Form):
    """Fields shared by the forms of all CI systems; the form of a reader has no package names.

    :cvar chapter: the chapter of the help on the CI system.
    :cvar of_claims: the names of fields by those of their claims, where these differ.
    """

    chapter: ClassVar[str]
    of_claims: ClassVar[dict[str, str]] = {}
    shown_last = frozenset({"package_names"})

    package_names = TextAreaField(
        _("Package names"),
        description=_("One per line. If empty, any package can be published."),
        render_kw={"rows": 3},
    )

    @classmethod
    @abstractmethod
    def suits(cls, issuer: str) -> bool:
        """Return whether the form is for a CI system with this issuer."""

    @property
    @abstractmethod
    def sent_issuer(self) -> str: ...

    @abstractmethod
    def sent_claims(self) -> dict[str, str]:
        """Return the claims that the fields stand for.

        :raises InvalidRecord: one is repeated.
        """

    def add_publisher_to(self, project: Project) -> None:
        """Add a trusted publisher to a project.

        :raises InvalidRecord: a value is invalid.
        """
        names = [line.strip() for line in text(self.package_names).splitlines() if line.strip()]
        identities.add_publisher(
            project, issuer=self.sent_issuer, claims=self.sent_claims(), package_names=names, by=principal()
        )

    def add_reader_to(self, namespace: Project | Group) -> None:
        """Add a trusted reader to a project or group.

        :raises InvalidRecord: a value is invalid.
        """
        identities.add_reader(namespace, issuer=self.sent_issuer, claims=self.sent_claims(), by=principal())

    @contextmanager
    def refusals(self) -> Iterator[None]:
        """Add errors of the domain in the block to the fields, and those of a claim to the field for it."""
        is_complete = not self.errors
        with super().refusals():
            try:
                yield
            except InvalidRecord as error:
                others = {name: faults for name, faults in error.fields.items() if name != "claims"}
                left = [fault for fault in error.fields.get("claims", ()) if not self._refuse_claim(fault)]
                if left and (is_complete or "claims" in self._fields):  # otherwise about a claim that is missing
                    others["claims"] = left
                raise InvalidRecord(others) from error

    def _refuse_claim(self, fault: Fault) -> bool:
        """Add the error of a claim to the field for it, and return whether there is one."""
        name = str(fault.values.get("name"))
        field = self.of_claims.get(name, name)
        if field in self._fields:
            self.refuse(field, sentence(fault))
        return field in self._fields


class GitHubForm(TrustForm):
    title = "GitHub Actions"
    chapter = "github-actions"
    of_claims: ClassVar[dict[str, str]] = {"workflow_ref": "workflow"}
    repository = StringField(_("Repository"), _REQUIRED, description=_("For example, acme/demo."))
    workflow = StringField(
        _("Workflow file"),
        description=_("For example, release.yml. If empty, any workflow of the repository is accepted."),
    )
    environment = StringField(
        _("Environment"), description=_("If empty, jobs are accepted with any environment or none.")
    )
    ref = StringField(_("Ref"), description=_("For example, refs/tags/v*. If empty, any branch or tag is accepted."))

    @classmethod
    def suits(cls, issuer: str) -> bool:
        return issuer == GITHUB

    @property
    def sent_issuer(self) -> str:
        return GITHUB

    def sent_claims(self) -> dict[str, str]:
        # The URL of the repository and the path of the workflow file are accepted, too.
        repository = text(self.repository).removeprefix("https://github.com/").removesuffix(".git").strip("/")
        workflow = text(self.workflow).removeprefix(".github/workflows/")
        claims = {
            "repository": repository,
            "workflow_ref": f"{repository}/.github/workflows/{workflow}@*" if workflow else "",
            "environment": text(self.environment),
            "ref": text(self.ref),
        }
        return {name: value for name, value in claims.items() if value}


class GitLabForm(TrustForm):
    title = "GitLab CI/CD"
    chapter = "gitlab-ci"
    issuer = StringField(_("URL of GitLab"), _REQUIRED, default=GITLAB)
    project_path = StringField(_("Project"), _REQUIRED, description=_("Full path, such as acme/demo."))
    ref = StringField(_("Ref"), description=_("For example, main or v*. If empty, any branch or tag is accepted."))
    environment = StringField(
        _("Environment"), description=_("If empty, jobs are accepted with any environment or none.")
    )
    ref_protected = BooleanField(
        _("Protected branches and tags only"),
        default=True,
        description=_("Recommended: anyone who can push can create others."),
    )

    @classmethod
    def suits(cls, issuer: str) -> bool:
        return issuer != GITHUB

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


class OtherForm(TrustForm):
    title = _("Other issuer")
    chapter = "other-ci"
    issuer = StringField(
        _("Issuer"),
        _REQUIRED,
        description=_("The URL in the iss claim of its identity tokens, where it publishes its keys."),
    )
    claims = TextAreaField(
        _("Claims"),
        _REQUIRED,
        description=_("One per line: name=value. * in a value matches any text."),
        render_kw={"rows": 4},
    )

    @classmethod
    def suits(cls, issuer: str) -> bool:
        return issuer not in (GITHUB, GITLAB)

    @property
    def sent_issuer(self) -> str:
        return text(self.issuer)

    def sent_claims(self) -> dict[str, str]:
        return identities.parse_claims(line for line in text(self.claims).splitlines() if line.strip())


FORMS: dict[str, type[TrustForm]] = {"github": GitHubForm, "gitlab": GitLabForm, "other": OtherForm}


def offered_forms() -> dict[str, type[TrustForm]]:
    """Return the forms for CI systems of which the instance accepts an issuer, by kind."""
    listed = InstanceSettings.current().oidc_trusted_issuers
    return {kind: form for kind, form in FORMS.items() if not listed or any(map(form.suits, listed))}


def routes(gate: Gate) -> Blueprint:
    blueprint = Blueprint("trusted_identities", __name__)

    @blueprint.route(f"{PUBLISHERS}/new/<kind>", methods=["GET", "POST"])
    @gate(Permission.ADMIN_PACKAGE)
    def project_new_publisher(project: Project, kind: str) -> Page:
        """Add a trusted publisher, with the form for a CI system."""
        form = _form(kind)
        if form.can_be_tried():
            with form.refusals():
                form.add_publisher_to(project)
                flash(gettext("The trusted publisher was added."))
                return _back(project, "trusted-publishers")
        return _form_page(project, form, gettext("New trusted publisher"), gettext("Add trusted publisher"))

    @blueprint.post(f"{PUBLISHERS}/<id:publisher_id>/delete")
    @gate(Permission.ADMIN_PACKAGE)
    def project_delete_publisher(project: Project, publisher_id: int) -> Response:
        _delete(TrustedPublisher, project, publisher_id)
        flash(gettext("The trusted publisher was deleted."))
        return _back(project, "trusted-publishers")

    @blueprint.post(f"{PUBLISHERS}/tokens/<id:token_id>/revoke")
    @gate(Permission.ADMIN_PACKAGE)
    def project_revoke_publishing_token(project: Project, token_id: int) -> Response:
        """Revoke a token of a job for the project."""
        _revoke(PublishingToken, project, token_id)
        return _back(project, "trusted-publishers")

    @blueprint.route(f"{PROJECT_READERS}/new/<kind>", methods=["GET", "POST"])
    @gate(Permission.CHANGE_DEPLOY_TOKENS)
    def project_new_reader(project: Project, kind: str) -> Page:
        return _new_reader(project, kind)

    @blueprint.route(f"{GROUP_READERS}/new/<kind>", methods=["GET", "POST"])
    @gate(Permission.CHANGE_DEPLOY_TOKENS)
    def group_new_reader(group: Group, kind: str) -> Page:
        return _new_reader(group, kind)

    @blueprint.post(f"{PROJECT_READERS}/<id:reader_id>/delete")
    @gate(Permission.CHANGE_DEPLOY_TOKENS)
    def project_delete_reader(project: Project, reader_id: int) -> Response:
        return _delete_reader(project, reader_id)

    @blueprint.post(f"{GROUP_READERS}/<id:reader_id>/delete")
    @gate(Permission.CHANGE_DEPLOY_TOKENS)
    def group_delete_reader(group: Group, reader_id: int) -> Response:
        return _delete_reader(group, reader_id)

    @blueprint.post(f"{PROJECT_READERS}/tokens/<id:token_id>/revoke")
    @gate(Permission.CHANGE_DEPLOY_TOKENS)
    def project_revoke_reading_token(project: Project, token_id: int) -> Response:
        _revoke(ReadingToken, project, token_id)
        return _back(project, "trusted-readers")

    @blueprint.post(f"{GROUP_READERS}/tokens/<id:token_id>/revoke")
    @gate(Permission.CHANGE_DEPLOY_TOKENS)
    def group_revoke_reading_token(group: Group, token_id: int) -> Response:
        _revoke(ReadingToken, group, token_id)
        return _back(group, "trusted-readers")

    return blueprint


def _new_reader(namespace: Project | Group, kind: str) -> Page:
    """Add a trusted reader, with the form for a CI system."""
    form = _form(kind)
    del form.package_names
    if form.can_be_tried():
        with form.refusals():
            form.add_reader_to(namespace)
            flash(gettext("The trusted reader was added."))
            return _back(namespace, "trusted-readers")
    return _form_page(namespace, form, gettext("New trusted reader"), gettext("Add trusted reader"))


def _delete_reader(namespace: Project | Group, reader_id: int) -> Response:
    _delete(TrustedReader, namespace, reader_id)
    flash(gettext("The trusted reader was deleted."))
    return _back(namespace, "trusted-readers")


def _delete(kind: type[Identity], namespace: Project | Group, identity_id: int) -> None:
    identities.delete(identities.identity(kind, namespace, identity_id), namespace, by=principal())


def _revoke(kind: type[Token], namespace: Project | Group, token_id: int) -> None:
    exchanged_tokens.revoke(exchanged_tokens.token(kind, namespace, token_id), namespace, by=principal())
    flash(gettext("The token was revoked."))


def _form(kind: str) -> TrustForm:
    if kind not in FORMS:
        raise NotFound
    suitable = [issuer for issuer in InstanceSettings.current().oidc_trusted_issuers if FORMS[kind].suits(issuer)]
    if not suitable:
        return FORMS[kind]()
    return FORMS[kind](issuer=GITLAB if GITLAB in suitable else suitable[0])


def _form_page(namespace: Project | Group, form: TrustForm, title: str, button: str) -> Page:
    page = render_template(
        "ui/settings/new_trusted_identity.html", namespace=namespace, form=form, title=title, button=button,
        audience=current_app.config["OIDC_AUDIENCE"], instance=InstanceSettings.current(),
    )  # fmt: skip
    return page, form.status


def _back(namespace: Project | Group, anchor: str) -> Response:
    return redirect(namespace_url("job_tokens.ci_cd", namespace, _anchor=anchor), 303)
