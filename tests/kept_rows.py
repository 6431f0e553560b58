"""Records that many tests begin with: made through the domain once in a process, then from the rows of that time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Table, text

from registry.database import ACCESS, Model, db, utcnow
from registry.models import Role
from tests import factories

Rows = dict[Table, list[dict[str, Any]]]

# In the order of their ids. Each maker adds rows, which can refer to those of the records that it takes, and changes
# none.
_MAKERS: dict[str, Callable[..., Any]] = {
    "admin": lambda: factories.user("root", is_admin=True),
    "owner": lambda: factories.user("olivia"),
    "outsider": lambda: factories.user("oscar"),
    "group": lambda owner: factories.group("acme", owner=owner),
    "project": lambda group: factories.project("tools", parent=group),
    "developer": lambda project: factories.member(project, Role.DEVELOPER, "dora"),
    "maintainer": lambda project: factories.member(project, Role.MAINTAINER, "mark"),
    "guest": lambda project: factories.member(project, Role.GUEST, "gwen"),
    "admin_token": lambda admin: factories.access_token(admin),
    "owner_token": lambda owner: factories.access_token(owner),
    "maintainer_token": lambda maintainer: factories.access_token(maintainer),
    "developer_token": lambda developer: factories.access_token(developer),
    "guest_token": lambda guest: factories.access_token(guest),
    "outsider_token": lambda outsider: factories.access_token(outsider),
}
_RAISE = text(f"UPDATE content_generation SET number = number + 1 WHERE part = {ACCESS} AND row = 0")


@dataclass(frozen=True)
class _Kept:
    """The rows that were added since a moment.

    :ivar made: what they are, the class and id of a record, or another value.
    :ivar above: the records that they refer to, likewise.
    """

    made: Any
    above: list[Any]
    since: datetime
    rows: Rows


_kept: dict[str, _Kept] = {}


def prepare() -> None:
    """Make all records, and note their rows."""
    made: dict[str, Any] = {}
    for name, make in _MAKERS.items():
        above = [made[other] for other in make.__code__.co_varnames]
        since, before = utcnow(), _all_rows()
        made[name] = make(*above)
        rows = _added(before, _all_rows())
        _kept[name] = _Kept(_reference(made[name]), [_reference(record) for record in above], since, rows)


def insert(name: str, *above: Model) -> Any:
    """Insert the rows of a record as of now. They always have the same ids, which the database gives no others.

    :param above: the records that it refers to. If a test has made these by itself, so is this one.
    """
    kept = _kept[name]
    if [_reference(record) for record in above] != kept.above:
        return _MAKERS[name](*above)
    connection, now = db.session.connection(), utcnow()
    for table, rows in kept.rows.items():
        connection.execute(table.insert(), [
            {
                column: now if isinstance(value, datetime) and value >= kept.since else value
                for column, value in row.items()
            }
            for row in rows
        ])  # fmt: skip
    connection.execute(_RAISE)
    made = db.session.get_one(*kept.made) if isinstance(kept.made, tuple) else kept.made
    db.session.commit()
    return made


def _reference(made: Any) -> Any:
    return (type(made), made.id) if isinstance(made, Model) else made  # type: ignore[attr-defined]


def _all_rows() -> Rows:
    with db.engine.connect() as connection:
        return {
            table: [dict(row) for row in connection.execute(table.select()).mappings()]
            for table in Model.metadata.sorted_tables
            if table.name != "content_generation"
        }


def _added(before: Rows, after: Rows) -> Rows:
    assert all(row in after[table] for table, rows in before.items() for row in rows), "a row was changed"
    added = {table: [row for row in rows if row not in before[table]] for table, rows in after.items()}
    return {table: rows for table, rows in added.items() if rows}
