"""Exceptions to the minimum age of upstream files, of groups and of the instance. GitLab has nothing like it."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify

from registry.blueprints.api import pagination, parameters, representations
from registry.blueprints.api.parameters import expecting, moment, optional, required, text
from registry.blueprints.auth.credentials import current_principal
from registry.blueprints.auth.permits import Gate
from registry.domain.access import Permission
from registry.domain.upstream import exceptions
from registry.models import Group

OF_GROUP = "/groups/<group:group>/upstream_exceptions"
OF_INSTANCE = "/application/upstream_exceptions"
_NEW = {
    "pattern": required(text),
    "reason": required(text),
    "expires_at": optional(expecting("a date or time in ISO 8601", moment), null=None),
}


def routes(gate: Gate) -> Blueprint:
    blueprint = Blueprint("upstream_exceptions", __name__)

    @blueprint.get(OF_GROUP)
    @gate(Permission.READ_PACKAGE_SETTINGS)
    def list_of_group(group: Group) -> Response:
        """Return the exceptions of a group, without those that it inherits."""
        return _list(group)

    @blueprint.post(OF_GROUP)
    @gate(Permission.CHANGE_PACKAGE_SETTINGS)
    def create_in_group(group: Group) -> tuple[Response, int]:
        """Add an exception for a group and all below it."""
        return _create(group)

    @blueprint.delete(f"{OF_GROUP}/<id:exception_id>")
    @gate(Permission.CHANGE_PACKAGE_SETTINGS)
    def delete_of_group(group: Group, exception_id: int) -> tuple[str, int]:
        """Remove an exception of a group."""
        return _delete(group, exception_id)

    @blueprint.get(OF_INSTANCE)
    @gate(Permission.READ_INSTANCE)
    def list_of_instance() -> Response:
        """Return the exceptions of the instance."""
        return _list(None)

    @blueprint.post(OF_INSTANCE)
    @gate(Permission.ADMIN_INSTANCE)
    def create_in_instance() -> tuple[Response, int]:
        """Add an exception for the whole instance."""
        return _create(None)

    @blueprint.delete(f"{OF_INSTANCE}/<id:exception_id>")
    @gate(Permission.ADMIN_INSTANCE)
    def delete_of_instance(exception_id: int) -> tuple[str, int]:
        """Remove an exception of the instance."""
        return _delete(None, exception_id)

    return blueprint


def _list(group: Group | None) -> Response:
    page = pagination.page_of(exceptions.exceptions_of(group))
    return pagination.answer(page, [representations.upstream_exception(one) for one in page.items])


def _create(group: Group | None) -> tuple[Response, int]:
    sent = parameters.read(_NEW)
    added = exceptions.add_exception(
        group,
        pattern=sent["pattern"],
        reason=sent["reason"],
        expires_at=sent.get("expires_at"),
        by=current_principal(),
    )
    return jsonify(representations.upstream_exception(added)), 201


def _delete(group: Group | None, exception_id: int) -> tuple[str, int]:
    exception = exceptions.exception_of(group, exception_id)
    parameters.refuse_if_modified(exception.created_at)
    exceptions.remove_exception(exception, group, by=current_principal())
    return "", 204
