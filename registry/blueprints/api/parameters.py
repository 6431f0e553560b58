"""Declared parameters, parsed from the query and the body (JSON or form), with GitLab's error messages.

Undeclared parameters are ignored, as in GitLab's API. Results have no keys for parameters that were not sent, which
distinguishes them from ``null``. ``Fields`` converts parameters to the changes of the domain.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime
from typing import Any, Generic, TypeVar, cast

from flask import request
from werkzeug.datastructures import MultiDict

from registry.domain.changes import Changes
from registry.domain.settings import LARGEST_SIZE_BYTES, LONGEST_SHOWN
from registry.errors import InvalidParameter, PreconditionFailed
from registry.models import Visibility

LARGEST_INTEGER = 2**31 - 1
LONGEST_LIST = 1000  # databases limit the number of values in a statement
_BOOLEANS = {
    "true": True, "t": True, "yes": True, "y": True, "on": True, "1": True,
    "false": False, "f": False, "no": False, "n": False, "off": False, "0": False,
}  # fmt: skip

Key = TypeVar("Key", str, int)
Value = TypeVar("Value")
Changed = TypeVar("Changed", bound=Changes)
Parser = Callable[[object], Value]
Sent = dict[str, Any]  # parsed parameters by name, each of the type that its declaration states


class NotAmongTheValues(ValueError):
    """The value has the declared type but is not one of the declared values."""


class Unexpected(ValueError):
    """The value is not what is expected; the message shows both."""


@dataclass(frozen=True)
class Parameter:
    """One declared parameter.

    :param parse: converts the sent value, or raises ``ValueError``.
    :param null: the value for ``null``; with ``...``, it counts as not sent.
    :param sets: the field that ``Fields`` sets, if its name differs from that of the parameter.
    """

    parse: Parser[object]
    is_required: bool = False
    null: object = ...
    sets: str = ""


def required(parse: Parser[object]) -> Parameter:
    return Parameter(parse, is_required=True)


def optional(parse: Parser[object], *, null: object = ..., sets: str = "") -> Parameter:
    return Parameter(parse, null=null, sets=sets)


class Fields(Mapping[str, Parameter], Generic[Changed]):
    """Declared parameters that set the fields of one kind of changes.

    :raises TypeError: on declaration, and thus at startup, if a parameter does not set a field.
    """

    def __init__(self, kind: type[Changed], declared: Mapping[str, Parameter]) -> None:
        self._kind = kind
        self._declared = dict(declared)
        self._names = {name: parameter.sets or name for name, parameter in declared.items()}
        if unknown := set(self._names.values()) - {field.name for field in fields(kind)}:
            raise TypeError(f"{kind.__name__} has no {', '.join(sorted(unknown))}")

    def __getitem__(self, name: str) -> Parameter:
        return self._declared[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._declared)

    def __len__(self) -> int:
        return len(self._declared)

    def read(self) -> Changed:
        """Return the changes in a request without other parameters."""
        return self.of(read(self))

    def of(self, sent: Sent) -> Changed:
        """Return the changes among the sent parameters, ignoring others.

        :param sent: as returned by ``read``.
        """
        return self._kind(**{field: sent[name] for name, field in self._names.items() if name in sent})


def read(declared: Mapping[str, Parameter], *, some_of: Sequence[str] = ()) -> Sent:
    """Read the body, and return the declared parameters that were sent, parsed.

    :param some_of: at least one of these must be sent.
    :raises InvalidParameter: lists all missing and invalid parameters.
    """
    sent = _sent()
    values: Sent = {}
    complaints = []
    for name, parameter in declared.items():
        value = sent.get(name)
        if value is None or (value == "" and parameter.parse is not text):
            if parameter.is_required:
                complaints.append(f"{name} is missing")
            elif name in sent and parameter.null is not ...:
                values[name] = parameter.null
            continue
        try:
            values[name] = parameter.parse(value)
        except Unexpected as error:
            complaints.append(f"{name} {error}")
        except NotAmongTheValues:
            complaints.append(f"{name} does not have a valid value")
        except (ValueError, OverflowError):
            complaints.append(f"{name} is invalid")
    if some_of and not sent.keys() & set(some_of):
        verb = "is" if len(some_of) == 1 else "are"
        complaints.append(f"{', '.join(some_of)} {verb} missing, at least one parameter must be provided")
    if complaints:
        raise InvalidParameter(", ".join(complaints))
    return values


def is_sent() -> bool:
    """Return whether the request has any parameters."""
    return bool(_sent())


def refuse_if_modified(changed_at: datetime) -> None:
    """Check ``If-Unmodified-Since`` of a ``DELETE`` request.

    :raises PreconditionFailed: the resource was changed later, to the second.
    """
    seen_at = request.if_unmodified_since
    if seen_at is not None and changed_at.replace(microsecond=0) > seen_at:
        raise PreconditionFailed


def text(value: object) -> str:
    """Parse a text that every database can store; a number is converted to text."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or "\x00" in value:
        raise ValueError
    value.encode()  # fails for lone surrogates, which JSON can contain
    return value


