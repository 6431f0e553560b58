"""Audit events of the instance, and of a group or project with everything below it, as pages and as CSV."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date
from urllib.parse import urlencode

from flask import Blueprint, Response, render_template, request, url_for
from flask_babel import gettext

from registry.blueprints.auth.permits import Gate
from registry.blueprints.ui import pagination
from registry.blueprints.ui.event_details import (
    author_name,
    authors_called,
    deploy_token_id,
    event_details,
    target_name,
)
from registry.blueprints.ui.forms import query_parameters
from registry.blueprints.ui.wording import EVENTS, NAMESPACE_EVENTS, event_name, events_called
from registry.domain import audit, namespaces, paging
from registry.domain.access import Permission
from registry.domain.accounts import deploy_tokens, users
from registry.domain.audit import EventFilter
from registry.domain.spreadsheets import csv_of
from registry.models import AuditEvent, Group, Namespace, Project

MOST_ROWS = 10_000  # of a CSV file


def routes(gate: Gate) -> Blueprint:
    blueprint = Blueprint("audit", __name__)

    @blueprint.get("/groups/<page_group:group>/-/audit_events")
    @gate(Permission.OWN_NAMESPACE)
    def group_audit_events(group: Group) -> str:
        """Show the events in the group, its subgroups, and their projects."""
        return _page(group)

    @blueprint.get("/<page_project:project>/-/audit_events")
    @gate(Permission.OWN_NAMESPACE)
    def project_audit_events(project: Project) -> str:
        return _page(project)

    @blueprint.get("/groups/<page_group:group>/-/audit_events.csv")
    @gate(Permission.OWN_NAMESPACE)
    def group_audit_events_csv(group: Group) -> Response:
        return _file(group)

    @blueprint.get("/<page_project:project>/-/audit_events.csv")
    @gate(Permission.OWN_NAMESPACE)
    def project_audit_events_csv(project: Project) -> Response:
        return _file(project)

    @blueprint.get("/admin/audit_log")
    @gate(Permission.READ_INSTANCE)
    def instance_audit_events() -> str:
        return _page(None)

    @blueprint.get("/admin/audit_log.csv")
    @gate(Permission.READ_INSTANCE)
    def instance_audit_events_csv() -> Response:
        return _file(None)

    return blueprint


@dataclass(frozen=True)
class Links:
    """The pages that events refer to, as far as they still exist."""

    authors: Mapping[int | None, str]
    places: Mapping[int | None, Namespace]
    deploy_tokens: Mapping[int, str]

    def author_name(self, event: AuditEvent) -> str:
        return author_name(event, self.deploy_tokens)

    def author(self, event: AuditEvent) -> str | None:
        username = self.authors.get(event.author_id)
        return None if username is None else url_for("ui.namespaces.home", namespace=username)

    def place(self, event: AuditEvent) -> Namespace | None:
        return self.places.get(event.namespace_id)

    def target(self, event: AuditEvent) -> str | None:
        """Return the URL of the version or package name that an event is about."""
        project = self.place(event)
        if not isinstance(project, Project):
            return None
        if event.action == audit.NAME_STATUS_CHANGED:
            return url_for("ui.packages.package_name", project=project, name=event.target)
        if event.action in audit.OF_FILES:
            release = str(event.details.get("package", ""))
        else:
            release = event.target if event.action in audit.OF_VERSIONS else ""
        name, _, version = release.rpartition(" ")
        if not name:
            return None
        return url_for("ui.packages.package_name", project=project, name=name, version=version)


def _page(namespace: Group | Project | None) -> str:
    wanted = _wanted()
    found = pagination.page(audit.events(wanted, within=namespace))
    return render_template(
        "ui/audit/instance.html" if namespace is None else "ui/audit/namespace.html",
        namespace=namespace,
        found=found,
        wanted=wanted,
        actions=_actions(namespace),
        links=_links(found.items),
        event_name=event_name,
        event_details=event_details,
        target_name=target_name,
        csv_url=_csv_url(),
    )


def _csv_url() -> str:
    """Return the URL of the file with the same filters."""
    kept = {name: value for name, value in request.args.items() if value and name != "page"}
    address = url_for(f"{request.endpoint}_csv", **(request.view_args or {}))
    return f"{address}?{urlencode(kept)}" if kept else address


def _file(namespace: Group | Project | None) -> Response:
    """Return the newest events that match as a file."""
    found, _ = paging.first(audit.events(_wanted(), within=namespace), MOST_ROWS)
    places = _links(found)
    columns = (
        gettext("Time"), gettext("Author"), gettext("Action"), gettext("Target"), gettext("Details"),
        gettext("Group or project"), gettext("IP address"), gettext("Action code"), gettext("Details (JSON)"),
    )  # fmt: skip
    table = csv_of([columns, *(_row(event, places) for event in found)])
    response = Response("\ufeff" + table, content_type="text/csv; charset=utf-8")
    response.headers.set("Content-Disposition", "attachment", filename="audit-events.csv")
    return response


def _row(event: AuditEvent, links: Links) -> tuple[str, ...]:
    place = links.place(event)
    return (
        event.created_at.astimezone(UTC).isoformat(timespec="seconds"),
        links.author_name(event),
        event_name(event.action),
        target_name(event),
        "; ".join(f"{one.label}: {one.value}" for one in event_details(event)),
        "" if place is None else place.full_path,
        event.address,
        event.action,
        json.dumps(event.details, ensure_ascii=False) if event.details else "",
    )


def _wanted() -> EventFilter:
    """Return the filter of the query parameters; invalid values are ignored."""
    asked = query_parameters()
    search, author = asked.get("search", ""), asked.get("author", "")
    return EventFilter(
        search=search,
        searched_actions=events_called(search),
        searched_authors=authors_called(search),
        author=author,
        authors=authors_called(author),
        action=asked.get("action", ""),
        first_day=_day(asked.get("from", "")),
        last_day=_day(asked.get("to", "")),
    )


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _actions(namespace: Namespace | None) -> list[tuple[str, str]]:
    """Return the actions to choose from, ordered by their names."""
    codes = EVENTS if namespace is None else NAMESPACE_EVENTS
    return sorted(((code, event_name(code)) for code in codes), key=lambda each: each[1])


def _links(found: Iterable[AuditEvent]) -> Links:
    events = list(found)
    authors = users.by_ids(event.author_id for event in events)
    return Links(
        {user_id: user.username for user_id, user in authors.items()},
        namespaces.by_ids(event.namespace_id for event in events),
        deploy_tokens.names(token for event in events if (token := deploy_token_id(event)) is not None),
    )
