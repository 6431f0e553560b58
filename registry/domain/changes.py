"""Changes to a record as frozen values with declared fields; mypy and Python both reject other names."""

from __future__ import annotations

from dataclasses import dataclass, fields

from registry.database import Model


@dataclass(frozen=True)
class Changes:
    """New values for some columns of one record; a field left at ``...`` leaves its column unchanged.

    The fields of a subclass have the names and types of the columns.
    """

    def given(self) -> dict[str, object]:
        """Return the new values by column, in the order in which the fields are declared."""
        values = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {name: value for name, value in values if value is not ...}

    def standing(self, record: Model) -> dict[str, object]:
        """Return the present values of a record in the columns that the changes set."""
        return {name: getattr(record, name) for name in self.given()}

    def apply_to(self, record: Model) -> None:
        """Set the changed columns of a record.

        :raises TypeError: the record lacks one of the columns.
        """
        given = self.given()
        if unknown := given.keys() - record.__mapper__.column_attrs.keys():
            raise TypeError(f"{type(record).__name__} has no {', '.join(sorted(unknown))}")
        for name, value in given.items():
            setattr(record, name, value)
