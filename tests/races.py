"""Requests that arrive together, each in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable

from flask import Flask

from registry.errors import RegistryError


def at_once(app: Flask, *actions: Callable[[], object]) -> list[str]:
    """What came of each action, started together in threads: ``done`` or the name of the refusal."""
    start = threading.Barrier(len(actions))
    results = [""] * len(actions)

    def run(place: int, action: Callable[[], object]) -> None:
        with app.app_context():
            start.wait()
            try:
                action()
                results[place] = "done"
            except RegistryError as refusal:
                results[place] = type(refusal).__name__

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(actions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