def integer(value: object, *, highest: int = LARGEST_INTEGER) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError
    number = int(value)
    if not -highest <= number <= highest:
        raise ValueError
    return number


def number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError
    return float(value)


def positive(value: object) -> int:
    number = integer(value)
    if number < 1:
        raise ValueError
    return number


def size_bytes(value: object) -> int:
    """Parse a non-negative number of bytes, which can exceed 32 bits."""
    number = integer(value, highest=LARGEST_SIZE_BYTES)
    if number < 0:
        raise ValueError
    return number


def boolean(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, int | str) and str(value).lower() in _BOOLEANS:
        return _BOOLEANS[str(value).lower()]
    raise ValueError


def day(value: object) -> date:
    """Parse a date, or the date of a timestamp."""
    return datetime.fromisoformat(text(value)).date()


def moment(value: object) -> datetime:
    """Parse an ISO 8601 timestamp, in UTC by default, or a date, as its first moment."""
    parsed = datetime.fromisoformat(text(value))
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)


def list_of(parse: Parser[Value]) -> Parser[list[Value]]:
    """Return a parser of an array or a comma-separated text with at most ``LONGEST_LIST`` values."""

    def parse_list(value: object) -> list[Value]:
        items: list[object] = value if isinstance(value, list) else [value]
        if isinstance(value, str):
            items = [part.strip() for part in value.split(",")]
        if len(items) > LONGEST_LIST:
            raise ValueError
        return [parse(item) for item in items if item != ""]

    return parse_list


def texts(value: object) -> dict[str, str]:
    """Parse an object whose values are texts."""
    if not isinstance(value, dict):
        raise ValueError
    return {text(name): text(one) for name, one in value.items()}


def expecting(expected: str, parse: Parser[Value]) -> Parser[Value]:
    """Return the parser with an error that shows the value and what is expected instead."""

    def parse_expected(value: object) -> Value:
        try:
            return parse(value)
        except (ValueError, OverflowError) as error:
            shown = json.dumps(value)
            shown = shown if len(shown) <= LONGEST_SHOWN else f"{shown[:LONGEST_SHOWN]}…"
            raise Unexpected(f"is {shown}, expected is {expected}") from error

    return parse_expected


def one_of(values: Mapping[Key, Value], parse: Parser[object] = text) -> Parser[Value]:
    """Return a parser of one of the keys, which returns its value."""

    def parse_one(value: object) -> Value:
        key = parse(value)
        if key not in values:
            raise NotAmongTheValues
        return values[cast(Key, key)]

    return parse_one


visibility = one_of({level.label: level for level in Visibility})


def _sent() -> dict[str, object]:
    values = _flat(request.args)
    if request.method not in ("GET", "HEAD"):
        values |= _json_object() if request.is_json else _flat(request.form)
    return values


def _flat(fields: MultiDict[str, str]) -> dict[str, object]:
    """Convert form data: ``scopes[]=a&scopes[]=b`` is a list; of other repeated names, the last value counts."""
    values: dict[str, object] = {}
    for name, texts in fields.lists():
        if name.endswith("[]"):
            values[name.removesuffix("[]")] = texts
        else:
            values[name] = texts[-1]
    return values


def _json_object() -> dict[str, object]:
    body = request.get_data()
    if not body.strip():
        return {}
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidParameter("The body is not valid JSON") from error
    if not isinstance(document, dict):
        raise InvalidParameter("The body is not a JSON object")
    return document
