"""Settings › CI/CD: trusted readers; in projects also trusted publishers, the job token allowlist, and running jobs."""

from __future__ import annotations

from flask import Blueprint, current_app, flash, redirect, render_template, url_for
from flask_babel import gettext, lazy_gettext
from werkzeug.wrappers import Response
from wtforms import RadioField, StringField
from wtforms.validators import InputRequired

from registry.blueprints.auth.permits import Gate
from registry.blueprints.ui import pagination
from registry.blueprints.ui.forms import Form, text
from registry.blueprints.ui.setting_forms import SettingsForm, form_of
from registry.blueprints.ui.trusted_identities import offered_forms
from registry.blueprints.ui.viewer import may, principal
from registry.database import utcnow
from registry.domain import namespaces
from registry.domain.access import Permission
from registry.domain.accounts import jobs
from registry.domain.cascade import JOB_ALLOWLISTS
from registry.domain.namespaces import ProjectChanges, ProjectSettings
from registry.domain.oidc import exchanged_tokens, identities
from registry.domain.settings import Section
from registry.models import (
    Group,
    InstanceSettings,
    JobStatus,
    Namespace,
    Project,
    PublishingToken,
    ReadingToken,
    TrustedPublisher,
    TrustedReader,
)

_ = lazy_gettext

SETTINGS = "/<page_project:project>/-/settings/ci_cd"
GROUP_SETTINGS = "/groups/<page_group:group>/-/settings/ci_cd"
MOST_SHOWN = 20  # tokens on a page; they last for minutes

Page = Response | tuple[str, int]


OnlyTrustedForm = form_of(ProjectSettings, Section.TRUSTED_PUBLISHING)


class EnforcementForm(Form):
    enforced = RadioField(_("Authorized groups and projects"))

    def offer(self) -> None:
        self.enforced.choices = [
            ("", gettext("All groups and projects")),
            ("y", gettext("Only this project and the groups and projects on the allowlist")),
        ]


class SourceForm(Form):
    path = StringField(_("Group or project"), [InputRequired(_("This field is required."))])


def routes(gate: Gate) -> Blueprint:
    blueprint = Blueprint("job_tokens", __name__)

    @blueprint.get(SETTINGS)
    @gate(Permission.ADMIN_JOB_TOKEN_SCOPE)
    def project_ci_cd(project: Project) -> Page:
        return _page(project)

    @blueprint.get(GROUP_SETTINGS)
    @gate(Permission.READ_DEPLOY_TOKENS)
    def group_ci_cd(group: Group) -> str:
        return render_template("ui/settings/group_ci_cd.html", namespace=group, **_readers(group))

    @blueprint.post(f"{SETTINGS}/only_trusted_publishers")
    @gate(Permission.ADMIN_PACKAGE)
    def change_only_trusted(project: Project) -> Page:
        """Change whether other credentials than those of trusted publishers can publish."""
        form = OnlyTrustedForm.of(project)
        if form.validate_on_submit():
            namespaces.change(project, form.changes(ProjectChanges), by=principal())
            flash(gettext("Settings saved successfully."))
            return _back(project)
        return _page(project, only_trusted_form=form)

    @blueprint.post(f"{SETTINGS}/job_token_permissions")
    @gate(Permission.ADMIN_JOB_TOKEN_SCOPE)
    def change_enforcement(project: Project) -> Page:
        """Change whether the allowlist is enforced."""
        form = _enforcement_form(project)
        if form.validate_on_submit():
            changes = ProjectChanges(job_allowlist_enforced=bool(form.enforced.data))
            namespaces.change(project, changes, by=principal())
            flash(gettext("Settings saved successfully."))
            return _back(project)
        return _page(project, enforcement_form=form)

    @blueprint.post(f"{SETTINGS}/allowlist")
    @gate(Permission.ADMIN_JOB_TOKEN_SCOPE)
    def allow(project: Project) -> Page:
        """Add a project or group to the allowlist."""
        form = SourceForm()
        if form.validate_on_submit():
            source = namespaces.visible_at(text(form.path).strip("/"), Namespace, principal())
            if not isinstance(source, Group | Project):
                form.refuse("path", gettext("No group or project with this path exists, or you cannot see it."))
                return _page(project, source_form=form)
            with form.refusals():
                namespaces.allow_job_source(project, source, by=principal())
                flash(gettext("%(path)s was added to the allowlist.", path=source.full_path))
                return _back(project)
        return _page(project, source_form=form)

    @blueprint.post(f"{SETTINGS}/allowlist/<id:source_id>/remove")
    @gate(Permission.ADMIN_JOB_TOKEN_SCOPE)
    def disallow(project: Project, source_id: int) -> Response:
        source = namespaces.find(str(source_id), Namespace)
        namespaces.disallow_job_source(project, source, by=principal())
        flash(gettext("The entry was removed from the allowlist."))
        return _back(project)

    @blueprint.post(f"{SETTINGS}/jobs/<id:job_id>/cancel")
    @gate(Permission.ADMIN_JOB_TOKEN_SCOPE)
    def cancel_job(project: Project, job_id: int) -> Response:
        """Cancel a job; its token expires immediately."""
        job = jobs.job(project, job_id)
        jobs.finish_job(job, JobStatus.CANCELED, by=principal(), now=utcnow())
        flash(gettext("Job %(name)s was canceled.", name=job.name))
        return _back(project)

    return blueprint


def _page(
    project: Project, *, enforcement_form: EnforcementForm | None = None, source_form: SourceForm | None = None,
    only_trusted_form: SettingsForm | None = None,
) -> Page:  # fmt: skip
    sent = enforcement_form or source_form or only_trusted_form
    sources: list[Namespace] = [
        *namespaces.allowed_job_sources(project, Group),
        *namespaces.allowed_job_sources(project, Project),
    ]
    page = render_template(
        "ui/settings/ci_cd.html",
        namespace=project,
        publishers=identities.identities_of(TrustedPublisher, project),
        publishing=exchanged_tokens.active_tokens(PublishingToken, project, utcnow())[:MOST_SHOWN],
        **_readers(project),
        only_trusted_form=only_trusted_form or OnlyTrustedForm.of(project, formdata=None),
        enforcement_form=enforcement_form or _enforcement_form(project, formdata=None),
        source_form=source_form or SourceForm(formdata=None),
        sources=sources,
        visible_sources=namespaces.visible_ids(principal(), sources),
        counts_in_groups=JOB_ALLOWLISTS.value_in(project),
        running=pagination.page(jobs.running_jobs(project, utcnow())),
    )
    return page, 200 if sent is None else sent.status


def _readers(namespace: Project | Group) -> dict[str, object]:
    return {
        "readers": identities.identities_of(TrustedReader, namespace),
        "reading": exchanged_tokens.active_tokens(ReadingToken, namespace, utcnow())[:MOST_SHOWN],
        "may_change_readers": may("change_deploy_tokens", namespace),
        "audience": current_app.config["OIDC_AUDIENCE"],
        "instance": InstanceSettings.current(),
        "trust_forms": offered_forms(),
    }


def _enforcement_form(project: Project, **options: object) -> EnforcementForm:
    form = EnforcementForm(enforced="y" if project.job_allowlist_enforced else "", **options)
    form.offer()
    return form


def _back(project: Project) -> Response:
    return redirect(url_for("ui.job_tokens.project_ci_cd", project=project), 303)
