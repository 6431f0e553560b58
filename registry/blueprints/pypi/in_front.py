"""What went wrong with a request in front of Flask (``admitted``), until the view reports it."""

from __future__ import annotations

from flask import request

# In the environ of the request.
REFUSAL = "registry.refusal"  # the error to report, behind the gate
FAILURE = "registry.failure"  # any other error, after which nothing is tried again, not even by the gate


def report_failure() -> None:
    """Raise the error with which the request has failed, if it has."""
    _raise(FAILURE)


def report_refusal() -> None:
    """Raise the error with which the request was refused, if it was.

    :raises RegistryError: that error.
    """
    _raise(REFUSAL)


def _raise(key: str) -> None:
    if key in request.environ:
        raise request.environ.pop(key)  # its traceback refers to the environ
