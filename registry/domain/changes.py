"""Changes to a record as frozen values with known fields: mypy and Python both refuse a name that is not among them."""

from __future__ import annotations

from dataclasses import dataclass, fields

from registry.database import Model


@dataclass(frozen=True)
class Changes:
    """New values for some columns of one record; a field left at ``...`` leaves its column as it is.

    The fields of a subclass are named and typed as the columns.
    """

    def given(self) -> dict[str, object]:
        """The new values by column, in the order in which the fields are declared."""
        values = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {name: value for name, value in values if value is not ...}

    def apply_to(self, record: Model) -> None:
        """Set the columns that change.

        :raises TypeError: these are changes to a record of another kind.
        """
        given = self.given()
        if unknown := given.keys() - record.__mapper__.column_attrs.keys():
            raise TypeError(f"{type(record).__name__} has no {', '.join(sorted(unknown))}")
        for name, value in given.items():
            setattr(record, name, value)
